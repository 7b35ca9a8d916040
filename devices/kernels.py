"""What a runtime executes: tensors' types, kernels, and kernels as they were executed in one network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "TensorIterator"})
"""Operators, as ONNX and OpenVINO name them, that execute graphs of their own."""

_LONGEST_SIDE = 2**48  # elements; no memory holds more
_PACKED_BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}  # several elements in a byte

SHARES = "shares"
"""Attribute of a kernel that makes no copy: the number of the operand that its results lie in, as a view or in its place."""

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


def element_type(name: str) -> np.dtype[Any]:
    """The dtype that numpy, or ml_dtypes for it, has of that name.

    Raises:
        TypeError: neither has one.
    """
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # noqa: F401 - tells numpy the names of its types: bfloat16, int4, float8_e4m3fn

        return np.dtype(name)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type (numpy's name, e.g. ``float32``) and pinned shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the unpadded tensor; elements of less than a byte share one, as ONNX and its runtimes store them."""
        return -(-self.size * (_PACKED_BITS.get(self.dtype) or 8 * self.item_bytes) // 8)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element by itself."""
        return element_type(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Operand:
    """One input of a kernel. ``constant`` is true for weights and other values fixed in the model."""

    type: TensorType
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """One unit of execution, independent of the network it stands in: equal kernels have equal cost but for context.

    Attributes:
        kind: operator with its domain where it has one: ``Conv``, ``com.microsoft.nchwc:Conv``, ``com.microsoft:QGemm``.
        inputs: operands in the runtime's order; a missing optional input is left out.
        outputs: types of the results.
        attributes: sorted pairs of the runtime's attributes that are numbers, strings or tuples of them; :data:`SHARES` is ours.
    """

    kind: str
    inputs: tuple[Operand, ...]
    outputs: tuple[TensorType, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()

    @property
    def op(self) -> str:
        """The operator without its domain."""
        return self.kind.rpartition(":")[2]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of one attribute."""
        return dict(self.attributes).get(name, default)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the constant operands."""
        return sum(o.type.nbytes for o in self.inputs if o.constant)

    def to_json(self) -> list[Any]:
        """A compact JSON value; :func:`kernel_from_json` is the inverse."""
        return [
            self.kind,
            [[o.type.dtype, list(o.type.shape), int(o.constant)] for o in self.inputs],
            [[t.dtype, list(t.shape)] for t in self.outputs],
            attributes_to_json(self.attributes),
        ]


def has_bodies(kind: str) -> bool:
    """Whether kernels of a kind execute graphs of their own; they do not say which, nor how often. OpenVINO's kinds begin with
    the operator, others end with it."""
    return kind.rpartition(":")[2] in CONTROL_FLOW or kind.partition(".")[0] in CONTROL_FLOW


def type_from_json(dtype: str, shape: list[int]) -> TensorType:
    """A tensor's type from a file.

    Raises:
        TypeError, ValueError: there is no such type.
    """
    if not isinstance(dtype, str) or not all(type(side) is int and 0 <= side < _LONGEST_SIDE for side in shape):
        raise ValueError(f"a tensor of {dtype!r} and shape {shape!r}")
    return TensorType(element_type(dtype).name, tuple(shape))


def attributes_to_json(attributes: Iterable[tuple[str, Attribute]]) -> list[Any]:
    """JSON values of attributes; :func:`attributes_from_json` is the inverse. JSON has no numbers that are not finite: they
    are ``{"float": "-inf"}``."""

    def plain(value: Any) -> Any:
        return {"float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value

    return [
        [name, [plain(v) for v in value] if isinstance(value, tuple) else plain(value)] for name, value in attributes
    ]


def attributes_from_json(value: list[Any]) -> tuple[tuple[str, Attribute], ...]:
    """Inverse of :func:`attributes_to_json`.

    Raises:
        KeyError, TypeError, ValueError: they are no attributes.
    """

    def number(value: Any) -> Any:
        return float(value["float"]) if isinstance(value, dict) else value

    return tuple((name, tuple(map(number, v)) if isinstance(v, list) else number(v)) for name, v in value)


def kernel_from_json(value: list[Any]) -> Kernel:
    """Inverse of :meth:`Kernel.to_json`.

    Raises:
        KeyError, TypeError, ValueError: it is not that of a kernel.
    """
    kind, inputs, outputs, attributes = value
    return Kernel(
        kind,
        tuple(Operand(type_from_json(dtype, shape), bool(constant)) for dtype, shape, constant in inputs),
        tuple(type_from_json(dtype, shape) for dtype, shape in outputs),
        attributes_from_json(attributes),
    )


@dataclass(frozen=True, slots=True)
class ExecutedKernel:
    """A kernel at its place in one network.

    Attributes:
        kernel: what ran.
        nodes: names of the graph's nodes that it computes; empty if the runtime inserted it (a layout reorder).
        reads: for each non-constant input, the position in the execution order of the kernel that produced it,
            or -1 for a network input.
        is_output: whether it writes an output of the network.
        seconds: its own time, without the profiler's as far as that can be told; None if the runtime gives none.
        layout: the runtime's own layout in which its results lie in memory; empty if they lie as the graph says.
    """

    kernel: Kernel
    nodes: tuple[str, ...]
    reads: tuple[int, ...]
    is_output: bool
    seconds: float | None
    layout: str = ""
