"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent, Progress
from hwnas.errors import HwnasError, SearchError
from hwnas.workers import LOSSES

if TYPE_CHECKING:
    from hwnas.space import Genotypes
    from hwnas.workers._copy import Copy


@contextmanager
def processes(count: int, copy: Copy, on_event: OnEvent) -> Iterator[Processes]:
    """``count`` processes, each with a copy of its own, that end with the context."""
    crew = Processes(count, copy, on_event)
    try:
        yield crew
    finally:
        crew.close()


class Processes:
    """See :class:`hwnas.workers.Crew`. A process that dies is replaced."""

    def __init__(self, count: int, copy: Copy, on_event: OnEvent) -> None:
        self._copy, self._on_event = copy, on_event
        self._workers = [_Worker(copy) for _ in range(count)]

    def evaluate(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """See :class:`hwnas.workers.Crew`."""
        accuracies = np.full(len(genotypes), np.nan)
        left, losses = list(reversed(range(len(genotypes)))), Counter[int]()
        idle, busy = list(self._workers), dict[Connection, tuple[_Worker, int]]()
        while left or busy:
            while left and idle:
                worker, row = idle.pop(), left.pop()
                worker.ask(genotypes[row])
                busy[worker.connection] = (worker, row)
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker, row = busy.pop(connection)
                answer = worker.answer()
                if isinstance(answer, HwnasError):
                    raise answer
                if answer is None:
                    losses[row] += 1
                    if losses[row] == LOSSES:
                        raise SearchError(
                            f"{LOSSES} worker processes died one after the other over network {genotypes[row].tolist()}.",
                            hint="If they left no message, memory ran out: give fewer --workers. The same command goes on.",
                        )
                    left.append(row)
                    worker = self._replaced(worker)
                else:
                    accuracies[row] = answer
                    self._on_event(Progress("generation", int(np.isfinite(accuracies).sum()), len(genotypes)))
                idle.append(worker)
        return accuracies

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for worker in self._workers:
            worker.end()

    def _replaced(self, lost: _Worker) -> _Worker:
        lost.end()
        new = _Worker(self._copy)
        self._workers[self._workers.index(lost)] = new
        return new


@final
class _Worker:
    """One process and the pipe to it. It starts at once and opens its copy when it is first asked."""

    def __init__(self, copy: Copy) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, copy), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, genotype: NDArray[np.int64]) -> None:
        """Have it evaluate a network; if it is dead, the answer will say so."""
        with suppress(OSError):
            self.connection.send(genotype)

    def answer(self) -> float | HwnasError | None:
        """What it came to; None if the process is dead."""
        try:
            answer: float | HwnasError = self.connection.recv()
        except (EOFError, OSError):
            return None
        return answer

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, copy: Copy) -> None:
    """A worker's life: networks in, accuracies out, until the run ends it or ends itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends its workers
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    evaluator = None
    while True:
        genotype = connection.recv()
        try:
            evaluator = evaluator or copy.open()
            connection.send(evaluator.evaluate(genotype))
        except HwnasError as error:
            connection.send(error)


def _end_with_the_run() -> None:
    """At once, for the run that follows writes the same checkpoints."""
    run = multiprocessing.parent_process()
    assert run is not None
    run.join()
    os._exit(1)
