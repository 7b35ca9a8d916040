"""Certify a bundle: measure the exported files themselves in a fresh process and say which one to deploy.

A bundle holds ``model.onnx``, perhaps ``model.int8.onnx``, perhaps files in a runtime's own format (:mod:`hwnas.bundle.files`).
Latency, memory and accuracy are those of the files; what was predicted stands beside them. Which file is deployed is decided
on validation images; test images only give the figure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import devices
from devices import DeviceInfo, Graph, Profile
from devices.atomic import write_text
from devices.events import OnEvent, ignore
from devices.journal import differences
from devices.versions import versions
from hwnas.budget import Budget
from hwnas.bundle import certificate as certificates
from hwnas.bundle import files as bundles
from hwnas.bundle.certificate import (
    FLOAT,
    Certificate,
    DeviceRecord,
    FileRecord,
    Limits,
    NetworkInput,
    Resize,
    UnmeasuredFile,
)
from hwnas.bundle.deployment import choose
from hwnas.bundle.files import Contents
from hwnas.bundle.measured_files import DeviceTerms, Findings, Predicted, identity, measure, without_refused
from hwnas.bundle.quality import qualities_of, remembered
from hwnas.bundle.readme import readme
from hwnas.bundle.seed_records import Seeds
from hwnas.errors import InvalidData, ProvenanceMismatch
from hwnas.task import Task

_VERSIONS = ("hwnas", "numpy", "onnx", "onnxruntime", "torch", "xgboost")


@dataclass(frozen=True)
class _Terms:
    """What a certificate says that is not measured."""

    max_accuracy_drop: float
    task: str
    given: NetworkInput
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    seeds: Seeds | None = None


def certify(
    bundle: str | os.PathLike[str],
    budget: Budget,
    device: str,
    *,
    task: Task,
    predicted: Mapping[str, Predicted] | None = None,
    profile: Profile | None = None,
    also: Sequence[DeviceTerms] = (),
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
        also: further devices that the network is for: the same files are measured there too, each against its own budget.
        max_accuracy_drop: how much validation accuracy (a fraction) a file may lose against float32 and still be deployed.
        seed: for the order of measuring.
        on_event: told of progress.

    Raises:
        InvalidData: the bundle has no :data:`FLOAT`, or the network does not fit the task.
        DeviceError, ProvenanceMismatch: a device is not there, or not the profile's; an engine is for another one.
        HwnasError: the bundle cannot be written.
    """
    folder = Path(bundle)
    targets = (DeviceTerms(device, Limits(**vars(budget)), dict(predicted or {}), profile), *also)
    contents = [bundles.contents(folder, target.spec) for target in targets]
    given = _network_input(folder / FLOAT, devices.load_onnx(folder / FLOAT), task)
    found: list[Findings] = []
    for target, of in zip(targets, contents, strict=True):
        with devices.open(target.spec, on_event=on_event) as opened:
            runs = without_refused(opened, of) if found else of
            qualities = qualities_of(folder, opened, runs, task, given, on_event)
            found.append(measure(folder, opened, runs, target, qualities, seed=seed, on_event=on_event))
    return _issue(folder, _Terms(max_accuracy_drop, task.name, given, task.classes), found)


