"""TensorRT engines of ONNX models: built ahead of time, checked, written and read. No GPU is needed with TensorRT for RTX.

Everything native happens in a worker process, so a model that crashes the builder costs one answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

from devices import engine_file
from devices.engine_file import Engine, EngineRecord
from devices.errors import InvalidModel, ProvenanceMismatch
from devices.frames import Blob
from devices.process import WorkerProcess, local_command

if TYPE_CHECKING:
    from devices.graph import Graph

_TIMEOUT_S = 600.0
Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


@final
class EngineBuilder:
    """A worker process that builds. A context manager; see :func:`builder`."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process

    def check(self, model: Blob) -> None:
        """Have TensorRT's parser look at a serialised ONNX model; it takes milliseconds.

        Raises:
            InvalidModel, UnsupportedOp: it refuses it; the message names the node and the reason.
            DeviceUnavailable: no flavour of TensorRT can be used here.
        """
        self._process.ask({"ask": "build", "options": {"parse_only": True}}, [model], timeout_s=_TIMEOUT_S)

    def build(
        self,
        model: Blob,
        *,
        targets: tuple[str, ...] = (),
        shapes: Shapes | None = None,
        workspace_bytes: int | None = None,
    ) -> Engine:
        """The engine of a serialised ONNX model, from the cache if it was built here before.

        Args:
            model: its precision is the engine's: float32, float16, or INT8 by Q/DQ in TensorRT's flavour.
            targets: kinds of GPU, e.g. ``("sm86", "sm89")``; ``current`` is this machine's. Empty: all that TensorRT for RTX
                knows; classic TensorRT builds for this machine's in any case.
            shapes: for inputs with open dimensions their smallest, usual and largest shape.
            workspace_bytes: what one layer may use beside its tensors.

        Raises:
            InvalidModel, UnsupportedOp: the model or the shapes are refused; the message names the node and the reason.
            DeviceUnavailable: no flavour of TensorRT can be used here, or not for these targets.
            DeviceCrashed, DeviceTimedOut: the builder did over this model.
        """
        options = {"targets": targets, "shapes": dict(shapes or {}), "workspace_bytes": workspace_bytes}
        _, (record, plan) = self._process.ask({"ask": "build", "options": options}, [model], timeout_s=_TIMEOUT_S)
        return Engine(plan, EngineRecord.from_json(json.loads(record)))


@contextmanager
def builder() -> Iterator[EngineBuilder]:
    """A builder on this machine. Engines are kept in ``$XDG_CACHE_HOME/hwnas/engines``."""
    process = WorkerProcess(local_command("tensorrt"))
    try:
        yield EngineBuilder(process)
    finally:
        process.kill()


def with_engine(graph: Graph, model: Blob, path: str | os.PathLike[str]) -> Graph:
    """``graph``, which is of the serialised ``model``, with the engine in the file ``path``.

    Raises:
        InvalidModel: the engine or its JSON is missing or damaged, or is for open shapes.
        ProvenanceMismatch: it is not of this model, or the plan is not the JSON's.
    """
    from hashlib import sha256

    engine, digest = engine_file.read(path), sha256(model).hexdigest()
    if engine.record.onnx_sha256 != digest:
        raise ProvenanceMismatch(
            f"{os.fspath(path)} was built of another model; its",
            [f"onnx_sha256: found {engine.record.onnx_sha256}, wanted {digest}"],
            hint=engine_file.REBUILD,
        )
    for name, (smallest, _, largest) in engine.record.shapes.items():
        shape: Any = graph.tensors[name].shape
        if not all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
            raise InvalidModel(
                f"{os.fspath(path)} takes {name!r} from {smallest} to {largest}; the graph has {shape}.",
                hint="Bind the graph to a shape between the two.",
            )
    return replace(graph, engine=engine)
