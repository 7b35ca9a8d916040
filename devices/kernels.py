"""What a runtime executes: tensors' types, kernels, and kernels as they were executed in one network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_LONGEST_SIDE = 2**48  # elements; no memory holds more

SHARES = "shares"
"""Attribute of a kernel that makes no copy: the number of the operand that its results lie in, as a view or in its place."""

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


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
        """Bytes of the unpadded tensor."""
        return self.size * np.dtype(self.dtype).itemsize


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
            [[name, list(v) if isinstance(v, tuple) else v] for name, v in self.attributes],
        ]


def type_from_json(dtype: str, shape: list[int]) -> TensorType:
    """A tensor's type from a file.

    Raises:
        TypeError, ValueError: there is no such type.
    """
    if not isinstance(dtype, str) or not all(type(side) is int and 0 <= side < _LONGEST_SIDE for side in shape):
        raise ValueError(f"a tensor of {dtype!r} and shape {shape!r}")
    return TensorType(np.dtype(dtype).name, tuple(shape))


def kernel_from_json(value: list[Any]) -> Kernel:
    """Inverse of :meth:`Kernel.to_json`.

    Raises:
        TypeError, ValueError: it is not that of a kernel.
    """
    kind, inputs, outputs, attributes = value
    return Kernel(
        kind,
        tuple(Operand(type_from_json(dtype, shape), bool(constant)) for dtype, shape, constant in inputs),
        tuple(type_from_json(dtype, shape) for dtype, shape in outputs),
        tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in attributes),
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
