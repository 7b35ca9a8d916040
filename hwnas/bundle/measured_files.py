"""What a device makes of a bundle's files: time, memory, accuracy, and whether the device's budget is kept, file by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import devices
import profilers
from devices import Device, DeviceInfo, Memory, Profile, Timing
from devices.errors import DeviceCrashed, UnsupportedOp
from devices.events import OnEvent
from hwnas.bundle import files as bundles
from hwnas.bundle import native
from hwnas.bundle.certificate import FileRecord, Limits, Weights, sha256
from hwnas.bundle.files import Contents
from hwnas.bundle.quality import Quality


@dataclass(frozen=True)
class Predicted:
    """What a predictor said of a file."""

    latency_ms: float
    p50_ms: float


@dataclass(frozen=True)
class DeviceTerms:
    """What the files are held against on a device.

    Attributes:
        spec: its specification.
        budget: the limits there.
        predicted: what was predicted of the files, by name.
        profile: its sentinels tell whether the machine is as it was.
    """

    spec: str
    budget: Limits
    predicted: Mapping[str, Predicted] = field(default_factory=dict)
    profile: Profile | None = None


@dataclass(frozen=True)
class Findings:
    """What a device made of the files.

    Attributes:
        info: the device's fingerprint.
        budget: the limits there.
        contents: which files it runs.
        qualities: of all files, by name.
        files: those it runs, as measured.
    """

    info: DeviceInfo
    budget: Limits
    contents: Contents
    qualities: Mapping[str, Quality]
    files: Mapping[str, FileRecord]


@dataclass(frozen=True)
class _Cost:
    """What a file needs."""

    timing: Timing
    memory: Memory
    resident_bytes: int


def measure(
    folder: Path,
    device: Device,
    contents: Contents,
    terms: DeviceTerms,
    qualities: Mapping[str, Quality],
    *,
    seed: int,
    on_event: OnEvent,
) -> Findings:
    """Measure the files of a bundle that a device runs, interleaved.

    Args:
        folder: the bundle.
        device: opened.
        contents: the files for it.
        terms: what to hold them against.
        qualities: how well all files do on images, by name.
        seed: for the order of measuring.
        on_event: told of progress.

    Raises:
        DeviceError, ProvenanceMismatch: the device is gone, or not the profile's; an engine is for another one.
    """
    graphs = list(contents.measured.values())
    timings = profilers.measure_graphs(device, graphs, profile=terms.profile, seed=seed, on_event=on_event)
    files = {}
    for (name, graph), timing in zip(contents.measured.items(), timings, strict=True):
        with device.load(graph) as session:
            memory = session.memory()
        cost = _Cost(timing, memory, devices.resident_bytes(device.spec, graph))
        files[name] = _record(folder / name, terms, qualities[name], cost)
    return Findings(device.info, terms.budget, contents, qualities, files)


def without_refused(device: Device, contents: Contents) -> Contents:
    """The contents less the INT8 files that the device turns out not to run: they were made for another one."""
    refused = {}
    for name, graph in contents.measured.items():
        if bundles.precision(name) == "int8":
            try:
                with device.load(graph) as session:
                    session.run(1)
            except (UnsupportedOp, DeviceCrashed) as error:
                refused[name] = f"{device.info.spec} does not run it: {error.message}"
    measured = {name: graph for name, graph in contents.measured.items() if name not in refused}
    return replace(contents, measured=measured, unmeasured={**contents.unmeasured, **refused})


def identity(path: Path) -> dict[str, Any]:
    """Which file it is, in the words of :class:`hwnas.bundle.certificate.File`."""
    _, *beside = native.parts(path)
    weights = [Weights(name=p.name, sha256=sha256(p), bytes=p.stat().st_size) for p in beside]
    return {
        "sha256": sha256(path),
        "bytes": path.stat().st_size + sum(w.bytes for w in weights),
        "precision": bundles.precision(path.name),
        "engine": bundles.built(path.parent, path.name),
        "weights": weights[0] if weights else None,
    }


def _record(path: Path, terms: DeviceTerms, quality: Quality, cost: _Cost) -> FileRecord:
    timing, known = cost.timing, identity(path)
    limits = terms.budget
    told = terms.predicted.get(path.name)
    within = [
        (timing.p50_high_ms, limits.latency_ms),
        (cost.memory.memory_bytes, limits.memory_bytes),
        (known["bytes"], limits.model_bytes),
    ]
    return FileRecord(
        **known,
        latency_ms=timing.latency_ms,
        p50_ms=timing.p50_ms,
        p95_ms=timing.p95_ms,
        ci95_ms=(timing.p50_low_ms, timing.p50_high_ms),
        memory_bytes=cost.memory.memory_bytes,
        memory_source=cost.memory.source,
        resident_bytes=cost.resident_bytes,
        **vars(quality),
        predicted_latency_ms=told.latency_ms if told else None,
        predicted_p50_ms=told.p50_ms if told else None,
        stable=timing.stable,
        within_budget=all(limit is None or used <= limit for used, limit in within),
    )
