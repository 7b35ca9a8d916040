"""TensorRT engines as files: the plan, and beside it a JSON file that says what it was built of, by what, and for what.

A plan is native code for one version of TensorRT and some kinds of GPU, and does not say so in a way that can be read; so the
JSON does, and a plan without it, or another than it speaks of, is refused. Standard library only: workers read these files too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from devices.atomic import write_bytes
from devices.errors import InvalidModel, ProvenanceMismatch

SCHEMA = 1
REBUILD = "Build the engines here, from the bundle's ONNX files: hwnas engines BUNDLE"


@dataclass(frozen=True)
class EngineRecord:
    """What is known of a plan.

    Attributes:
        plan_sha256, plan_bytes: of the plan.
        onnx_sha256: of the ONNX model that it was built of.
        precision: ``int8``, ``fp16`` or ``fp32``: the lowest that its network computes in.
        library, version: what built it: ``tensorrt_rtx`` or ``tensorrt``.
        targets: kinds of GPU (``sm86``) that it was built for; empty for any that the library knows (TensorRT for RTX).
        gpu: the GPU that it was built on and for; None if it was built without.
        shapes: of dynamic inputs the smallest, the usual and the largest shape, by name.
        workspace_bytes: limit of what one layer may use beside its tensors; None for the library's own.
        layers: how many of each kind the parser made of the model.
        weight_bytes, activation_bytes: what the builder says that it needs.
        build_s: seconds that parsing and building took.
    """

    plan_sha256: str
    plan_bytes: int
    onnx_sha256: str
    precision: str
    library: str
    version: str
    targets: tuple[str, ...]
    gpu: str | None
    shapes: Mapping[str, tuple[tuple[int, ...], ...]]
    workspace_bytes: int | None
    layers: Mapping[str, int]
    weight_bytes: int
    activation_bytes: int
    build_s: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EngineRecord:
        """Inverse of :meth:`to_json`; keys that a later version adds are ignored.

        Raises:
            KeyError, TypeError: it is something else.
        """
        known = {field.name: value[field.name] for field in fields(cls)}
        known["targets"] = tuple(known["targets"])
        known["shapes"] = {name: tuple(map(tuple, three)) for name, three in known["shapes"].items()}
        return cls(**known)

    def require_fits(self, *, library: str, version: str, gpu: str, sm: str) -> None:
        """Check that it can run here.

        Raises:
            ProvenanceMismatch: it was built by something else, or for other GPUs; lists what differs.
        """
        differing = [
            f"{name}: found {found}, here {here}"
            for name, found, here in (("library", self.library, library), ("version", self.version, version))
            if found != here
        ]
        if self.targets and sm not in self.targets:
            differing.append(f"targets: found {', '.join(self.targets)}, here {sm}")
        if self.gpu is not None and self.gpu != gpu:
            differing.append(f"gpu: found {self.gpu}, here {gpu}")
        if differing:
            raise ProvenanceMismatch("The engine was not built for this machine; it", differing, hint=REBUILD)


@dataclass(frozen=True)
class Engine:
    """A plan and its record."""

    plan: bytes
    record: EngineRecord


def record_path(path: str | os.PathLike[str]) -> Path:
    """Where the JSON of a plan lies."""
    return Path(f"{os.fspath(path)}.json")


def read(path: str | os.PathLike[str]) -> Engine:
    """Read a plan with its record.

    Raises:
        InvalidModel: one of the two is missing or damaged.
        ProvenanceMismatch: the plan is not the one that the record speaks of.
    """
    try:
        plan, text = Path(path).read_bytes(), record_path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidModel(
            f"{error.filename} cannot be read: {error.strerror}.", hint=f"An engine is two files. {REBUILD}"
        ) from error
    try:
        value = json.loads(text)
        if value["schema"] != SCHEMA:
            raise ProvenanceMismatch(
                str(record_path(path)), [f"schema: found {value['schema']}, wanted {SCHEMA}"], hint=REBUILD
            )
        record = EngineRecord.from_json(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidModel(f"{record_path(path)} is damaged: {error!r}.", hint=REBUILD) from error
    found = hashlib.sha256(plan).hexdigest()
    if found != record.plan_sha256:
        raise ProvenanceMismatch(
            f"{path} is not the engine that {record_path(path).name} speaks of; it",
            [f"sha256: found {found}, wanted {record.plan_sha256}"],
            hint=REBUILD,
        )
    return Engine(plan, record)


def write(engine: Engine, path: str | os.PathLike[str]) -> None:
    """Write a plan and its record; a kill between the two leaves a pair that :func:`read` refuses.

    Raises:
        HwnasError: the folder cannot be written.
    """
    write_bytes(path, engine.plan)
    write_bytes(record_path(path), json.dumps(engine.record.to_json(), indent=2).encode() + b"\n")
