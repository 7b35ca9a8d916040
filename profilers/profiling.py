"""Profiling a device: which kernels it makes of networks, how long each kernel and each whole network takes.

Kernels are taken from whole networks, in context: small and elementwise ones are up to twice as slow in isolation. Their times
are put in relation to sentinels that ran just before and after (:attr:`devices.Lowering.slowness`): the clock of a machine
that others use too changes by up to 15 % within seconds, and doing so halves what that adds to them. Whole
networks are timed in batches that are on the device at the same time, so that they can be interleaved. Every network is visited
four times, each time in other company: what the machine was like in a visit can then be told from what the networks are like.
Both kinds of work alternate, so that a profile that is cut short is already usable.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from devices import Device, Graph, Profile, Session, Timing
from devices.errors import DeviceError, DeviceUnavailable, HwnasError, InvalidModel
from devices.events import Note, OnEvent, Progress, ignore
from devices.profile import ProfileWriter
from profilers import sentinels
from profilers.errors import MeasurementError
from profilers.measuring import loaded, usual_ms
from profilers.timing import Deadline, measure, warm

BATCH = 100
FIRST_BATCH = 25  # in the first visit, so that little time is enough for some networks
VISITS = 4
ROUNDS = 4  # undisturbed ones wanted in a visit
GLANCE_RUNS = 50, 5  # of the small and the medium sentinel


@dataclass(frozen=True)
class Proposal:
    """What to measure next.

    Attributes:
        graphs: networks, or pieces side by side, of which the kernels alone are wanted.
        timed: networks of which kernels and memory are wanted, and that are timed whole, in one visit, all on the device at the
            same time.
    """

    graphs: tuple[Graph, ...] = ()
    timed: tuple[Graph, ...] = ()


@dataclass(frozen=True)
class _Step:
    """One unit of work: the kernels of one network, or the timing of a batch.

    Attributes:
        visit: how many times the batch's networks were timed before, counting from 0; None where that does not matter.
    """

    digests: tuple[str, ...]
    timed: bool = False
    visit: int | None = None


def profile(
    device: Device,
    graphs: Sequence[Graph] = (),
    *,
    timed: Sequence[Graph] = (),
    propose: Callable[[Profile], Proposal | None] | None = None,
    sibling: Mapping[str, Any] | None = None,
    path: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    time_limit_s: float | None = None,
    on_event: OnEvent = ignore,
) -> Profile:
    """Measure networks on a device and keep the results in a file; what the file already has is not measured again.

    Args:
        device: what to profile.
        graphs: networks of which the kernels are wanted.
        timed: networks that are timed whole as well.
        propose: asked again and again, once those are done, what to measure next given what is known by now; None ends the
            profile. After a kill it is asked anew, so it should depend on the profile alone.
        sibling: what is known of a sibling of the device; kept in the file.
        path: the profile file. A kill loses at most the unit in flight: one network's kernels, or one visit of a batch.
        settings: JSON-able facts about where the networks come from; part of the file's header.
        seed: for the order.
        time_limit_s: no unit is begun after that time.
        on_event: told after every unit; ``done`` and ``total`` count networks, a timed one once for each visit, or where
            ``propose`` goes on until the time is over, seconds.

    Raises:
        ProvenanceMismatch: the file is of another device, version or settings.
        MeasurementError: not one network could be measured.
        DeviceUnavailable: the device is gone.
    """
    deadline = Deadline(time_limit_s)
    steps = list(_planned([g.digest() for g in (*graphs, *timed)], [g.digest() for g in timed], seed))
    with (
        ProfileWriter(path, device.info, {"seed": seed, **(settings or {})}) as writer,
        loaded(device, sentinels.graphs()) as beside,
    ):
        if sibling is not None:
            writer.sibling(sibling)
        work = _Work(device, writer, beside, seed, on_event)
        work.know(*graphs, *timed)
        progress = _Progress(on_event, deadline if propose else Deadline(None))
        while True:
            progress.more(steps)
            for step in steps:
                if deadline.passed:
                    progress.cut_short()
                    break
                work.do(step)
                progress.done(step)
            proposal = None if propose is None or deadline.passed else propose(writer.profile)
            if proposal is None:
                break
            steps = work.take(proposal)
        found = writer.profile
    if found.failed and not found.lowerings:
        raise MeasurementError(
            f"None of the networks could be measured. The first: {next(iter(found.failed.values()))}"
        )
    return found


@final
class _Progress:
    """Tells how far the profile is: in networks, or in seconds of ``deadline``."""

    def __init__(self, on_event: OnEvent, deadline: Deadline) -> None:
        self._on_event = on_event
        self._deadline = deadline
        self._done = self._total = 0

    def more(self, steps: Sequence[_Step]) -> None:
        self._total += sum(len(step.digests) for step in steps)

    def done(self, step: _Step) -> None:
        self._done += len(step.digests)
        if self._deadline.seconds is None:
            self._on_event(Progress("profile", self._done, self._total))
        else:
            limit = math.ceil(self._deadline.seconds)
            self._on_event(Progress("profile", min(limit, int(self._deadline.spent)), limit, f"{self._done} networks"))

    def cut_short(self) -> None:
        if self._deadline.seconds is None:
            self._on_event(Note(f"The time limit ended the profile at {self._done} of {self._total}."))


def _planned(digests: Sequence[str], timed: Sequence[str], seed: int) -> Iterator[_Step]:
    """All units in order: the first visit of a batch comes behind its kernels, other kernels come in between."""
    rng = np.random.default_rng(seed)
    whole, others = sorted(set(timed)), rng.permutation(sorted(set(digests) - set(timed)))
    batches = [-(-len(whole) // size) for size in (FIRST_BATCH, *(VISITS - 1) * [BATCH])]
    shares = iter(np.array_split(others, max(1, sum(batches))))
    for visit, count in enumerate(batches):
        for batch in np.array_split(rng.permutation(whole), count) if count else ():
            if visit == 0:
                yield from (_Step((str(d),)) for d in batch)
            yield _Step(tuple(str(d) for d in batch), timed=True, visit=visit)
            yield from (_Step((str(d),)) for d in next(shares))
    yield from (_Step((str(d),)) for share in shares for d in share)


@final
class _Work:
    """Does the units that are not in the file yet."""

    def __init__(
        self,
        device: Device,
        writer: ProfileWriter,
        beside: Sequence[Session],
        seed: int,
        on_event: OnEvent,
    ) -> None:
        self._device = device
        self._writer = writer
        self._graphs: dict[str, Graph] = {}
        self._kernels_alone: set[str] = set()
        self._beside = beside
        self._seed = seed
        self._on_event = on_event
        self._sentinels = [graph.digest() for graph in sentinels.graphs()]
        self._usual_ms = np.array(usual_ms(writer.profile))
        self._glance_ms: NDArray[np.float64] | None = None

    def know(self, *graphs: Graph) -> list[str]:
        """Networks that will be measured; their digests."""
        digests = [graph.digest() for graph in graphs]
        self._graphs |= zip(digests, graphs, strict=True)
        return digests

    def take(self, proposal: Proposal) -> list[_Step]:
        """The units of a proposal."""
        self._graphs.clear()  # thousands of networks may be proposed in a profile's time
        lowered, timed = self.know(*proposal.graphs), self.know(*proposal.timed)
        self._kernels_alone = set(lowered) - set(timed)
        steps = [_Step((d,)) for d in dict.fromkeys((*lowered, *timed))]
        return [*steps, _Step(tuple(dict.fromkeys(timed)), timed=True)] if timed else steps

    def do(self, step: _Step) -> None:
        """One unit, unless the file has it."""
        if step.timed:
            self._time(step.digests, step.visit)
        else:
            self._lower(*step.digests)

    def _lower(self, digest: str) -> None:
        """Record one network's kernels and memory, and what the sentinels took just before and after."""
        if digest in self._writer.lowered or digest in self._writer.lost:
            return
        self._learn_usual()
        before = self._glance_ms if self._glance_ms is not None else self._glance()
        try:
            lowering = self._device.lower(self._graphs[digest], memory=digest not in self._kernels_alone)
            self._glance_ms = self._glance()
        except (DeviceError, InvalidModel) as error:
            self._lost(digest, error)
            return
        around = np.sqrt(before * self._glance_ms).tolist()
        self._writer.lowering(self._graphs[digest], lowering, dict(zip(self._sentinels, around, strict=False)))

    def _time(self, digests: Sequence[str], visit: int | None) -> None:
        """Record one visit of a batch. If it fails, its halves are tried until the network to blame is alone."""
        visits = self._writer.visits
        wanted = [d for d in digests if d not in self._writer.lost and (visit is None or visits[d] <= visit)]
        if not wanted:
            return
        self._glance_ms = None
        try:
            with loaded(self._device, [self._graphs[d] for d in wanted]) as sessions:
                timings = self._measure(sessions, self._seed + visits[wanted[0]])
        except (DeviceError, InvalidModel) as error:
            if len(wanted) == 1:
                self._lost(wanted[0], error)
                return
            half = len(wanted) // 2
            self._time(wanted[:half], visit)
            self._time(wanted[half:], visit)
        else:
            self._record(wanted, timings)

    def _learn_usual(self) -> None:
        """Time the sentinels alone, if nothing is known of them yet."""
        if not np.isfinite(self._usual_ms).all():
            self._record((), self._measure((), self._seed))

    def _measure(self, sessions: Sequence[Session], seed: int) -> tuple[list[Timing], list[Timing]]:
        return measure(
            sessions, sentinels=self._beside, usual_ms=self._usual_ms.tolist(), rounds=ROUNDS, precision=None, seed=seed
        )

    def _record(self, digests: Sequence[str], measured: tuple[list[Timing], list[Timing]]) -> None:
        timings, now = measured
        self._writer.timings(dict(zip(digests, timings, strict=True)), dict(zip(self._sentinels, now, strict=True)))
        self._usual_ms = np.minimum(self._usual_ms, [t.latency_ms for t in now])

    def _glance(self) -> NDArray[np.float64]:
        """A quick look at the sentinels that follow the clock: ``(2,)`` ms of the small and the medium one."""
        taken = []
        for session, runs in zip(self._beside[: len(GLANCE_RUNS)], GLANCE_RUNS, strict=True):
            taken.append(1e3 * float(np.quantile(warm(session, runs), 0.1)))
        return np.array(taken)

    def _lost(self, digest: str, error: HwnasError) -> None:
        if isinstance(error, DeviceUnavailable):
            raise error
        reason = f"{type(error).__name__}: {error.message}"
        self._writer.failed(digest, reason)
        self._on_event(Note(f"{self._graphs[digest].name} could not be measured and is left out. {reason}"))
