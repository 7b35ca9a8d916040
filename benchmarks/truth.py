"""What predictions are compared with: networks of the families measured in the same window as the profile, before and after it.

Everything is kept in one folder and goes on from what it finds: ``device.profile.jsonl``, ``truth.profile.jsonl`` (kernels,
memory and times of the networks predicted, in the same format), ``timeline.json`` (how far the profile was after how many
seconds).
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import devices
import hwnas.profiles
import hwnas.spaces
import profilers
from benchmarks.families.int8 import STYLES, quantized
from benchmarks.families.members import members
from devices import Device, Graph, Profile
from devices.events import Note, Progress
from devices.journal import read
from devices.profile import load as load_profile
from devices.spec import runtime_of

Floats = NDArray[np.float64]

INPUT_SHAPE, CLASSES = (3, 32, 32), 10
PROFILE, TRUTH, TIMELINE, STAGES = "device.profile.jsonl", "truth.profile.jsonl", "timeline.json", "stages.json"


@dataclass(frozen=True)
class Network:
    """A network to predict, and what it is an example of."""

    family: str
    graph: Graph


@dataclass(frozen=True)
class Measured:
    """The networks that could be measured, in their order.

    Attributes:
        truth: with their kernels, memory and times.
        first, second: ``(n,)`` latency in ms of each, measured earlier and later; NaN where it was only measured once.
    """

    networks: tuple[Network, ...]
    truth: Profile
    first: Floats
    second: Floats

    @property
    def latency_ms(self) -> Floats:
        """``(n,)`` all measurements together."""
        return np.array([self.truth.timings[n.graph.digest()].latency_ms for n in self.networks])


def of_families(families: Sequence[str], each: int, precision: str, folder: Path, seed: int = 0) -> list[Network]:
    """Random members; INT8 files are kept in ``folder``, every third one quantised in another way."""
    found = []
    for family in families:
        for i, graph in enumerate(members(family, each, seed)):
            if precision == "int8":
                path = folder / "int8" / f"{graph.digest()}.onnx"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(quantized(graph, STYLES[i % len(STYLES)]).SerializeToString())
                graph = devices.load_onnx(path)
            found.append(Network(family, graph))
    return found


def of_spaces(names: Sequence[str], each: int, seed: int = 0) -> list[Network]:
    """Random networks of search spaces: those have torch modules."""
    rng = np.random.default_rng(seed)
    opened = {name: hwnas.spaces.open(name, INPUT_SHAPE, CLASSES) for name in names}
    return [Network(name, space.graph(g)) for name, space in opened.items() for g in space.sample(rng, each)]


def measure(
    device: Device, networks: Sequence[Network], folder: Path, *, profile_s: float | None, truth_s: float, seed: int = 0
) -> Measured:
    """Truth for half of ``truth_s``, the profile for ``profile_s`` (None: it is there already), truth for the rest."""
    graphs = [n.graph for n in networks]
    finished = folder / STAGES
    done = json.loads(finished.read_text()) if finished.exists() else []
    for stage in ("before", "profile", "after"):
        if stage in done or (stage == "profile" and profile_s is None):
            continue
        if stage == "profile":
            make_profile(device, folder, profile_s, seed)
        else:
            profilers.profile(
                device, timed=graphs, path=folder / TRUTH, seed=seed, time_limit_s=truth_s / 2, on_event=_tell
            )
        done.append(stage)
        finished.write_text(json.dumps(done))
    return load(networks, folder)


def make_profile(device: Device, folder: Path, time_limit_s: float | None, seed: int = 0) -> None:
    """The generic profile, or of a device that runs search spaces alone that of ``mobile``, and how many bytes of it were there
    after how many seconds."""
    space = hwnas.spaces.open("mobile", INPUT_SHAPE, CLASSES) if runtime_of(device.spec) == "torch" else None
    path, started, timeline = folder / PROFILE, time.perf_counter(), [(0.0, 0)]

    def note(event: Note | Progress) -> None:
        _tell(event)
        if path.exists():
            timeline.append((time.perf_counter() - started, path.stat().st_size))

    hwnas.profiles.make(device, path, space=space, seed=seed, time_limit_s=time_limit_s, on_event=note)
    timeline.append((time.perf_counter() - started, path.stat().st_size))
    (folder / TIMELINE).write_text(json.dumps(timeline))


def load(networks: Sequence[Network], folder: Path) -> Measured:
    """What the folder holds of the networks."""
    truth = load_profile(folder / TRUTH)
    kept = tuple(n for n in networks if n.graph.digest() in truth.timings and n.graph.digest() in truth.lowerings)
    visits: dict[str, list[float]] = defaultdict(list)
    for unit in read(folder / TRUTH)[1]:
        if unit["unit"] == "timings":
            for digest, timing in unit["timings"].items():
                visits[digest].append(timing["latency_ms"])
    of = [np.array(visits[n.graph.digest()]) for n in kept]
    halves = np.array([[_mean(v[: len(v) // 2]), _mean(v[len(v) // 2 :])] for v in of]).reshape(-1, 2)
    return Measured(kept, truth, halves[:, 0], halves[:, 1])


def _mean(latency_ms: Floats) -> float:
    """Geometric; NaN of none."""
    return float(np.exp(np.log(latency_ms).mean())) if len(latency_ms) else float("nan")


def _tell(event: Note | Progress) -> None:
    if isinstance(event, Note):
        print(event.message)
