"""Who evaluates the networks of a search: this process, several of this machine, or a Ray cluster. It makes no difference to the
result: every evaluation computes with as many threads as the run began with, accuracies come back in the order asked, and what
a worker that is lost was asked is asked again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from devices.events import Note, OnEvent, ignore
from hwnas.accuracy import Copyable, SeveralSources
from hwnas.errors import SearchError
from hwnas.threads import thread_count, threads

if TYPE_CHECKING:
    from hwnas.accuracy import AccuracyModel
    from hwnas.config import Config
    from hwnas.space import Genotypes
    from hwnas.task import Task

RAY = "ray"
LOSSES = 3
"""Workers that may be lost with the same network before it is taken for the reason."""


class Crew(Protocol):
    """Workers, each with a copy of the accuracy model."""

    def evaluate(self, asked: Sequence[Any]) -> list[Any]:
        """What the model's ``evaluate`` answers to each of ``asked``, in their order.

        Raises:
            SearchError: an evaluation was lost again and again.
            HwnasError: what a worker raised.
        """


def check_workers(workers: int | str | None) -> None:
    """Refuse what is no specification of workers, before anything is done for it.

    Raises:
        ValueError: neither None nor a number above 0 nor ``ray`` nor an address ``ray://HOST:PORT``.
        SearchError: Ray is not installed.
    """
    if workers is None:
        return
    if re.fullmatch(rf"{RAY}|{RAY}://[^/]+:\d+", str(workers)):
        if find_spec(RAY) is None:
            raise SearchError(
                f"Workers {str(workers)!r} need Ray, which is not installed.",
                hint="Install it with: pip install 'hwnas[ray]'; or give a number: that many processes of this machine.",
            )
    elif not (str(workers).isascii() and str(workers).isdigit() and int(workers) > 0):
        raise ValueError(f"workers are a number above 0, {RAY!r} or an address {RAY}://HOST:PORT, got {str(workers)!r}")


def threads_each(workers: int | str | None, model: AccuracyModel) -> int:
    """With how many threads a run that begins with these workers computes each evaluation: with one where many run side by side,
    with one per core where they follow one another."""
    return thread_count() if workers is None or not isinstance(model, Copyable) else 1


@contextmanager
def spread(
    workers: int | str | None,
    model: AccuracyModel,
    config: Config,
    task: Task,
    folder: Path,
    *,
    threads: int,
    on_event: OnEvent = ignore,
) -> Iterator[AccuracyModel]:
    """``model``, evaluated by ``workers``. They start when something is to be evaluated, after what the evaluations share was
    made here. A model of which there can be no copies is asked here, as it is.

    Args:
        workers: a number of processes, ``"ray"``, ``"ray://HOST:PORT"``, or None: this process.
        model: a run's.
        config, task, folder: what it was made of.
        threads: that each evaluation computes with; see :func:`threads_each`.
        on_event: told of progress.
    """
    check_workers(workers)
    if not isinstance(model, Copyable):
        if workers is not None:
            on_event(
                Note(f"Accuracies from {model.source!r} are not spread over workers: they come from this process.")
            )
        yield model
        return
    if threads != threads_each(workers, model):
        on_event(Note(f"Threads for each evaluation of this run: {threads}, as when it began."))
    with ExitStack() as stack:
        kind = _SpreadOfSeveralSources if isinstance(model, SeveralSources) else _Spread
        yield kind(None if workers is None else str(workers), model, config, task, folder, threads, on_event, stack)


@dataclass
class _Spread:
    """An accuracy model that has its evaluations done by a crew."""

    workers: str | None
    model: Copyable
    config: Config
    task: Task
    folder: Path
    threads: int
    on_event: OnEvent
    stack: ExitStack
    crew: Crew | None = field(default=None, init=False)

    @property
    def source(self) -> str:
        """The model's."""
        return self.model.source

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions, as the model itself would say."""
        return self.model.accuracy(genotypes, self._evaluate_all)

    def _evaluate_all(self, asked: Sequence[Any]) -> list[Any]:
        if self.crew is None:
            self.crew = self.stack.enter_context(self._started())
        return self.crew.evaluate(asked)

    def _started(self) -> AbstractContextManager[Crew]:
        files = self.model.prepare()
        if self.workers is None:
            return nullcontext(_Here(self.model, self.threads))
        from hwnas.workers._copy import Copy

        copy = Copy.of(self.config, self.task, self.folder, threads=self.threads)
        if self.workers.startswith(RAY):
            from hwnas.workers.ray import cluster

            return cluster(None if self.workers == RAY else self.workers, copy.packed(files), self.on_event)
        from hwnas.workers.processes import processes

        return processes(int(self.workers), copy, self.on_event)


@final
class _SpreadOfSeveralSources(_Spread):
    """One that says of each number where it comes from."""

    def sources(self, genotypes: Genotypes) -> list[str]:
        """The model's."""
        assert isinstance(self.model, SeveralSources)
        return self.model.sources(genotypes)


@dataclass(frozen=True)
class _Here:
    """This process."""

    model: Copyable
    threads: int

    def evaluate(self, asked: Sequence[Any]) -> list[Any]:
        """One after the other."""
        with threads(self.threads):
            return [self.model.evaluate(one) for one in asked]
