"""A device whose runtime lives in a worker process, whatever the runtime: what :func:`devices.open` returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from devices.device import Device, DeviceInfo, Memory
from devices.errors import ConnectionLost, DeviceCrashed, DeviceError, DeviceTimedOut
from devices.frames import Blob, pack, unpack
from devices.graph import random_inputs
from devices.kernels import ExecutedKernel, element_type
from devices.liveness import estimated_memory
from devices.process import Reply, Worker
from devices.profile import Lowering
from devices.spec import Setting

if TYPE_CHECKING:
    from devices.graph import Graph

CRASHES, BREAKS = 2, 5
"""Attempts at one request that may end the worker, and that may break the connection."""
_INFER_BYTES = 4 << 20
T = TypeVar("T")


class RuntimeHost(Protocol):
    """A runtime's half in the host: it prepares models and reads the runtime's own files.

    Attributes:
        packages: what pip installs for it, beside numpy.
        settings: what the user can set.
        fixed: what else decides times and is always the same; part of the fingerprint.
    """

    packages: Sequence[str]
    settings: Sequence[Setting]
    fixed: Mapping[str, Any]

    def unavailable(self) -> str:
        """Why it cannot run here, and after a colon what to install; empty if it can."""

    def trace_model(self, graph: Graph) -> Blob:
        """The serialised model to run with the profiler on."""

    def kernels(self, graph: Graph, files: Sequence[Blob]) -> list[ExecutedKernel]:
        """Kernels in the order of execution, from what the worker's ``trace`` returned."""


@runtime_checkable
class ReadsMemory(Protocol):
    """A runtime that says what memory it needs. For others it is estimated from their kernels."""

    def memory_of(self, files: Sequence[Blob]) -> Memory:
        """From what the worker's ``memory`` returned."""


@runtime_checkable
class MakesModels(Protocol):
    """A runtime whose half in the worker is given something else than the graph's ONNX model."""

    def model(self, graph: Graph) -> Blob:
        """What the worker loads."""


@runtime_checkable
class ShipsItsOwn(Protocol):
    """A runtime whose networks are shipped in a format of its own."""

    def native(self, graph: Graph, build: Callable[[Blob], Sequence[Blob]]) -> bytes:
        """The network in that format; ``build`` has the worker build what a serialised model comes to."""


@final
class WorkerDevice(Device):
    """A device in a worker process. If the worker dies or hangs over a model, the worker is started again and the model runs
    alone once more; if that fails too, only that model is lost. Other sessions are loaded again when they are next used, also
    when the connection to a machine elsewhere broke and was made again."""

    def __init__(
        self,
        spec: str,
        runtime: RuntimeHost,
        settings: Mapping[str, Any],
        process: Worker,
        timeout_s: float,
        address: str = "",
    ) -> None:
        self.spec = address + spec
        self.runtime = runtime
        self.settings = dict(settings)
        self.timeout_s = timeout_s
        self.process = process
        self._ids = count()
        try:
            told, _ = self.process.ask({"ask": "hello"}, timeout_s=timeout_s)
        except BaseException:
            self.close()
            raise
        self.info = DeviceInfo(spec, told["hardware"], told["versions"], {**settings, **runtime.fixed})

    @contextmanager
    def load(self, graph: Graph, inputs: Mapping[str, NDArray[Any]] | None = None) -> Iterator[WorkerSession]:
        """Load a model; leaving the context frees it in the worker."""
        session = self._session(graph, inputs)
        try:
            session.load()
            yield session
        finally:
            session.free()

    def lower(self, graph: Graph, *, memory: bool = True) -> Lowering:
        """Kernels and memory of a model; it is made once for both."""
        return self._session(graph).lowering(memory=memory)

    def kernels(self, graph: Graph) -> tuple[ExecutedKernel, ...]:
        """Kernels of a model, from a single run."""
        return self._session(graph).kernels(timed=False)

    def native(self, graph: Graph) -> bytes | None:
        """See :meth:`devices.Device.native`."""
        if not isinstance(self.runtime, ShipsItsOwn):
            return None
        return self.runtime.native(graph, self._session(graph).build)

    def resident_bytes(self, graph: Graph) -> int:
        """Growth of the worker process by this model, from loading it to its third run. Only a fresh worker tells the truth."""
        return self._session(graph).resident_bytes()

    def _session(self, graph: Graph, inputs: Mapping[str, NDArray[Any]] | None = None) -> WorkerSession:
        return WorkerSession(self, graph, random_inputs(graph) if inputs is None else inputs, next(self._ids))

    def close(self) -> None:
        """End the worker process."""
        self.process.kill()


