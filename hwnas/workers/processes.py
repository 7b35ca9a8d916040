"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, final

from devices.events import OnEvent, Progress
from hwnas.errors import HwnasError, SearchError
from hwnas.workers import LOSSES

if TYPE_CHECKING:
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

    def evaluate(self, asked: Sequence[Any]) -> list[Any]:
        """See :class:`hwnas.workers.Crew`."""
        answers: dict[int, Any] = {}
        left, losses = list(reversed(range(len(asked)))), Counter[int]()
        idle, busy = list(self._workers), dict[Connection, tuple[_Worker, int]]()
        while left or busy:
            while left and idle:
                worker, i = idle.pop(), left.pop()
                worker.ask(asked[i])
                busy[worker.connection] = (worker, i)
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker, i = busy.pop(connection)
                answer = worker.answer()
                if isinstance(answer, HwnasError):
                    raise answer
                if answer is None:
                    losses[i] += 1
                    if losses[i] == LOSSES:
                        raise SearchError(
                            f"{LOSSES} worker processes died one after the other over network {asked[i]}.",
                            hint="If they left no message, memory ran out: give fewer --workers. The same command goes on.",
                        )
                    left.append(i)
                    worker = self._replaced(worker)
                else:
                    answers[i] = answer
                    self._on_event(Progress("generation", len(answers), len(asked)))
                idle.append(worker)
        return [answers[i] for i in range(len(asked))]

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

    def ask(self, asked: Any) -> None:
        """Have it do an evaluation; if it is dead, the answer will say so."""
        with suppress(OSError):
            self.connection.send(asked)

    def answer(self) -> Any:
        """What it came to, or the :class:`HwnasError` that it raised; None if the process is dead."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, copy: Copy) -> None:
    """A worker's life: evaluations in, answers out, until the run ends it or ends itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends its workers
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    evaluator = None
    while True:
        asked = connection.recv()
        try:
            evaluator = evaluator or copy.open()
            connection.send(evaluator.evaluate(asked))
        except HwnasError as error:
            connection.send(error)


def _end_with_the_run() -> None:
    """At once, for the run that follows writes the same checkpoints."""
    run = multiprocessing.parent_process()
    assert run is not None
    run.join()
    os._exit(1)
