"""The profile: the record of what was measured on one device.

The file is a :mod:`devices.journal`. Its header has the device's fingerprint; its units are

- ``lowering``: one graph without its weights, its kernels as executed with the nodes in each, and its memory; each distinct
  kernel, operator and type is spelt out once, then named by number;
- ``timings``: one batch of graphs (none, at the beginning) that were timed together, with the sentinels that were timed beside
  them. A graph that was visited again at another time, in other company, stands in several;
- ``failed``: a graph that could not be measured, and why;
- ``sibling``: what a predictor of a sibling of the device knows, where few networks were measured here to go with it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self, final

from devices._profile_levels import evened, typical, undisturbed
from devices._profile_parts import Part, PartsWriter, checked_time, graph_from_json, kernels_from_json, part_from_json
from devices.device import DeviceInfo, Memory
from devices.errors import JournalDamaged, ProvenanceMismatch
from devices.graph import Graph
from devices.journal import Journal, read
from devices.kernels import ExecutedKernel

SCHEMA = 4


@dataclass(frozen=True)
class Timing:
    """How long one network takes, from interleaved rounds.

    Attributes:
        latency_ms: 10th percentile of a round at the machine's best; what predictors learn.
        p50_ms, p95_ms: over all runs of the undisturbed rounds.
        p50_low_ms, p50_high_ms: 95 % confidence interval of ``p50_ms`` (bootstrap over rounds).
        rounds, runs: how many of each went into it.
        stable: false if the sentinel drifted by more than 5 % and measuring again did not help.
        noise: relative difference (a fraction) of ``latency_ms`` between the odd and the even rounds; None for a single round.
    """

    latency_ms: float
    p50_ms: float
    p95_ms: float
    p50_low_ms: float
    p50_high_ms: float
    rounds: int
    runs: int
    stable: bool
    noise: float | None = None


@dataclass(frozen=True)
class Lowering:
    """What the runtime makes of a graph: its kernels in the order of execution, and the memory they need.

    Attributes:
        memory: as the device counts it; None if it was not asked.
        slowness: how slow the sentinels were around the time at which the kernels were, relative to their best in the profile.
            The kernels' seconds in a :class:`Profile` are divided by it already.
        learned: whether this is what the runtime would do as far as a profile tells, and not what it did.
    """

    kernels: tuple[ExecutedKernel, ...]
    memory: Memory | None = None
    slowness: float = 1.0
    learned: bool = False


@dataclass(frozen=True)
class Profile:
    """A profile in memory. ``lowerings``, ``graphs`` and ``timings`` are keyed by :meth:`devices.Graph.digest`.

    A network that was timed several times has the median latency of its visits, each as if the machine had been as fast as at
    its best; its other figures are those of the visit whose ``p50_ms`` is the median.

    Attributes:
        graphs: the networks of the lowerings without their weights.
        noise_floor: relative difference (a fraction) between two interleaved measurements of the same network
            (:attr:`Timing.noise`), median over networks; None before it is known.
        failed: digest to reason for graphs that could not be measured.
        sentinels: timings of the sentinel networks, by digest, for later measurements to compare with.
        drift: relative difference between visits of the same network at separated times, median over networks; None
            before any network was visited twice.
        sibling: what a predictor knows of the device's sibling; None where the profile stands alone.
    """

    info: DeviceInfo
    settings: Mapping[str, Any]
    lowerings: Mapping[str, Lowering]
    timings: Mapping[str, Timing]
    noise_floor: float | None
    failed: Mapping[str, str]
    sentinels: Mapping[str, Timing] = field(default_factory=dict)
    drift: float | None = None
    graphs: Mapping[str, Graph] = field(default_factory=dict)
    sibling: Mapping[str, Any] | None = None


class ProfileWriter:
    """Appends what is measured to a profile file; what the file already has is in :attr:`profile`. A context manager.

    Attributes:
        lowered, visits, lost: what the file holds by digest: networks with kernels, how many times each network was timed, and
            networks that could not be measured.

    Raises:
        ProvenanceMismatch: the file is of another device, version or settings.
    """

    def __init__(self, path: str | os.PathLike[str], info: DeviceInfo, settings: Mapping[str, Any]) -> None:
        self._journal = Journal(path, {"schema": SCHEMA, "device": info.to_json(), "settings": dict(settings)})
        self._content = _Content(path)
        self.lowered: set[str] = set()
        self.visits: Counter[str] = Counter()
        self.lost: set[str] = set()
        self._parts = PartsWriter(
            part_from_json(value) for unit in self._journal.units for value in unit.get("new", ())
        )
        for unit in self._journal.units:
            match unit["unit"]:
                case "lowering":
                    self.lowered.add(unit["graph"])
                case "timings":
                    self.visits.update(list(unit["timings"]))
                case "failed":
                    self.lost.add(unit["graph"])

    @property
    def profile(self) -> Profile:
        """Everything in the file so far; what was there when it was last asked for is not read again."""
        self._content.take(self._journal.units)
        return self._content.profile(self._journal.header)

    def lowering(self, graph: Graph, lowering: Lowering, sentinels_ms: Mapping[str, float]) -> None:
        """Record one network's kernels with the seconds as measured, and what sentinels took just then, by digest."""
        digest = graph.digest()
        kernels, source = self._parts.kernels(lowering.kernels, graph), self._parts.graph(graph)
        self._journal.append(
            {
                "unit": "lowering",
                "graph": digest,
                "new": self._parts.take_new(),
                "source": source,
                "kernels": kernels,
                "memory": None if lowering.memory is None else asdict(lowering.memory),
                "sentinels_ms": dict(sentinels_ms),
            }
        )
        self.lowered.add(digest)

    def timings(self, timings: Mapping[str, Timing], sentinels: Mapping[str, Timing]) -> None:
        """Record one batch of networks that were timed together, and the sentinels that were timed beside them."""
        batches = {"timings": timings, "sentinels": sentinels}
        told = {name: {d: asdict(t) for d, t in batch.items()} for name, batch in batches.items()}
        self._journal.append({"unit": "timings", **told})
        self.visits.update(list(timings))

    def failed(self, digest: str, reason: str) -> None:
        """Record a network that could not be measured."""
        self._journal.append({"unit": "failed", "graph": digest, "reason": reason})
        self.lost.add(digest)

    def sibling(self, value: Mapping[str, Any]) -> None:
        """Record what is known of a sibling of the device, unless the file has it."""
        if not any(unit["unit"] == "sibling" for unit in self._journal.units):
            self._journal.append({"unit": "sibling", "known": dict(value)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.__exit__(kind, error, trace)


def load(path: str | os.PathLike[str]) -> Profile:
    """Read a profile file.

    Raises:
        JournalDamaged: a line cannot be read.
        ProvenanceMismatch: another version of hwnas wrote it in another form.
    """
    header, units = read(Path(path))
    if header.get("schema") != SCHEMA:
        raise ProvenanceMismatch(
            f"The profile {path}",
            [f"schema: found {header.get('schema')}, wanted {SCHEMA}"],
            hint="Make the profile anew, in another file.",
        )
    content = _Content(path)
    content.take(units)
    return content.profile(header)


@final
class _Content:
    """What the units of a file say, taken one after the other."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path, self._taken = path, 0
        self._parts: list[Part] = []
        self._graphs: dict[str, Graph] = {}
        self._lowerings: dict[str, tuple[Lowering, dict[str, float]]] = {}
        self._timings: dict[str, list[Timing]] = {}
        self._sentinels: dict[str, list[Timing]] = {}
        self._visits: list[dict[str, float]] = []
        self._failed: dict[str, str] = {}
        self._sibling: Mapping[str, Any] | None = None

    def take(self, units: Sequence[Mapping[str, Any]]) -> None:
        """Those of a file's units that were not taken yet.

        Raises:
            JournalDamaged: one does not hold what a profile holds.
        """
        for unit in units[self._taken :]:
            with self._named(self._taken + 2):
                self._take(unit)
            self._taken += 1

    @contextmanager
    def _named(self, line: int) -> Iterator[None]:
        """What is wrong within this context is damage to a line of the file."""
        try:
            yield
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise JournalDamaged(
                f"{self._path}, line {line} does not hold what a profile holds ({type(error).__name__}: {error}).",
                hint="Restore the file from a copy, or make the profile anew in another file.",
            ) from error

    def _take(self, unit: Mapping[str, Any]) -> None:
        match unit["unit"]:
            case "lowering":
                self._parts += [part_from_json(v) for v in unit["new"]]
                graph = self._graphs[unit["graph"]] = graph_from_json(unit["source"], self._parts)
                rows = kernels_from_json(unit["kernels"], self._parts, graph)
                taken_ms = {digest: checked_time(ms) for digest, ms in unit["sentinels_ms"].items()}
                self._lowerings[unit["graph"]] = Lowering(rows, _memory(unit["memory"])), taken_ms
            case "timings":
                self._visits.append({})
                for found, key in ((self._timings, "timings"), (self._sentinels, "sentinels")):
                    for digest, timing in unit[key].items():
                        found.setdefault(digest, []).append(_timing(timing))
                        self._visits[-1][digest] = timing["latency_ms"]
            case "failed":
                self._failed[unit["graph"]] = unit["reason"]
            case "sibling":
                self._sibling = unit["known"]
            case kind:
                raise ValueError(f"a unit {kind!r}")

    def profile(self, header: Mapping[str, Any]) -> Profile:
        """All of them together; units taken later do not change it."""
        timings, sentinels = self._timings, self._sentinels
        noise = [t.noise for ts in timings.values() for t in ts if t.noise is not None]
        lows = [[t.latency_ms for t in ts] for ts in timings.values() if len(ts) > 1]
        latency_ms = evened(self._visits)
        at_best = {d: latency_ms[d] for d in sentinels}
        with self._named(1):
            info = DeviceInfo.from_json(header["device"])
        return Profile(
            info,
            header["settings"],
            undisturbed(self._lowerings, at_best),
            timings={d: typical(ts, latency_ms[d]) for d, ts in timings.items()},
            noise_floor=median(noise) if noise else None,
            failed=dict(self._failed),
            sentinels={d: typical(ts, latency_ms[d]) for d, ts in sentinels.items()},
            drift=median(max(ms) / min(ms) - 1 for ms in lows) if lows else None,
            graphs=dict(self._graphs),
            sibling=self._sibling,
        )


def _timing(value: Mapping[str, Any]) -> Timing:
    timing = Timing(**value)
    for ms in (timing.latency_ms, timing.p50_ms, timing.p95_ms, timing.p50_low_ms, timing.p50_high_ms):
        checked_time(ms)
    return timing


def _memory(value: Mapping[str, Any] | None) -> Memory | None:
    if value is None:
        return None
    memory = Memory(**value)
    if not isinstance(memory.memory_bytes, int) or min(memory.weight_bytes, memory.activation_bytes) < 0:
        raise ValueError(f"memory of {memory.memory_bytes!r} bytes")
    return memory
