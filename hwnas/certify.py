"""Certify a bundle: measure the exported files themselves in a fresh process and say which one to deploy.

A bundle holds ``model.onnx``, perhaps ``model.int8.onnx``, perhaps files in a runtime's own format (:mod:`hwnas.bundle`).
Latency, memory and accuracy are those of the files; what was predicted stands beside them. Which file is deployed is decided
on validation images; test images only give the figure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import devices
import profilers
from devices import Device, DeviceInfo, Graph, Memory, Profile, Timing
from devices.events import OnEvent, ignore
from devices.versions import versions
from hwnas import bundle as bundles
from hwnas import certificate as certificates
from hwnas import native
from hwnas.atomic import write_text
from hwnas.budget import Budget
from hwnas.bundle import Contents
from hwnas.bundle_readme import readme
from hwnas.certificate import (
    FLOAT,
    Certificate,
    FileRecord,
    Limits,
    NetworkInput,
    Resize,
    Seeds,
    UnmeasuredFile,
    Weights,
    sha256,
)
from hwnas.deployment import choose
from hwnas.errors import InvalidData
from hwnas.quality import Quality, qualities_of, remembered
from hwnas.task import Task

_VERSIONS = ("hwnas", "numpy", "onnx", "onnxruntime", "torch", "xgboost")


@dataclass(frozen=True)
class Predicted:
    """What a predictor said of a file."""

    latency_ms: float
    p50_ms: float


@dataclass(frozen=True)
class _Terms:
    """What a certificate says that is not measured."""

    budget: Limits
    max_accuracy_drop: float
    task: str
    given: NetworkInput
    classes: tuple[str, ...]
    predicted: Mapping[str, Predicted]
    notes: tuple[str, ...] = ()
    seeds: Seeds | None = None


@dataclass(frozen=True)
class _Cost:
    """What a file needs."""

    timing: Timing
    memory: Memory
    resident_bytes: int


def certify(
    bundle: str | os.PathLike[str],
    budget: Budget,
    device: str,
    *,
    task: Task,
    predicted: Mapping[str, Predicted] | None = None,
    profile: Profile | None = None,
    max_accuracy_drop: float = 0.003,
    seed: int = 0,
    on_event: OnEvent = ignore,
) -> Certificate:
    """Measure every file of a bundle and write ``certificate.json`` and ``README.md`` into it.

    Args:
        bundle: folder with :data:`FLOAT` and perhaps more.
        budget: the limits.
        device: specification; the device is opened afresh, so everything is measured in a new process.
        task: whose validation and test images the files classify.
        predicted: by file name.
        profile: of the device; its sentinels tell whether the machine is as it was.
        max_accuracy_drop: how much validation accuracy (a fraction) a file may lose against float32 and still be deployed.
        seed: for the order of measuring.
        on_event: told of progress.

    Raises:
        InvalidData: the bundle has no :data:`FLOAT`, or the network does not fit the task.
        DeviceError, ProvenanceMismatch: the device is not there, or not the profile's; an engine is for another one.
        HwnasError: the bundle cannot be written.
    """
    folder = Path(bundle)
    contents = bundles.contents(folder, device)
    given = _network_input(folder / FLOAT, devices.load_onnx(folder / FLOAT), task)
    terms = _Terms(
        Limits(**vars(budget)), max_accuracy_drop, task.name, given, task.classes, predicted=dict(predicted or {})
    )
    with devices.open(device, on_event=on_event) as opened:
        qualities = qualities_of(folder, opened, contents, task, given, on_event)
        costs = _costs(opened, contents.measured, profile, seed, on_event)
    return _issue(folder, opened.info, terms, contents, qualities, costs)


def certify_again(
    bundle: str | os.PathLike[str],
    *,
    device: str | None = None,
    task: Task | None = None,
    seed: int = 0,
    on_event: OnEvent = ignore,
) -> Certificate:
    """Certify a bundle that has a certificate, from the bundle alone: with its budget, on its device or another.

    Without ``task`` the accuracies are those of the former certificate, and a note says so.

    Raises:
        InvalidData: no certificate, or it is damaged; the task is another one; or it is needed for a file that is new.
        ProvenanceMismatch: a file is not the one that was certified; or an engine is for another device.
        DeviceError: the device is not there.
        HwnasError: the bundle cannot be written.
    """
    folder = Path(bundle)
    former = certificates.read(folder)
    certificates.require_unchanged(folder, former)
    if task is not None and (task.classes != former.classes or task.input_shape[0] != former.input.shape[1]):
        raise InvalidData(
            f"The bundle was trained for the task {former.task} ({len(former.classes)} classes); {task.name} is another.",
            hint=f"Give the task {former.task}, or none.",
        )
    spec = former.device_info.spec
    contents = bundles.contents(folder, device or spec)
    qualities = remembered(former, contents) if task is None else {}
    with devices.open(device or spec, on_event=on_event) as opened:
        if task is not None:
            qualities = qualities_of(folder, opened, contents, task, former.input, on_event)
        costs = _costs(opened, contents.measured, None, seed, on_event)
    terms = _Terms(
        former.budget,
        former.max_accuracy_drop,
        former.task,
        former.input,
        former.classes,
        predicted=_predicted(former) if opened.info.spec == spec else {},
        notes=()
        if task is not None
        else (f"The accuracies are those of {former.created}: the test images were not at hand.",),
        seeds=former.seeds,
    )
    return _issue(folder, opened.info, terms, contents, qualities, costs)


def _network_input(path: Path, graph: Graph, task: Task) -> NetworkInput:
    name = graph.inputs[0]
    shape, outputs = graph.tensors[name].shape, graph.tensors[graph.outputs[0]].shape
    if len(shape) != 4 or shape[:2] != (1, task.input_shape[0]) or outputs != (1, len(task.classes)):
        raise InvalidData(
            f"{path} maps {shape} to {outputs}; the task {task.name} needs images (1, {task.input_shape[0]}, size, size) "
            f"and {len(task.classes)} classes.",
            hint="The bundle belongs to another task.",
        )
    return NetworkInput(
        name=name,
        shape=shape,
        mean=tuple(task.mean.tolist()),
        std=tuple(task.std.tolist()),
        resize=None if shape[2:] == task.input_shape[1:] else Resize(size=shape[2]),
    )


def _predicted(former: Certificate) -> dict[str, Predicted]:
    return {
        name: Predicted(f.predicted_latency_ms, f.predicted_p50_ms)
        for name, f in former.files.items()
        if f.predicted_latency_ms is not None and f.predicted_p50_ms is not None
    }


def _costs(
    device: Device, graphs: Mapping[str, Graph], profile: Profile | None, seed: int, on_event: OnEvent
) -> dict[str, _Cost]:
    timings = profilers.measure_graphs(device, list(graphs.values()), profile=profile, seed=seed, on_event=on_event)
    costs = {}
    for (name, graph), timing in zip(graphs.items(), timings, strict=True):
        with device.load(graph) as session:
            memory = session.memory()
        costs[name] = _Cost(timing, memory, devices.resident_bytes(device.spec, graph))
    return costs


def _issue(
    folder: Path,
    info: DeviceInfo,
    terms: _Terms,
    contents: Contents,
    qualities: Mapping[str, Quality],
    costs: Mapping[str, _Cost],
) -> Certificate:
    """Put everything together and write it."""
    files = {name: _record(folder / name, terms, qualities[name], costs[name]) for name in costs}
    deploy, reason = choose(files, terms.max_accuracy_drop)
    certificate = Certificate(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        budget=terms.budget,
        deploy=deploy,
        deploy_reason=reason,
        within_budget=files[deploy].within_budget,
        max_accuracy_drop=terms.max_accuracy_drop,
        task=terms.task,
        input=terms.given,
        classes=terms.classes,
        device=info.to_json(),
        versions=versions(_VERSIONS),
        files=files,
        unmeasured={
            name: UnmeasuredFile(**_identity(folder / name), **vars(qualities[name]), reason=reason)
            for name, reason in contents.unmeasured.items()
        },
        notes=(*terms.notes, *_not_measured(contents)),
        seeds=terms.seeds,
    )
    certificate.save(folder)
    write_text(folder / "README.md", readme(certificate))
    return certificate


def _not_measured(contents: Contents) -> list[str]:
    """A sentence for each reason."""
    return [
        f"Not measured: {', '.join(n for n, why in contents.unmeasured.items() if why == reason)}; {reason}."
        for reason in dict.fromkeys(contents.unmeasured.values())
    ]


def _identity(path: Path) -> dict[str, Any]:
    """Which file it is, in the words of :class:`FileRecord`."""
    _, *beside = native.parts(path)
    weights = [Weights(name=p.name, sha256=sha256(p), bytes=p.stat().st_size) for p in beside]
    return {
        "sha256": sha256(path),
        "bytes": path.stat().st_size + sum(w.bytes for w in weights),
        "precision": bundles.precision(path.name),
        "engine": bundles.built(path.parent, path.name),
        "weights": weights[0] if weights else None,
    }


def _record(path: Path, terms: _Terms, quality: Quality, cost: _Cost) -> FileRecord:
    timing, identity = cost.timing, _identity(path)
    limits = terms.budget
    told = terms.predicted.get(path.name)
    within = [
        (timing.p50_high_ms, limits.latency_ms),
        (cost.memory.memory_bytes, limits.memory_bytes),
        (identity["bytes"], limits.model_bytes),
    ]
    return FileRecord(
        **identity,
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
