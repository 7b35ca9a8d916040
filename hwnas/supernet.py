"""Supernets: one network with shared weights that contains every network of a space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from devices.events import OnEvent, ignore
from hwnas.determinism import reproducible
from hwnas.fitting import fit
from hwnas.task import Task, normalize
from hwnas.train_settings import SupernetSettings

if TYPE_CHECKING:
    from hwnas.space import SearchSpace

_NETWORKS = 2  # stream of random numbers; hwnas.batches has the ones before it


class Supernet(nn.Module, ABC):
    """Shared weights for every network of a space."""

    @abstractmethod
    def forward(self, x: Tensor, genotype: NDArray[np.int64]) -> Tensor:
        """``(B, C, size, size)`` normalised images to ``(B, classes)`` logits of the network that ``genotype`` names.
        Batch norm uses the batch's own statistics."""

    @abstractmethod
    def extract(self, genotype: NDArray[np.int64]) -> nn.Module:
        """The network alone: a module as the space's ``build`` makes it, with a copy of the weights. Its batch norm
        statistics are fresh: see :func:`calibrate`."""


def train_supernet(
    space: SearchSpace,
    task: Task,
    *,
    settings: SupernetSettings,
    seed: int,
    checkpoint: Path,
    on_event: OnEvent = ignore,
) -> Supernet:
    """Train all networks of ``space`` at once by the sandwich rule with in-place distillation (Yu et al. 2020, section 3).

    In each step the largest network learns from the labels; the smallest and some drawn at random learn what the largest
    says. Goes on from ``checkpoint`` if that exists, bit for bit.

    Raises:
        ProvenanceMismatch: the checkpoint belongs to another training.
        HwnasError: the checkpoint is damaged or cannot be written.
    """
    largest, smallest = space.largest(), space.smallest()

    with reproducible(seed):
        supernet = space.supernet()

        def backward(images: NDArray[np.uint8], labels: NDArray[np.int64], step: int) -> tuple[float, float]:
            inputs: dict[int, Tensor] = {}

            def run(genotype: NDArray[np.int64]) -> Tensor:
                size = space.image_size(genotype)
                if size not in inputs:
                    inputs[size] = torch.from_numpy(normalize(images, task, size))
                logits: Tensor = supernet(inputs[size], genotype)
                return logits

            target = torch.from_numpy(labels)
            logits = run(largest)
            loss = F.cross_entropy(logits, target, label_smoothing=settings.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            taught = F.softmax(logits.detach(), 1)
            rng = np.random.default_rng([seed, _NETWORKS, step])
            for genotype in (smallest, *space.sample(rng, settings.random_networks)):
                F.cross_entropy(run(genotype), taught).backward()  # type: ignore[no-untyped-call]
            return loss.item(), (logits.argmax(1) == target).float().mean().item()

        fit(
            supernet,
            task,
            backward,
            settings=settings,
            seed=seed,
            checkpoint=checkpoint,
            provenance={
                "training": "supernet",
                "genes": [[g.name, list(g.options)] for g in space.genes],
                "input_shape": list(space.input_shape),
                "classes": space.classes,
            },
            stage="supernet",
            on_event=on_event,
        )
    return supernet


def calibrate(module: nn.Module, images: NDArray[np.uint8], task: Task, size: int) -> None:
    """Set every batch norm's statistics to those of ``images`` (n, C, H, W), in one batch; leaves evaluation mode."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    module.train()
    with reproducible(0), torch.no_grad():
        module(torch.from_numpy(normalize(images, task, size)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
