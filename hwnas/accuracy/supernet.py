"""Accuracy of networks with the weights that they have in a supernet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent
from hwnas.one_by_one import OneByOne
from hwnas.space import SearchSpace
from hwnas.task import Task, calibration_images, ranking_split
from hwnas.training.settings import SupernetSettings

if TYPE_CHECKING:
    from torch import nn

    from hwnas.training.supernet import Supernet


class SupernetAccuracy(OneByOne):
    """Trains a supernet when first asked; each network is then taken out, its batch norm calibrated, and evaluated.

    Its numbers rank networks; alone, and trained further, a network is more accurate.
    """

    Settings = SupernetSettings
    source = "supernet"

    def __init__(
        self,
        space: SearchSpace,
        task: Task,
        *,
        settings: SupernetSettings,
        seed: int,
        folder: Path,
        on_event: OnEvent,
    ) -> None:
        self._space, self._task, self._settings, self._seed = space, task, settings, seed
        self._checkpoint = folder / "supernet.safetensors"
        self._on_event = on_event
        self._validation = ranking_split(task, settings.validation_images, seed)
        self._calibration = calibration_images(task, settings.calibration_images, seed)

    @cached_property
    def _supernet(self) -> Supernet:
        from hwnas.training.supernet import train_supernet

        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        return train_supernet(
            self._space,
            self._task,
            settings=self._settings,
            seed=self._seed,
            checkpoint=self._checkpoint,
            on_event=self._on_event,
        )

    def prepare(self) -> Sequence[Path]:
        """Train the supernet; its checkpoints, one for each phase of the schedule."""
        _ = self._supernet
        return sorted(self._checkpoint.parent.glob(f"{self._checkpoint.stem}*{self._checkpoint.suffix}"))

    def evaluate(self, asked: NDArray[np.int64]) -> float:
        """Fraction of the validation images that network ``(G,)`` classifies correctly."""
        from hwnas.training.accelerator import accelerator
        from hwnas.training.train import evaluate

        network = self.inherit(asked).to(accelerator())
        return evaluate(network, self._validation, self._task, self._space.image_size(asked))

    def inherit(self, genotype: NDArray[np.int64]) -> nn.Module:
        """The network with its weights from the supernet, batch norm calibrated, in evaluation mode."""
        from hwnas.training.accelerator import accelerator
        from hwnas.training.supernet import calibrate

        network = self._supernet.extract(genotype).to(accelerator())
        calibrate(network, self._calibration, self._task, self._space.image_size(genotype))
        return network.cpu()

    def teacher(self) -> nn.Module:
        """The largest network, inherited."""
        return self.inherit(self._space.largest())


PLUGIN = SupernetAccuracy
