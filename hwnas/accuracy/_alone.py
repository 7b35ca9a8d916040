"""Training one network alone, from scratch, to rank it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from devices.events import Note, OnEvent, Progress
from hwnas.space import SearchSpace
from hwnas.task import Task, ranking_split
from hwnas.training.settings import AloneSettings

if TYPE_CHECKING:
    from hwnas.training.fitting import Enough


class Alone:
    """Trains networks, each with a checkpoint of its own: a kill loses at most the steps since the last one."""

    def __init__(
        self,
        space: SearchSpace,
        task: Task,
        *,
        settings: AloneSettings,
        seed: int,
        folder: Path,
        on_event: OnEvent,
    ) -> None:
        self._space, self._task, self._settings, self._seed = space, task, settings, seed
        self._folder, self._on_event = folder, on_event
        self._validation = ranking_split(task, settings.validation_images, seed)

    def trained(self, genotype: NDArray[np.int64], enough: Enough | None = None) -> tuple[float, Sequence[float]]:
        """Fraction of the validation images that the network gets right, and the course of its validation accuracy by epoch.
        A training that was paused, because its epochs were ``enough``, goes on."""
        from hwnas.training.determinism import reproducible
        from hwnas.training.train import evaluate, train

        self._folder.mkdir(parents=True, exist_ok=True)
        size = self._space.image_size(genotype)
        with reproducible(self._seed):
            module = self._space.build(genotype)
        found = train(
            module,
            self._task,
            size=size,
            settings=self._settings,
            seed=self._seed,
            checkpoint=self._folder / ("short-" + "-".join(str(g) for g in genotype.tolist()) + ".safetensors"),
            enough=enough,
            on_event=self._tell,
        )
        accuracy = evaluate(module, self._validation, self._task, size)
        return accuracy, [epoch.validation_accuracy or 0.0 for epoch in found.history]

    def _tell(self, event: Progress | Note) -> None:
        """Without figures: the curves of many networks would lie over each other."""
        self._on_event(replace(event, figures={}) if isinstance(event, Progress) else event)
