"""Accuracy models, one file each; the file's name is the model's name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from devices import plugins
from devices.events import OnEvent, ignore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel
    from torch import nn

    from hwnas.space import Genotypes, SearchSpace
    from hwnas.task import Task

_HERE = sys.modules[__name__]


class AccuracyModel(Protocol):
    """Says how accurate networks would be. ``source`` is the word for what its numbers are, e.g. ``"supernet"``; see
    :func:`is_score` for numbers that only rank."""

    @property
    def source(self) -> str:
        """The word."""

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions on validation data, or scores from 0 to 1; a function of the genotype alone, unless the
        model says of what else."""


EvaluateAll = Callable[[Sequence[Any]], Iterable[Any]]
"""Has a :class:`Copyable` model, or copies of it, ``evaluate`` each; the answers in the order asked."""


@runtime_checkable
class Copyable(Protocol):
    """An accuracy model of which several processes can have copies: its evaluations are dear, each stands alone, and what they
    share lies in files."""

    @property
    def source(self) -> str:
        """See :class:`AccuracyModel`."""

    def prepare(self) -> Sequence[Path]:
        """Make what the evaluations share, if it is not there; the files in the model's folder with which a copy of the model
        finds it there."""

    def evaluate(self, asked: Any) -> Any:
        """One evaluation, such as a copy of the model can do; both can be pickled."""

    def accuracy(self, genotypes: Genotypes, evaluate_all: EvaluateAll | None = None) -> NDArray[np.float64]:
        """``(n,)`` as of every accuracy model, its evaluations done by ``evaluate_all``; one after the other, here, if None."""


@runtime_checkable
class SharedWeights(Protocol):
    """An accuracy model that has trained weights for every network."""

    def prepare(self) -> Sequence[Path]:
        """See :class:`Copyable`."""

    def inherit(self, genotype: NDArray[np.int64]) -> nn.Module:
        """The network with its weights, in evaluation mode."""

    def teacher(self) -> nn.Module:
        """The largest network, to learn from."""


@runtime_checkable
class KnowsSome(Protocol):
    """An accuracy model that knows no more than some networks."""

    @property
    def space(self) -> SearchSpace:
        """The space of those."""


@runtime_checkable
class SeveralSources(Protocol):
    """An accuracy model whose numbers are not all of one kind."""

    def sources(self, genotypes: Genotypes) -> list[str]:
        """The word for the number of each network ``(n, G)``."""


def source_of(model: AccuracyModel, genotypes: Genotypes) -> str | list[str]:
    """The word for the numbers of networks ``(n, G)`` that ``model`` was asked for, or one for each."""
    return model.sources(genotypes) if isinstance(model, SeveralSources) else model.source


def is_score(source: str) -> bool:
    """Whether numbers from ``source`` are scores that rank networks, from 0 to 1 too, but no fractions of any images: whoever
    shows them does not call them accuracies, nor gives them in percent."""
    return source.endswith(" score")


def names() -> list[str]:
    """Names of all accuracy models."""
    return plugins.names(_HERE)


def has_weights(name: str) -> bool:
    """Whether model ``name`` has weights that a network can inherit."""
    return issubclass(plugins.load(_HERE, name, kind="accuracy model"), SharedWeights)


def check(name: str, settings: Mapping[str, Any]) -> BaseModel:
    """The settings of model ``name``, checked and with their defaults, before anything is done for it.

    Raises:
        ValueError: unknown model or setting (names the nearest match), one that is missing, or a value that cannot be.
    """
    from hwnas.settings import validated  # pydantic is slow to import, and the command line does without it at first

    kind: type[BaseModel] = plugins.load(_HERE, name, kind="accuracy model").Settings
    plugins.require_known(f"accuracy model {name!r} has no setting", settings, list(kind.model_fields))
    return validated(kind, settings, f"accuracy model {name!r}")


def open(  # noqa: A001 - read as hwnas.accuracy.open
    name: str,
    space: SearchSpace,
    task: Task,
    *,
    settings: Mapping[str, Any],
    seed: int,
    folder: Path,
    on_event: OnEvent = ignore,
) -> AccuracyModel:
    """The accuracy model ``name``. Nothing is trained before it is first asked.

    Args:
        name: one of :func:`names`.
        space, task: what is searched, on what.
        settings: the model's own, as they stand in a configuration file.
        seed: of its training.
        folder: for its checkpoints; made if it is not there.
        on_event: told of the progress of training.

    Raises:
        ValueError: see :func:`check`.
    """
    checked = check(name, settings)
    plugin = plugins.load(_HERE, name, kind="accuracy model")
    model: AccuracyModel = plugin(space, task, settings=checked, seed=seed, folder=folder, on_event=on_event)
    return model
