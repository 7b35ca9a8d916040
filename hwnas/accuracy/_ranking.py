"""What accuracy models have in common: the validation images that rank networks, and a memory of what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.space import Genotypes
from hwnas.task import Split, Task


def some(split: Split, images: int, seed: int) -> Split:
    """``images`` of a split, drawn by ``seed``; all if there are not so many."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:images])
    return Split(split.images[chosen], split.labels[chosen])


def ranking_split(task: Task, images: int, seed: int) -> Split:
    """``images`` of the validation split, drawn by ``seed``; all if there are not so many."""
    return some(task.validation, images, seed)


def calibration_images(task: Task, images: int, seed: int) -> NDArray[np.uint8]:
    """``(n, C, H, W)`` training images, drawn by ``seed``, to take batch norm statistics from."""
    return some(task.train, images, seed).images


def remembered(
    memory: dict[bytes, float],
    genotypes: Genotypes,
    evaluate_all: Callable[[Sequence[NDArray[np.int64]]], Iterable[float]],
) -> NDArray[np.float64]:
    """``(n,)`` results of ``evaluate_all``, which is asked for every network once, ever."""
    keys = [row.tobytes() for row in np.ascontiguousarray(genotypes, np.int64)]
    new = {key: row for key, row in zip(keys, genotypes, strict=True) if key not in memory}
    if new:
        for key, result in zip(new, evaluate_all(list(new.values())), strict=True):
            memory[key] = result
    return np.array([memory[key] for key in keys], np.float64)
