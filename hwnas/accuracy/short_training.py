"""Accuracy of networks trained alone, from scratch, for a few epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent
from hwnas.accuracy._alone import Alone
from hwnas.accuracy._ranking import remembered
from hwnas.space import Genotypes, SearchSpace
from hwnas.task import Task
from hwnas.train_settings import ShortTrainingSettings


class ShortTraining:
    """Trains every network that it is asked for. Dear, and free of what shared weights do to a ranking."""

    Settings = ShortTrainingSettings
    source = "short_training"

    def __init__(
        self,
        space: SearchSpace,
        task: Task,
        *,
        settings: ShortTrainingSettings,
        seed: int,
        folder: Path,
        on_event: OnEvent,
    ) -> None:
        self._alone = Alone(space, task, settings=settings, seed=seed, folder=folder, on_event=on_event)
        self._memory: dict[bytes, float] = {}

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions of the validation images classified correctly."""
        return remembered(self._memory, genotypes, lambda genotype: self._alone.trained(genotype)[0])


PLUGIN = ShortTraining
