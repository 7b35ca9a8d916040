"""What accuracy models have in common: the validation images that rank networks, and a memory of what was asked."""

from __future__ import annotations

from collections.abc import Callable

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
    memory: dict[bytes, float], genotypes: Genotypes, evaluate: Callable[[NDArray[np.int64]], float]
) -> NDArray[np.float64]:
    """``(n,)`` results of ``evaluate``, which is called once per network, ever."""
    rows = np.ascontiguousarray(genotypes, np.int64)
    for row in rows:
        if row.tobytes() not in memory:
            memory[row.tobytes()] = evaluate(row)
    return np.array([memory[row.tobytes()] for row in rows])
