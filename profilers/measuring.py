"""Measuring whole networks on a device, and whether a profile's device is still as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from devices import Device, Graph, Profile, Session, Timing
from devices.events import Note, OnEvent, ignore
from profilers import sentinels
from profilers.errors import MeasurementError
from profilers.timing import DISTURBED, ROUNDS, Deadline, measure

_BLOCKS = 120  # in all, at least: a machine's clock changes within seconds, so a measurement has to last for some


@dataclass(frozen=True)
class Check:
    """Whether a profile still holds.

    Attributes:
        holds: no sentinel is more than 5 % off its value in the profile.
        drift: by digest of the sentinel, how much slower it is now than in the profile, as a fraction; negative if faster.
    """

    holds: bool
    drift: Mapping[str, float]


def measure_graphs(
    device: Device,
    graphs: Sequence[Graph],
    *,
    profile: Profile | None = None,
    seed: int = 0,
    time_limit_s: float | None = None,
    on_event: OnEvent = ignore,
) -> list[Timing]:
    """Load networks, time them beside the sentinels, and compare the sentinels with those of a profile of this device.

    Rounds in which a sentinel is more than 5 % slower than in the profile are measured again. If a sentinel's time is off by
    more than that nevertheless, everything is measured once more; if it still is, the timings are marked as not stable.

    Raises:
        ProvenanceMismatch: the profile is of another device.
        DeviceError: a network cannot be measured.
    """
    if profile is not None:
        device.info.require_same(profile.info, what="the profile")
    deadline = Deadline(time_limit_s)
    usual = usual_ms(profile) if profile is not None else None
    with loaded(device, graphs) as sessions, loaded(device, sentinels.graphs()) as beside:
        for attempt in range(2):
            timings, now = measure(
                sessions,
                sentinels=beside,
                usual_ms=usual,
                rounds=max(ROUNDS, _BLOCKS // (len(sessions) + len(beside))),
                seed=seed + attempt,
                deadline=deadline,
                on_event=on_event,
            )
            holds = profile is None or compare(now, profile).holds
            if holds or deadline.passed:
                break
            if attempt == 0:
                on_event(Note("The machine is not as it was when it was profiled; measuring again."))
    return [replace(t, stable=t.stable and holds) for t in timings]


def check(device: Device, profile: Profile, *, seed: int = 0) -> Check:
    """Measure the sentinels of a profile again.

    Raises:
        ProvenanceMismatch: the profile is of another device.
        MeasurementError: the profile has no sentinels to compare with.
    """
    device.info.require_same(profile.info, what="the profile")
    if not profile.sentinels:
        raise MeasurementError(
            "The profile holds no timed networks, so there is nothing to compare with.",
            hint="Profile again, and allow enough time for whole networks to be timed.",
        )
    with loaded(device, sentinels.graphs()) as beside:
        return compare(measure((), sentinels=beside, seed=seed)[1], profile)


def compare(now: Sequence[Timing], profile: Profile) -> Check:
    """Compare timings of the sentinels, in their order, with those in a profile; one that the profile lacks says nothing."""
    drift = {}
    for graph, timing in zip(sentinels.graphs(), now, strict=True):
        digest = graph.digest()
        if digest in profile.sentinels:
            drift[digest] = timing.latency_ms / profile.sentinels[digest].latency_ms - 1
    return Check(all(abs(d) <= DISTURBED for d in drift.values()), drift)


def usual_ms(profile: Profile) -> list[float]:
    """``latency_ms`` of each sentinel in a profile, infinite where the profile lacks it."""
    known = (profile.sentinels.get(graph.digest()) for graph in sentinels.graphs())
    return [math.inf if timing is None else timing.latency_ms for timing in known]


@contextmanager
def loaded(device: Device, graphs: Sequence[Graph]) -> Iterator[list[Session]]:
    """Sessions of several networks that are on the device at the same time."""
    with ExitStack() as stack:
        yield [stack.enter_context(device.load(graph)) for graph in graphs]
