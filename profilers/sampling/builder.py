"""Building graphs node by node: types of results come from ONNX's own schemas, so a recipe only says what is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.shape_inference import infer_node_outputs

from devices import Graph, Node, TensorType
from devices.graph import OPSET
from devices.kernels import Attribute

_OPSETS = [helper.make_opsetid("", OPSET)]
T = TypeVar("T")

_VOCABULARY = 64  # rows of small tables; ids stay below the smallest


@cache
def _schema(op: str) -> onnx.defs.OpSchema:
    return onnx.defs.get_schema(op, OPSET, "")


@cache
def _dtype(element: int) -> str:
    return helper.tensor_dtype_to_np_dtype(element).name


@final
class Builder:
    """A graph in the making. Tensors are names; weights have a type only.

    Args:
        rng: for recipes to draw from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._nodes: list[Node] = []
        self._tensors: dict[str, TensorType] = {}
        self._types: dict[str, onnx.TypeProto] = {}
        self._inputs: list[str] = []
        self._constants: dict[str, NDArray[Any] | None] = {}
        self._values: dict[str, onnx.TensorProto] = {}

    def input(self, *shape: int, dtype: str = "float32") -> str:
        """A new input of the network."""
        self._inputs.append(self._named(f"in{len(self._inputs)}", TensorType(dtype, shape)))
        return self._inputs[-1]

    def weight(self, *shape: int, dtype: str = "float32") -> str:
        """A constant that has a type only."""
        name = self._named(f"w{len(self._constants)}", TensorType(dtype, shape))
        self._constants[name] = None
        return name

    def constant(self, value: object, dtype: str = "float32") -> str:
        """A constant with its value."""
        array = np.asarray(value, dtype)
        name = self._named(f"c{len(self._constants)}", TensorType(array.dtype.name, array.shape))
        self._constants[name] = array
        self._values[name] = numpy_helper.from_array(array, name)
        return name

    def op(self, op: str, *inputs: str, attributes: Mapping[str, Attribute] | None = None, outputs: int = 1) -> str:
        """A new node; the name of its first result, for the others see :meth:`ops`."""
        return self.ops(op, *inputs, attributes=attributes, outputs=outputs)[0]

    def ops(
        self, op: str, *inputs: str, attributes: Mapping[str, Attribute] | None = None, outputs: int = 1
    ) -> tuple[str, ...]:
        """A new node; the names of its results.

        Raises:
            onnx.shape_inference.InferenceError: the inputs do not fit.
        """
        number = len(self._nodes)
        names = tuple(f"t{number}_{i}" for i in range(outputs))
        given = dict(attributes or {})
        proto = helper.make_node(op, inputs, names, **dict[str, Any](given))
        known = {i: self._types[i] for i in inputs if i}
        values = {i: self._values[i] for i in inputs if i in self._values}
        told = infer_node_outputs(_schema(op), proto, known, values, opset_imports=_OPSETS)
        for name in names:
            tensor = told[name].tensor_type
            self._types[name] = told[name]
            self._tensors[name] = TensorType(_dtype(tensor.elem_type), tuple(d.dim_value for d in tensor.shape.dim))
        self._nodes.append(Node(f"n{number}", op, inputs, names, given))
        return names

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._tensors[name].shape

    def graph(self, name: str) -> Graph:
        """The network; what nothing reads is its output."""
        read = {i for node in self._nodes for i in node.inputs}
        outputs = tuple(o for node in self._nodes for o in node.outputs if o not in read)
        return Graph(name, tuple(self._nodes), dict(self._tensors), tuple(self._inputs), outputs, dict(self._constants))

    def _named(self, name: str, tensor: TensorType) -> str:
        self._tensors[name] = tensor
        self._types[name] = helper.make_tensor_type_proto(
            helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), tensor.shape
        )
        return name

    # --- what several recipes need ----------------------------------------------------------------------------------

    def reshape(self, x: str, *shape: int) -> str:
        """``x`` in another shape."""
        return self.op("Reshape", x, self.constant(shape, "int64"))

    def transpose(self, x: str, *axes: int) -> str:
        """``x`` with its axes in another order."""
        return self.op("Transpose", x, attributes={"perm": axes})

    def linear(self, x: str, width: int, *, bias: bool = True) -> str:
        """The last axis times a matrix, as exporters write it: Gemm for two axes, MatMul and Add for more."""
        depth = self.shape(x)[-1]
        if len(self.shape(x)) == 2:
            if self.rng.random() < 0.7:
                weight, layout = self.weight(width, depth), {"transB": 1}
            else:
                weight, layout = self.weight(depth, width), {}
            return self.op("Gemm", x, weight, *([self.weight(width)] if bias else []), attributes=layout)
        y = self.op("MatMul", x, self.weight(depth, width))
        return self.op("Add", *self.shuffled(self.weight(width), y)) if bias else y

    def embed(self, *shape: int, width: int) -> str:
        """Rows of a table for ids of ``shape``."""
        rows = _VOCABULARY * self.integer(1, 100)
        return self.op("Gather", self.weight(rows, width), self.input(*shape, dtype="int64"))

    def shuffled(self, *names: str) -> list[str]:
        """Operands that may stand in any order."""
        return [names[i] for i in self.rng.permutation(len(names))]

    def integer(self, low: int, high: int) -> int:
        """A log-uniform whole number between ``low`` and ``high``, both included."""
        return min(high, int(math.exp(self.rng.uniform(math.log(low), math.log(high + 1)))))

    def width(self, low: int, high: int) -> int:
        """A log-uniform number of channels between about ``low`` and ``high``."""
        return max(low, self.channels(self.integer(low, high)))

    def channels(self, about: float) -> int:
        """A number of channels as people choose them: mostly a multiple of 8 or 16, at times odd."""
        unit = self.pick([1, 4, 8, 16, 32], [0.06, 0.06, 0.3, 0.38, 0.2])
        while unit > max(1.0, about):
            unit //= 2
        return unit * max(1, round(about / unit))

    def pick(self, values: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of ``values``; ``weights`` default to equal ones."""
        p = None if weights is None else np.asarray(weights, np.float64) / float(np.sum(weights))
        return values[int(self.rng.choice(len(values), p=p))]

    def chance(self, probability: float) -> bool:
        """True so often."""
        return bool(self.rng.random() < probability)
