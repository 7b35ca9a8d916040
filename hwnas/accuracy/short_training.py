"""Accuracy of networks trained alone, from scratch, for a few epochs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy._alone import Alone
from hwnas.accuracy._ranking import remembered
from hwnas.space import Genotypes
from hwnas.train_settings import ShortTrainingSettings


class ShortTraining(Alone):
    """Trains every network that it is asked for. Dear, and free of what shared weights do to a ranking."""

    Settings = ShortTrainingSettings
    source = "short_training"

    @cached_property
    def _memory(self) -> dict[bytes, float]:
        return {}

    def prepare(self) -> Sequence[Path]:
        """Its trainings share nothing."""
        return ()

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions of the validation images classified correctly."""
        return remembered(self._memory, genotypes, lambda genotype: self.trained(genotype)[0])


PLUGIN = ShortTraining