def certify_again(
    bundle: str | os.PathLike[str],
    *,
    device: str | None = None,
    task: Task | None = None,
    seed: int = 0,
    on_event: OnEvent = ignore,
) -> Certificate:
    """Certify a bundle that has a certificate, from the bundle alone: on its devices, each with its budget, as far as they are of
    this machine; or on ``device`` alone, here or elsewhere, with its budget if it is one of them, else with that of the first.

    Without ``task`` the accuracies are those of the former certificate, and a note says so.

    Raises:
        InvalidData: no certificate, or it is damaged; the task is another one; or it is needed for a file that is new.
        ProvenanceMismatch: a file is not the one that was certified; an engine is for another device; or no device was named, and
            those of the certificate are of another machine.
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
    records: tuple[Certificate | DeviceRecord, ...] = (former, *former.also)
    found: list[Findings] = []
    for spec in [record.device_info.spec for record in records] if device is None else [device]:
        contents = bundles.contents(folder, spec)
        with devices.open(spec, on_event=on_event) as opened:
            record = next((r for r in records if r.device_info.spec == opened.info.spec), None)
            if device is None and record is not None:
                _require_same_machine(record, opened.info)
            target = DeviceTerms(spec, former.budget)
            if record is not None:
                target = DeviceTerms(spec, record.budget, _predicted(record.files))
            runs = without_refused(opened, contents) if found else contents
            if task is None:
                qualities = remembered(former.all_files | (record.files if record else {}), runs)
            else:
                qualities = qualities_of(folder, opened, runs, task, former.input, on_event)
            found.append(measure(folder, opened, runs, target, qualities, seed=seed, on_event=on_event))
    terms = _Terms(
        former.max_accuracy_drop,
        former.task,
        former.input,
        former.classes,
        notes=()
        if task is not None
        else (f"The accuracies are those of {former.created}: the test images were not at hand.",),
        seeds=former.seeds,
    )
    return _issue(folder, terms, found)


def _require_same_machine(record: Certificate | DeviceRecord, info: DeviceInfo) -> None:
    fields = differences(info.hardware, record.device_info.hardware)
    if fields:
        raise ProvenanceMismatch(
            f"The certificate is of {info.spec} on another machine; this one",
            fields,
            hint=f"Name the device: --device {info.spec} for this machine, ssh://user@host/{info.spec} for one elsewhere.",
        )


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


def _predicted(files: Mapping[str, FileRecord]) -> dict[str, Predicted]:
    return {
        name: Predicted(f.predicted_latency_ms, f.predicted_p50_ms)
        for name, f in files.items()
        if f.predicted_latency_ms is not None and f.predicted_p50_ms is not None
    }


def _issue(folder: Path, terms: _Terms, found: Sequence[Findings]) -> Certificate:
    """Put what all devices made of the files together, the first one's at the top, and write it."""
    first, *others = found
    deploy, reason = choose(first.files, terms.max_accuracy_drop)
    also = tuple(_elsewhere(findings, terms.max_accuracy_drop) for findings in others)
    certificate = Certificate(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        budget=first.budget,
        deploy=deploy,
        deploy_reason=reason,
        within_budget=first.files[deploy].within_budget and all(record.within_budget for record in also),
        max_accuracy_drop=terms.max_accuracy_drop,
        task=terms.task,
        input=terms.given,
        classes=terms.classes,
        device=first.info.to_json(),
        versions=versions(_VERSIONS),
        files=dict(first.files),
        also=also,
        unmeasured={
            name: UnmeasuredFile(**identity(folder / name), **vars(first.qualities[name]), reason=reason)
            for name, reason in first.contents.unmeasured.items()
        },
        notes=(*terms.notes, *_not_measured(first.contents), *(record.in_words() for record in also)),
        seeds=terms.seeds,
    )
    certificate.save(folder)
    write_text(folder / "README.md", readme(certificate))
    return certificate


def _elsewhere(findings: Findings, max_accuracy_drop: float) -> DeviceRecord:
    deploy, reason = choose(findings.files, max_accuracy_drop)
    return DeviceRecord(
        device=findings.info.to_json(),
        budget=findings.budget,
        deploy=deploy,
        deploy_reason=reason,
        within_budget=findings.files[deploy].within_budget,
        files=dict(findings.files),
        unmeasured=dict(findings.contents.unmeasured),
    )


def _not_measured(contents: Contents) -> list[str]:
    """A sentence for each reason."""
    return [
        f"Not measured: {', '.join(n for n, why in contents.unmeasured.items() if why == reason)}; {reason}."
        for reason in dict.fromkeys(contents.unmeasured.values())
    ]
