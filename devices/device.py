"""The contract of a device: a runtime on a hardware with settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from devices.errors import ProvenanceMismatch
from devices.journal import differences
from devices.kernels import ExecutedKernel

if TYPE_CHECKING:
    from devices.graph import Graph
    from devices.profile import Lowering


@dataclass(frozen=True)
class DeviceInfo:
    """The fingerprint: everything that changes how long a model takes. Two equal fingerprints are the same device.

    Attributes:
        spec: canonical specification with every setting spelt out, e.g. ``onnxruntime:threads=1``. Where the machine is, is no
            part of it: the same machine may be here, or be reached by several names.
        hardware: e.g. ``{"cpu": "…", "flags": ["avx2", …], "cores": 2, "machine": "x86_64"}``.
        versions: the runtime's and its dependencies' versions.
        settings: every setting that changes time, defaults included.
    """

    spec: str
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DeviceInfo:
        """Inverse of :meth:`to_json`."""
        return cls(value["spec"], value["hardware"], value["versions"], value["settings"])

    def require_same(self, other: DeviceInfo, *, what: str) -> None:
        """Raise :class:`ProvenanceMismatch` listing the fields in which ``other`` (of ``what``) differs from this device."""
        fields = differences(other.to_json(), self.to_json())
        if fields:
            raise ProvenanceMismatch(
                f"{what} belongs to another device; it",
                fields,
                hint="Profile this device: hwnas profile --device SPEC --out FILE",
            )


@dataclass(frozen=True)
class Memory:
    """What a network needs to run.

    Attributes:
        weight_bytes: initializers of the runtime's optimised graph.
        activation_bytes: highest bytes requested in use by activations and workspace in a steady run.
        source: ``"runtime"`` if the runtime reported it, ``"estimated"`` if it comes from liveness.
        resident_bytes: growth of a fresh process; reported, never budgeted; None if not measured.
    """

    weight_bytes: int
    activation_bytes: int
    source: str
    resident_bytes: int | None = None

    @property
    def memory_bytes(self) -> int:
        """What budgets and error figures mean by memory."""
        return self.weight_bytes + self.activation_bytes


@dataclass(frozen=True)
class DeviceStatus:
    """Whether a runtime can run here.

    Attributes:
        name: the runtime.
        spec: its specification with default settings.
        unavailable: why it cannot run here, and after a colon what to install; empty if it can.
        settings: what can be set, with a word on each.
        versions: of what is installed of the runtime's packages.
    """

    name: str
    spec: str
    unavailable: str
    settings: Mapping[str, str]
    versions: Mapping[str, str]


class Session(Protocol):
    """A model loaded on a device with its inputs bound."""

    def run(self, n: int) -> NDArray[np.float64]:
        """Execute ``n`` times, synchronised. Returns ``(n,)`` seconds per execution. The one timing primitive."""

    def outputs(self) -> Sequence[NDArray[Any]]:
        """The outputs of one execution, in the order of the graph's outputs."""

    def infer(self, examples: NDArray[Any]) -> NDArray[Any]:
        """Outputs ``(n, …)`` for examples ``(n, …)`` of a network with one input and one output of batch 1, one at a time."""

    def memory(self) -> Memory:
        """What the model needs to run. Runs it apart from the timed session."""

    def kernels(self) -> Sequence[ExecutedKernel]:
        """What the runtime really executes, in order. Runs it apart from the timed session, with the profiler on."""


class Device(ABC):
    """One runtime with its settings. A context manager: leaving it ends the worker process.

    Attributes:
        info: what it is.
        spec: opens it again; unlike that of ``info`` it says where it is.
    """

    info: DeviceInfo
    spec: str

    @abstractmethod
    def load(self, graph: Graph, inputs: Mapping[str, NDArray[Any]] | None = None) -> AbstractContextManager[Session]:
        """Load a model. ``inputs`` default to seeded data that respects types and ranges.

        Raises:
            UnsupportedOp, DeviceOutOfMemory, DeviceCrashed, DeviceTimedOut: this model is lost, the device goes on.
        """

    @abstractmethod
    def lower(self, graph: Graph, *, memory: bool = True) -> Lowering:
        """What the runtime makes of a model, with the kernels' seconds as they are now; it is not loaded for timing. Without
        ``memory`` a runtime is not asked for what it needs, which takes a third of the time.

        Raises:
            UnsupportedOp, DeviceOutOfMemory, DeviceCrashed, DeviceTimedOut: likewise.
        """

    @abstractmethod
    def kernels(self, graph: Graph) -> Sequence[ExecutedKernel]:
        """What the runtime makes of a model, as fast as it says so: without the kernels' seconds.

        Raises:
            UnsupportedOp, DeviceOutOfMemory, DeviceCrashed, DeviceTimedOut: likewise.
        """

    @abstractmethod
    def native(self, graph: Graph) -> bytes | None:
        """The network in the runtime's own format, as it is shipped: a torch program, OpenVINO's IR (the text of its ``.xml``
        file and, directly after it, its weights). None where that is ONNX.

        Raises:
            UnsupportedOp, DeviceOutOfMemory, DeviceCrashed, DeviceTimedOut: likewise.
        """

    @abstractmethod
    def close(self) -> None:
        """End the worker process. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
