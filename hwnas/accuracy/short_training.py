"""Accuracy of networks trained alone, from scratch, for a few epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent
from hwnas.accuracy._alone import Alone
from hwnas.errors import InvalidData
from hwnas.one_by_one import OneByOne
from hwnas.space import SearchSpace
from hwnas.task import Split, Task
from hwnas.training.settings import ShortTrainingSettings


class ShortTraining(OneByOne):
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
        def training(task: Task, folder: Path) -> Alone:
            return Alone(space, task, settings=settings, seed=seed, folder=folder, on_event=on_event)

        if settings.folds == 1:
            self._trainings = [training(task, folder)]
        else:
            tasks = _folds(task, settings.folds, seed)
            self._trainings = [training(fold, folder / f"fold-{i}") for i, fold in enumerate(tasks)]

    def evaluate(self, asked: NDArray[np.int64]) -> float:
        """Fraction of the validation images that network ``(G,)`` classifies correctly; of several folds the mean."""
        return float(np.mean([training.trained(asked)[0] for training in self._trainings]))


def _folds(task: Task, count: int, seed: int) -> list[Task]:
    """``task`` with training and validation images put together and dealt anew, as often as each part has its turn to validate;
    classes as evenly as can be (Stone 1974, "Cross-validatory choice and assessment of statistical predictions")."""
    from sklearn.model_selection import StratifiedKFold

    images = np.concatenate([task.train.images, task.validation.images])
    labels = np.concatenate([task.train.labels, task.validation.labels])
    rarest = int(np.bincount(labels, minlength=len(task.classes)).min())
    if count > rarest:
        raise InvalidData(
            f"{task.name} has a class of {rarest} training and validation images, too few for {count} folds.",
            hint=f"Set folds in [accuracy] to at most {rarest}.",
        )
    parts = StratifiedKFold(count, shuffle=True, random_state=seed).split(images, labels)
    return [
        replace(task, train=Split(images[rest], labels[rest]), validation=Split(images[part], labels[part]))
        for rest, part in parts
    ]


PLUGIN = ShortTraining
