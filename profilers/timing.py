"""Timing networks on a machine that others use too.

All runs of a network in one go tell how the machine was at that moment. So networks are timed in *rounds*: in each round
every network has one *block* of runs, the order is shuffled anew, and each block starts with warm-up runs that bring the
caches back. Beside them run *sentinels*, fixed networks of several footprints: a round in which one of them is more than
5 % slower than it was in its best round, or than it usually is on this device, is disturbed, and is measured again.

What the machine itself adds is never negative, so the figure that repeats, and that predictors learn, is a low one: each
block's 10th percentile, at the machine's best. Which network met the machine at its best is chance; :mod:`profilers.clock`
evens that out. Median and 95th percentile tell what a user will see.

This is the only file outside the runtimes that reads a clock, and only for time limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from devices import Timing
from devices.events import OnEvent, Progress, ignore
from profilers.clock import even_out

Clock = Callable[[], float]
Seconds = NDArray[np.float64]

ROUNDS = 12
WARM_UP_RUNS = 2
BLOCK_SECONDS = 0.01
BLOCK_RUNS = 5, 1000  # at least, at most
DISTURBED = 0.05  # fraction
RESAMPLES = 200


class Timed(Protocol):
    """What measuring needs of a :class:`devices.Session`."""

    def run(self, n: int) -> Seconds:
        """Execute ``n`` times; ``(n,)`` seconds per execution."""


class Deadline:
    """The moment at which a time limit ends; never, if ``seconds`` is None."""

    def __init__(self, seconds: float | None, clock: Clock = time.monotonic) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"time limit must be positive, got {seconds}")
        self.seconds = seconds
        self._clock = clock
        self._start = clock()

    @property
    def spent(self) -> float:
        """Seconds since it was set."""
        return self._clock() - self._start

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return self.seconds is not None and self.spent >= self.seconds


@dataclass(frozen=True)
class Rounds:
    """What was measured, before statistics.

    Attributes:
        sessions, sentinels: for each one its ``(rounds, runs)`` seconds; ``runs`` differ.
        order: ``(rounds, sessions + sentinels)`` which one ran first, second, … in each round.
        kept: ``(rounds,)`` which rounds were undisturbed, or if none was, which were about as good as the best.
        stable: false if rounds were disturbed that could not all be made up for.
    """

    sessions: tuple[Seconds, ...]
    sentinels: tuple[Seconds, ...]
    order: NDArray[np.int64]
    kept: NDArray[np.bool_]
    stable: bool


def measure(
    sessions: Sequence[Timed],
    *,
    sentinels: Sequence[Timed] = (),
    usual_ms: Sequence[float] | None = None,
    rounds: int = ROUNDS,
    precision: float | None = 0.01,
    seed: int = 0,
    deadline: Deadline | None = None,
    on_event: OnEvent = ignore,
) -> tuple[list[Timing], list[Timing]]:
    """Time several loaded networks against each other: :func:`collect`, then :func:`summarise`.

    Returns:
        One timing for each session and one for each sentinel.
    """
    found = collect(
        sessions,
        sentinels=sentinels,
        usual_ms=usual_ms,
        rounds=rounds,
        precision=precision,
        seed=seed,
        deadline=deadline,
        on_event=on_event,
    )
    timings = summarise(found, seed)
    return timings[: len(sessions)], timings[len(sessions) :]


def collect(
    sessions: Sequence[Timed],
    *,
    sentinels: Sequence[Timed] = (),
    usual_ms: Sequence[float] | None = None,
    rounds: int = ROUNDS,
    precision: float | None = 0.01,
    seed: int = 0,
    deadline: Deadline | None = None,
    on_event: OnEvent = ignore,
) -> Rounds:
    """Run several loaded networks in interleaved rounds.

    It ends after ``rounds`` undisturbed rounds if every network's median is known to ``precision``, at the latest after twice
    as many rounds, or with the round in which the deadline passes.

    Args:
        sessions: what to time.
        sentinels: sessions of :func:`profilers.sentinels.graphs`, timed in every round to find disturbed ones.
        usual_ms: each sentinel's ``latency_ms`` on this device, as far as it is known from earlier; infinite where it is not.
        rounds: how many undisturbed rounds are wanted.
        precision: wanted half width of the 95 % interval of the median, as a fraction of it; None if it does not matter.
        seed: for the order in the rounds and for the bootstrap.
        deadline: when to end with what there is; at least one round is measured.
        on_event: told after every round.
    """
    everyone = [*sessions, *sentinels]
    first_sentinel = len(sessions)
    usual = np.full(len(sentinels), np.inf) if usual_ms is None else np.asarray(usual_ms, np.float64) / 1e3
    rng = np.random.default_rng(seed)
    order: list[NDArray[np.int64]] = []
    runs = [_runs_per_block(session) for session in everyone]
    taken: list[list[Seconds]] = [[] for _ in everyone]
    for done in range(1, 2 * rounds + 1):
        order.append(rng.permutation(len(everyone)))
        for i in order[-1]:
            taken[i].append(warm(everyone[i], runs[i]))
        slow = slowness(np.array([round_lows(np.stack(t)) for t in taken[first_sentinel:]]).reshape(-1, done), usual)
        calm = slow <= 1 + DISTURBED
        kept = slow <= max(1.0, slow.min()) * (1 + DISTURBED)
        enough = calm.sum() >= rounds
        on_event(Progress("measure", min(int(calm.sum()), rounds), rounds))
        if enough and (precision is None or _precise(taken[:first_sentinel], kept, precision, seed)):
            break
        if deadline is not None and deadline.passed:
            break
    seconds = [np.stack(t) for t in taken]
    return Rounds(
        tuple(seconds[:first_sentinel]),
        tuple(seconds[first_sentinel:]),
        np.stack(order),
        kept,
        stable=bool(enough or calm.all()),
    )


def warm(session: Timed, runs: int) -> Seconds:
    """``(runs,)`` seconds, behind runs that bring the caches back. All of them are one request: each has its price elsewhere."""
    return session.run(WARM_UP_RUNS + runs)[WARM_UP_RUNS:]


def round_lows(seconds: Seconds) -> Seconds:
    """``(rounds,)`` 10th percentile of each round of ``(rounds, runs)``."""
    return np.quantile(seconds, 0.1, axis=1)


def slowness(sentinel_lows: Seconds, usual: Seconds) -> Seconds:
    """``(rounds,)`` how slow the slowest sentinel was in each round, relative to its best round or its usual time.

    Args:
        sentinel_lows: ``(sentinels, rounds)`` :func:`round_lows`.
        usual: ``(sentinels,)`` usual low seconds, infinite where not known.
    """
    best = np.minimum(sentinel_lows.min(axis=1), usual)
    slow: Seconds = (sentinel_lows / best[:, None]).max(axis=0, initial=1.0)
    return slow


def summarise(found: Rounds, seed: int = 0) -> list[Timing]:
    """The figures of each network, then of each sentinel.

    ``latency_ms`` is the median over the rounds of each block's 10th percentile with the machine's changes evened out
    (:func:`profilers.clock.even_out`), on the level of the machine's best: of a single network it is the lowest of all rounds.
    ``p50_ms`` and ``p95_ms`` are over all runs of the rounds ``kept``, as they were. The 95 % interval of the median is a
    percentile bootstrap over whole rounds (Efron and Tibshirani 1993, section 13.3), because runs of one round are alike.
    ``noise`` is the relative difference of ``latency_ms`` between odd and even rounds.
    """
    measured = (*found.sessions, *found.sentinels)
    if not measured:
        return []
    blocks = even_out(np.stack([round_lows(seconds) for seconds in measured]), found.order)
    return [
        _timing(seconds[found.kept], evened, found.stable, seed)
        for seconds, evened in zip(measured, blocks, strict=True)
    ]


def _timing(seconds: Seconds, evened: Seconds, stable: bool, seed: int) -> Timing:
    """Of the ``(rounds, runs)`` seconds that are kept, and each round's low seconds."""
    ms = 1e3 * np.asarray(seconds, np.float64)
    p50, p95 = np.quantile(ms, (0.5, 0.95))
    low, high = median_interval(ms, seed)
    noise = None
    if len(evened) > 1:
        odd, even = np.median(evened[0::2]), np.median(evened[1::2])
        noise = float(abs(odd - even) / min(odd, even))
    return Timing(
        latency_ms=1e3 * float(np.median(evened)),
        p50_ms=float(p50),
        p95_ms=float(p95),
        p50_low_ms=min(low, float(p50)),
        p50_high_ms=max(high, float(p50)),
        rounds=len(ms),
        runs=ms.size,
        stable=stable,
        noise=noise,
    )


def median_interval(values: Seconds, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the median of ``(rounds, runs)`` values, whole rounds being drawn with replacement."""
    rounds = len(values)
    picks = np.random.default_rng(seed).integers(0, rounds, (RESAMPLES, rounds))
    low, high = np.quantile(np.median(values[picks].reshape(RESAMPLES, -1), axis=1), (0.025, 0.975))
    return float(low), float(high)


def _runs_per_block(session: Timed) -> int:
    """Runs that fill :data:`BLOCK_SECONDS`."""
    fewest, most = BLOCK_RUNS
    fastest = float(session.run(WARM_UP_RUNS + 1)[1:].min())
    return min(most, max(fewest, math.ceil(BLOCK_SECONDS / max(fastest, 1e-9))))


def _precise(taken: list[list[Seconds]], kept: NDArray[np.bool_], precision: float, seed: int) -> bool:
    for rounds in taken:
        values = np.stack(rounds)[kept]
        low, high = median_interval(values, seed)
        if high - low > 2 * precision * float(np.median(values)):
            return False
    return True
