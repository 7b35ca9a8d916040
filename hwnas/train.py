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
from torch import nn

from devices.events import OnEvent, ignore
from hwnas.determinism import reproducible
from hwnas.fitting import Epoch, fit
from hwnas.task import Split, Task, normalize
from hwnas.train_settings import FitSettings, TrainSettings

__all__ = ["TrainSettings", "Trained", "evaluate", "logits", "train"]

_EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Trained:
    """A trained network, in evaluation mode, with the course of its training."""

    module: nn.Module
    history: tuple[Epoch, ...]


def train(
    module: nn.Module,
    task: Task,
    *,
    size: int,
    settings: FitSettings,
    seed: int,
    checkpoint: Path,
    provenance: Mapping[str, Any] | None = None,
    on_event: OnEvent = ignore,
) -> Trained:
    """Train ``module`` in place, from the weights it has.

    Goes on from ``checkpoint`` if that exists; the result is the same, bit for bit, as without the interruption.

    Args:
        module: ``(B, C, size, size)`` floats to ``(B, classes)`` logits.
        task: the data; only its training split is used.
        size: side of the network's square input.
        settings: of the training.
        seed: decides order and augmentation.
        checkpoint: file for its progress.
        provenance: JSON-able; what the network is, so that another network's checkpoint is refused.
        on_event: told after each step.

    Raises:
        ProvenanceMismatch: the checkpoint belongs to another training.
        HwnasError: the checkpoint is damaged or cannot be written.
    """

    def backward(images: NDArray[np.uint8], labels: NDArray[np.int64], step: int) -> tuple[float, float]:
        target = torch.from_numpy(labels)
        logits = module(torch.from_numpy(normalize(images, task, size)))
        loss = F.cross_entropy(logits, target, label_smoothing=settings.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), (logits.argmax(1) == target).float().mean().item()

    with reproducible(seed):
        history = fit(
            module,
            task,
            backward,
            settings=settings,
            seed=seed,
            checkpoint=checkpoint,
            provenance={"training": "network", "size": size, **(provenance or {})},
            stage="training",
            on_event=on_event,
        )
    return Trained(module.eval(), history)


def logits(module: nn.Module, images: NDArray[np.uint8], task: Task, size: int) -> NDArray[np.float32]:
    """``(n, classes)`` outputs of ``module`` in evaluation mode for images ``(n, C, H, W)``."""
    module.eval()
    out = []
    with reproducible(0), torch.inference_mode():
        for first in range(0, len(images), _EVALUATION_BATCH):
            x = torch.from_numpy(normalize(images[first : first + _EVALUATION_BATCH], task, size))
            out.append(module(x).numpy())
    return np.concatenate(out)


def evaluate(module: nn.Module, split: Split, task: Task, size: int) -> float:
    """Fraction of ``split`` that ``module`` classifies correctly."""
    return float((logits(module, split.images, task, size).argmax(1) == split.labels).mean())
