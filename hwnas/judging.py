"""The accuracy model of a run, as its configuration has it, and what the search asks of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from devices.events import OnEvent, ignore
from hwnas import accuracy
from hwnas.accuracy import SharedWeights
from hwnas.int8 import flavours
from hwnas.int8.search import Int8Accuracy
from hwnas.training.settings import RankingSettings

if TYPE_CHECKING:
    from hwnas.accuracy import AccuracyModel
    from hwnas.config import Config
    from hwnas.space import SearchSpace
    from hwnas.task import Task


def accuracy_model(
    config: Config, space: SearchSpace, task: Task, folder: Path, on_event: OnEvent = ignore
) -> AccuracyModel:
    """The accuracy model of section ``[accuracy]``; its checkpoints are in ``folder``."""
    return accuracy.open(
        config.accuracy.model,
        space,
        task,
        settings=config.accuracy.settings,
        seed=config.seed,
        folder=folder,
        on_event=on_event,
    )


def ranking_model(config: Config, model: AccuracyModel, space: SearchSpace, task: Task) -> AccuracyModel:
    """What ranks the networks: the model itself, or where the search is for INT8, its networks quantised."""
    if config.search.precision == "float32" or not isinstance(model, SharedWeights):
        return model
    ranking = accuracy.check(config.accuracy.model, config.accuracy.settings)
    assert isinstance(ranking, RankingSettings)
    return Int8Accuracy(
        model,
        space,
        task,
        validation_images=ranking.validation_images,
        seed=config.seed,
        flavour=flavours.of(config.device.spec),
    )
