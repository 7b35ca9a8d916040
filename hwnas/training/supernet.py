"""Supernets: one network with shared weights that contains every network of a space."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from devices.events import OnEvent, ignore
from hwnas.task import Task, normalize
from hwnas.training.accelerator import accelerator, autocast
from hwnas.training.determinism import reproducible
from hwnas.training.fitting import Backward, fit
from hwnas.training.settings import SupernetSettings
from hwnas.training.streams import Stream

if TYPE_CHECKING:
    from hwnas.space import Genotypes, SearchSpace

_CALIBRATION_BATCH = 128  # small enough for the cache: a third faster than all images at once


class Supernet(nn.Module, ABC):
    """Shared weights for every network of a space.

    Attributes:
        shrinking: names of the genes that progressive shrinking makes elastic, phase by phase.
    """

    shrinking: tuple[frozenset[str], ...]

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
    """Train all networks of ``space`` at once, by the schedule that the settings name.

    ``"sandwich"``: in each step the largest network learns from the labels; the smallest and some drawn at random learn what the
    largest says (sandwich rule with in-place distillation, Yu et al. 2020, section 3). ``"progressive"``: the largest network is
    trained alone; then, phase by phase, further genes become elastic, and networks drawn at random learn from the labels and
    from the largest as its phase left it (Cai et al. 2020, section 3; kernels are not transformed, channels not sorted).

    Goes on from ``checkpoint`` if that exists, bit for bit; every phase after the first has one of its own beside it.

    Raises:
        ProvenanceMismatch: the checkpoint belongs to another training.
        HwnasError: the checkpoint is damaged or cannot be written.
    """
    with reproducible(seed):
        supernet = space.supernet().to(accelerator())

        def phase(number: int, phases: int, backward: Backward) -> None:
            fit(
                supernet,
                task,
                backward,
                settings=settings,
                seed=seed + number,
                checkpoint=checkpoint.with_stem(f"{checkpoint.stem}-{number + 1}") if number else checkpoint,
                provenance={
                    "training": "supernet",
                    "genes": space.genes_to_json(),
                    "input_shape": list(space.input_shape),
                    "classes": space.classes,
                    "device": accelerator().type,
                },
                stage=f"supernet {number + 1}/{phases}" if phases > 1 else "supernet",
                on_event=on_event,
            )

        if settings.schedule == "sandwich":
            phase(0, 1, _sandwich(supernet, space, task, settings, seed))
        else:
            phases = 1 + len(supernet.shrinking)
            phase(0, phases, _sandwich(supernet, space, task, settings, seed, others=False))
            teacher = copy.deepcopy(supernet).requires_grad_(False)
            for number in range(1, phases):
                elastic = frozenset[str]().union(*supernet.shrinking[:number])
                phase(number, phases, _shrunk(supernet, teacher, elastic, space, task, settings, seed + number))
    return supernet


def drawn(space: SearchSpace, settings: SupernetSettings, seed: int, step: int) -> Genotypes:
    """``(random_networks, G)``: the networks drawn at random for a step."""
    return space.sample(Stream.NETWORKS.rng(seed, step), settings.random_networks)


def _sandwich(
    supernet: Supernet, space: SearchSpace, task: Task, settings: SupernetSettings, seed: int, *, others: bool = True
) -> Backward:
    """The largest network learns from the labels; the ``others`` from it."""

    def backward(images: NDArray[np.uint8], labels: NDArray[np.int64], step: int) -> tuple[float, float]:
        batch, target = _Batch(images, space, task), torch.from_numpy(labels).to(accelerator())
        logits = batch.logits(supernet, space.largest())
        loss = F.cross_entropy(logits, target, label_smoothing=settings.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        taught = F.softmax(logits.detach(), 1)
        for genotype in (space.smallest(), *drawn(space, settings, seed, step)) if others else ():
            F.cross_entropy(batch.logits(supernet, genotype), taught).backward()  # type: ignore[no-untyped-call]
        return loss.item(), _accuracy(logits, target)

    return backward


def _shrunk(
    supernet: Supernet,
    teacher: Supernet,
    elastic: frozenset[str],
    space: SearchSpace,
    task: Task,
    settings: SupernetSettings,
    seed: int,
) -> Backward:
    """Networks drawn at random learn from the labels and from the teacher in equal parts. Genes that are not ``elastic`` stay
    as they are in the largest network."""
    chosen = np.array([gene.name in elastic for gene in space.genes])

    def backward(images: NDArray[np.uint8], labels: NDArray[np.int64], step: int) -> tuple[float, float]:
        batch, target = _Batch(images, space, task), torch.from_numpy(labels).to(accelerator())
        with torch.no_grad():
            taught = F.softmax(batch.logits(teacher, space.largest()), 1)
        results = []
        for genotype in space.canonical(np.where(chosen, drawn(space, settings, seed, step), space.largest())):
            logits = batch.logits(supernet, genotype)
            known = F.cross_entropy(logits, target, label_smoothing=settings.label_smoothing)
            loss = (known + F.cross_entropy(logits, taught)) / 2
            loss.backward()  # type: ignore[no-untyped-call]
            results.append((loss.item(), _accuracy(logits, target)))
        losses, accuracies = zip(*results, strict=True)
        return float(np.mean(losses)), float(np.mean(accuracies))

    return backward


def _accuracy(logits: Tensor, target: Tensor) -> float:
    return (logits.argmax(1) == target).float().mean().item()


class _Batch:
    """Images, normalised once for each size that a network asks for."""

    def __init__(self, images: NDArray[np.uint8], space: SearchSpace, task: Task) -> None:
        self._images, self._space, self._task = images, space, task
        self._inputs: dict[int, Tensor] = {}

    def logits(self, supernet: Supernet, genotype: NDArray[np.int64]) -> Tensor:
        """``(b, classes)``; on a GPU in mixed precision."""
        size, device = self._space.image_size(genotype), accelerator()
        if size not in self._inputs:
            self._inputs[size] = torch.from_numpy(normalize(self._images, self._task, size)).to(device)
        with autocast():
            logits: Tensor = supernet(self._inputs[size], genotype)
        return logits.float()


def calibrate(module: nn.Module, images: NDArray[np.uint8], task: Task, size: int) -> None:
    """Set every batch norm's statistics to the mean of those of batches of ``images`` (n, C, H, W); leaves evaluation mode."""
    device = next(module.parameters()).device
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the mean of all batches
    module.train()
    with reproducible(0), torch.no_grad():
        for batch in np.array_split(images, -(-len(images) // _CALIBRATION_BATCH)):
            module(torch.from_numpy(normalize(batch, task, size)).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
