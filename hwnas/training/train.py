"""Training and evaluating one network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from devices.events import OnEvent, ignore
from hwnas.task import Split, Task, calibration_images, normalize
from hwnas.training.accelerator import accelerator, autocast
from hwnas.training.batches import mix
from hwnas.training.determinism import reproducible
from hwnas.training.fitting import Enough, Epoch, fit
from hwnas.training.settings import NetworkSettings, TrainSettings
from hwnas.training.supernet import calibrate

__all__ = ["Teacher", "TrainSettings", "Trained", "evaluate", "logits", "train"]

_EVALUATION_BATCH = 250
_CALIBRATION_IMAGES = 2048


@dataclass(frozen=True)
class Teacher:
    """A network to learn from (Hinton et al. 2015) as long as it is better: once the network that learns validates better than
    its teacher, the labels alone teach it. Distillation that ends early helps (Cho and Hariharan 2019, "On the efficacy of
    knowledge distillation").

    Attributes:
        module: in evaluation mode; it is not trained.
        size: side of its square input.
        weight: share of the loss that compares with it; labels have the rest.
        temperature: by which both networks' logits are divided when they are compared.
    """

    module: nn.Module
    size: int
    weight: float
    temperature: float


@dataclass(frozen=True)
class Trained:
    """A trained network, in evaluation mode, with the course of its training and what it gets right of the validation
    images, a fraction."""

    module: nn.Module
    history: tuple[Epoch, ...]
    validation_accuracy: float


def train(
    module: nn.Module,
    task: Task,
    *,
    size: int,
    settings: NetworkSettings,
    seed: int,
    checkpoint: Path,
    teacher: Teacher | None = None,
    provenance: Mapping[str, Any] | None = None,
    stage: str = "training",
    enough: Enough | None = None,
    on_event: OnEvent = ignore,
) -> Trained:
    """Train ``module`` in place, from the weights it has, and keep the epoch that validates best: averaged weights, batch norm
    calibrated, for a running average of statistics is late where weights move fast. Trains on the GPU, in mixed precision, where
    there is one; the module comes back to the CPU.

    Goes on from ``checkpoint`` if that exists; the result is the same, bit for bit, as without the interruption.

    Args:
        module: ``(B, C, size, size)`` floats to ``(B, classes)`` logits.
        task: the data; its test split is not used.
        size: side of the network's square input.
        settings: of the training.
        seed: decides order and augmentation.
        checkpoint: file for its progress.
        teacher: whose answers to the same augmented images are learned beside the labels.
        provenance: JSON-able; what the network and its teacher are, so that another training's checkpoint is refused.
        stage: name of the work in progress events.
        enough: whether the epochs done are enough for now; see :func:`hwnas.training.fitting.fit`.
        on_event: told after each step.

    Raises:
        ProvenanceMismatch: the checkpoint belongs to another training.
        HwnasError: the checkpoint is damaged or cannot be written.
    """
    device = accelerator()
    module.to(device)
    if teacher is not None:
        teacher.module.to(device)

    def shown(images: NDArray[np.uint8], size: int) -> Tensor:
        return torch.from_numpy(normalize(images, task, size)).to(device)

    def backward(images: NDArray[np.uint8], labels: NDArray[np.int64], step: int) -> tuple[float, float]:
        images, shares = mix(images, labels, classes=len(task.classes), alpha=settings.mixup, seed=seed, step=step)
        target, inputs = torch.from_numpy(shares).to(device), shown(images, size)
        with autocast():
            logits = module(inputs).float()
        loss = F.cross_entropy(logits, target, label_smoothing=settings.label_smoothing)
        if teacher is not None and all((epoch.validation_accuracy or 0.0) <= to_beat for epoch in history):
            taught = inputs if teacher.size == size else shown(images, teacher.size)
            loss = (1 - teacher.weight) * loss + teacher.weight * _distillation(logits, taught, teacher)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), (logits.argmax(1) == target.argmax(1)).float().mean().item()

    history: list[Epoch] = []
    to_beat = 0.0 if teacher is None else evaluate(teacher.module, task.validation, task, teacher.size)
    calibration = calibration_images(task, _CALIBRATION_IMAGES, seed)

    def validate() -> float:
        calibrate(module, calibration, task, size)
        return evaluate(module, task.validation, task, size)

    with reproducible(seed):
        fit(
            module,
            task,
            backward,
            settings=settings,
            seed=seed,
            checkpoint=checkpoint,
            provenance={"training": "network", "size": size, "device": device.type, **(provenance or {})},
            stage=stage,
            on_event=on_event,
            validate=validate,
            patience=settings.patience,
            enough=enough,
            history=history,
        )
    return Trained(module.cpu().eval(), tuple(history), max(epoch.validation_accuracy or 0.0 for epoch in history))


def _distillation(logits: Tensor, inputs: Tensor, teacher: Teacher) -> Tensor:
    """Cross-entropy with the teacher's softened answers (Hinton et al. 2015, section 2), scaled by the squared temperature so
    that its gradients keep their size."""
    with torch.no_grad(), autocast():
        told = F.softmax(teacher.module(inputs).float() / teacher.temperature, 1)
    return F.cross_entropy(logits / teacher.temperature, told) * teacher.temperature**2


def logits(module: nn.Module, images: NDArray[np.uint8], task: Task, size: int) -> NDArray[np.float32]:
    """``(n, classes)`` outputs of ``module`` in evaluation mode for images ``(n, C, H, W)``, computed where its weights are."""
    module.eval()
    device = next(module.parameters()).device
    out = []
    with reproducible(0), torch.inference_mode():
        for first in range(0, len(images), _EVALUATION_BATCH):
            x = torch.from_numpy(normalize(images[first : first + _EVALUATION_BATCH], task, size))
            out.append(module(x.to(device)).cpu().numpy())
    return np.concatenate(out)


def evaluate(module: nn.Module, split: Split, task: Task, size: int) -> float:
    """Fraction of ``split`` that ``module`` classifies correctly."""
    return float((logits(module, split.images, task, size).argmax(1) == split.labels).mean())
