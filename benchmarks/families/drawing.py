"""What the families share: how options are drawn, and the first input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from benchmarks.families.builder import Net

T = TypeVar("T")

BATCHES = (1, 1, 1, 1, 1, 1, 1, 2, 4, 8)
IMAGE_CHANNELS = (3, 3, 3, 1)


def chosen(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def scaled(width: int, factor: float, multiple: int = 8) -> int:
    """The width times a factor, as the nearest multiple, at least one."""
    return max(multiple, round(width * factor / multiple) * multiple)


def image(net: Net, rng: np.random.Generator, sizes: Sequence[int]) -> str:
    """An input of square images."""
    size = chosen(rng, sizes)
    return net.input("image", (chosen(rng, BATCHES), chosen(rng, IMAGE_CHANNELS), size, size))