@final
class WorkerSession:
    """A model loaded in a worker."""

    def __init__(self, device: WorkerDevice, graph: Graph, inputs: Mapping[str, NDArray[Any]], number: int) -> None:
        self._device = device
        self._graph = graph
        self._inputs = _checked(graph, inputs)
        self._number = number
        self._loaded_in = -1  # the start of the worker that has it
        self._lost: DeviceError | None = None

    def run(self, n: int) -> NDArray[np.float64]:
        """Execute ``n`` times. Returns ``(n,)`` seconds per execution."""
        parts: list[NDArray[np.float64]] = []
        while n > 0:
            seconds = np.frombuffer(self._ask_loaded("run", {"n": n, "budget_s": self._device.timeout_s / 4})[1][0])
            parts.append(seconds)
            n -= len(seconds)
        return np.concatenate(parts) if parts else np.empty(0)

    def outputs(self) -> Sequence[NDArray[Any]]:
        """The outputs of one execution."""
        reply, blobs = self._ask_loaded("outputs", {})
        return list(unpack(reply["outputs"], blobs).values())

    def infer(self, examples: NDArray[Any]) -> NDArray[Any]:
        """Outputs ``(n, …)`` for examples ``(n, …)`` of a network with one input and one output of batch 1.

        Raises:
            ValueError: the network is not like that, or the examples have another shape.
        """
        if len(self._graph.inputs) != 1 or len(self._graph.outputs) != 1:
            raise ValueError("infer needs a network with one input and one output")
        (name,) = self._graph.inputs
        wanted = self._graph.tensors[name]
        if wanted.shape[:1] != (1,) or examples.shape[1:] != wanted.shape[1:] or not len(examples):
            raise ValueError(f"examples must have shape (n, *{wanted.shape[1:]}) for batch 1, got {examples.shape}")
        step = max(1, _INFER_BYTES // wanted.nbytes)
        answers: list[NDArray[Any]] = []
        for start in range(0, len(examples), step):
            described, blobs = pack({name: examples[start : start + step].astype(wanted.dtype)})
            reply, answer = self._ask_loaded("infer", {"name": name, "examples": described}, blobs)
            answers += unpack(reply["outputs"], answer).values()
        return np.concatenate(answers)

    def memory(self) -> Memory:
        """What the model needs to run."""
        runtime = self._device.runtime
        if not isinstance(runtime, ReadsMemory):
            return estimated_memory(self.kernels())
        return runtime.memory_of(self._ask_with_model("memory", self._model())[1])

    def kernels(self, *, timed: bool = True) -> tuple[ExecutedKernel, ...]:
        """What the runtime really executes, in order."""
        model = self._device.runtime.trace_model(self._graph)
        return self._executed(self._ask_with_model("trace", model, {"timed": timed})[1])

    def lowering(self, *, memory: bool = True) -> Lowering:
        """Kernels and memory together; see :meth:`devices.Device.lower`."""
        runtime = self._device.runtime
        if not isinstance(runtime, ReadsMemory):
            kernels = self.kernels()
            return Lowering(kernels, estimated_memory(kernels))
        if not memory:
            return Lowering(self.kernels())
        reply, files = self._ask_with_model("lower", runtime.trace_model(self._graph))
        return Lowering(self._executed(files[: reply["traced"]]), runtime.memory_of(files[reply["traced"] :]))

    def _executed(self, files: Sequence[Blob]) -> tuple[ExecutedKernel, ...]:
        """Kernels, from a trace. One that nobody can read costs this model alone."""
        try:
            return tuple(self._device.runtime.kernels(self._graph, files))
        except (LookupError, ValueError) as error:
            raise DeviceError(
                f"What {self._device.info.spec} executes of this model cannot be read from its trace: {error!r}"
            ) from error

    def resident_bytes(self) -> int:
        """Growth of the worker process by loading and running the model once more."""
        return int(self._ask_with_model("resident", self._model())[0]["bytes"])

    def build(self, model: Blob) -> list[bytes]:
        """What the worker builds of a serialised model."""
        return self._ask_with_model("build", model, {"options": {}})[1]

    def load(self) -> None:
        """Load the model in the worker that runs now."""
        self._guarded(self._load)

    def free(self) -> None:
        """Free the model in the worker."""
        process = self._device.process
        if self._loaded_in == process.starts and process.pid is not None:
            with suppress(DeviceCrashed, DeviceTimedOut, ConnectionLost):  # so it is free
                self._ask("free", {})
        self._loaded_in = -1

    def _load(self) -> None:
        described, blobs = pack(self._inputs)
        self._ask("load", {"inputs": described, "settings": self._device.settings}, [self._model(), *blobs])
        self._loaded_in = self._device.process.starts

    def _model(self) -> Blob:
        runtime = self._device.runtime
        if isinstance(runtime, MakesModels):
            return runtime.model(self._graph)
        return bytes(self._graph.to_onnx().SerializeToString())

    def _ask(self, what: str, header: Mapping[str, Any], blobs: Sequence[Blob] = ()) -> Reply:
        return self._device.process.ask(
            {"ask": what, "session": self._number, **header}, blobs, timeout_s=self._device.timeout_s
        )

    def _ask_loaded(self, what: str, header: Mapping[str, Any], blobs: Sequence[Blob] = ()) -> Reply:
        def once() -> Reply:
            if self._loaded_in != self._device.process.starts or self._device.process.pid is None:
                self._load()
            return self._ask(what, header, blobs)

        return self._guarded(once)

    def _ask_with_model(self, what: str, model: Blob, more: Mapping[str, Any] | None = None) -> Reply:
        described, blobs = pack(self._inputs)
        header = {"inputs": described, "settings": self._device.settings, **(more or {})}
        return self._guarded(lambda: self._ask(what, header, [model, *blobs]))

    def _guarded(self, action: Callable[[], T]) -> T:
        """Run ``action``; if the worker is lost over it, once more in a fresh worker that holds nothing else. A connection that
        broke is not the model's fault, unless it does so again and again."""
        if self._lost is not None:
            raise self._lost
        crashes = breaks = 0
        while True:
            try:
                return action()
            except (DeviceCrashed, DeviceTimedOut) as error:
                crashes += 1
                if crashes == CRASHES:
                    self._lost = error
                    raise
            except ConnectionLost:
                breaks += 1
                if breaks == BREAKS:
                    raise


def _checked(graph: Graph, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    if set(inputs) != set(graph.inputs):
        raise ValueError(f"inputs must be {sorted(graph.inputs)}, got {sorted(inputs)}")
    for name, value in inputs.items():
        wanted = graph.tensors[name]
        if value.shape != wanted.shape or value.dtype != element_type(wanted.dtype):
            raise ValueError(f"input {name!r} must be {wanted.dtype} {wanted.shape}, got {value.dtype} {value.shape}")
        if value.size and value.dtype.kind == "f" and not math.isfinite(float(np.abs(value).max())):
            raise ValueError(f"input {name!r} must be finite")
    return {name: inputs[name] for name in graph.inputs}
