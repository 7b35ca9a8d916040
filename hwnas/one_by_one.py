"""Accuracy models that evaluate every network by itself, and their memory of what was asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hwnas.accuracy import EvaluateAll
    from hwnas.space import Genotypes


class OneByOne(ABC):
    """A network's number depends on nothing but the network, and is asked for once, ever."""

    @cached_property
    def _memory(self) -> dict[bytes, float]:
        return {}

    @abstractmethod
    def evaluate(self, asked: NDArray[np.int64]) -> float:
        """The number of one network ``(G,)``."""

    def prepare(self) -> Sequence[Path]:
        """Nothing is shared."""
        return ()

    def accuracy(self, genotypes: Genotypes, evaluate_all: EvaluateAll | None = None) -> NDArray[np.float64]:
        """``(n,)`` numbers; see :class:`hwnas.accuracy.Copyable`."""
        return remembered(self._memory, genotypes, evaluate_all or partial(map, self.evaluate))


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
