"""Accuracy of networks trained alone, from scratch, for a few epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent
from hwnas.accuracy._ranking import ranking_split, remembered
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
        self._space, self._task, self._settings, self._seed = space, task, settings, seed
        self._folder, self._on_event = folder, on_event
        self._validation = ranking_split(task, settings.validation_images, seed)
        self._memory: dict[bytes, float] = {}

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions of the validation images classified correctly."""
        return remembered(self._memory, genotypes, self._evaluate)

    def _evaluate(self, genotype: NDArray[np.int64]) -> float:
        from hwnas.determinism import reproducible
        from hwnas.train import evaluate, train

        self._folder.mkdir(parents=True, exist_ok=True)
        size = self._space.image_size(genotype)
        with reproducible(self._seed):
            module = self._space.build(genotype)
        # One file per network: a kill loses at most the steps since its last checkpoint.
        checkpoint = self._folder / ("short-" + "-".join(str(g) for g in genotype.tolist()) + ".safetensors")
        train(
            module,
            self._task,
            size=size,
            settings=self._settings,
            seed=self._seed,
            checkpoint=checkpoint,
            on_event=self._on_event,
        )
        return evaluate(module, self._validation, self._task, size)


PLUGIN = ShortTraining
