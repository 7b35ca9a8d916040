"""Accuracy models that evaluate every network by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy._ranking import remembered

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
