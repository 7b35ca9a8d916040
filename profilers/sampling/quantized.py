"""INT8 versions of random networks, in the forms that quantisers write: Q/DQ pairs, and products with dynamic ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from devices import Graph, Node, TensorType
from devices.kernels import Attribute

_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
_OTHERS = frozenset(
    {
        "Add", "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Mul", "Relu", "Clip", "Reshape", "Resize",
        "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "Softmax", "Split", "Transpose", "Squeeze",
    }
)  # fmt: skip
_MADE = ("Relu", "Clip", "Sigmoid", "HardSigmoid", "Softmax")  # never negative
_SCALE = 0.05


@dataclass(frozen=True)
class Scheme:
    """How a network is quantised.

    Attributes:
        activations, weights: ``int8`` or ``uint8``.
        per_channel: one scale for each row of the weights instead of one for all.
        first: whether the first convolution is quantised too.
        others: whether operators without weights are.
    """

    activations: str
    weights: str
    per_channel: bool
    first: bool
    others: bool


def draw_scheme(rng: np.random.Generator, *, first: bool | None = None) -> Scheme:
    """Mostly uint8 activations and int8 weights per channel, which runs fastest on CPUs."""
    activations = "uint8" if rng.random() < 0.85 else "int8"
    weights = "int8" if activations == "int8" or rng.random() < 0.85 else "uint8"
    return Scheme(
        activations,
        weights,
        bool(rng.random() < 0.7 and weights == "int8"),
        bool(rng.random() < 0.5) if first is None else first,
        bool(rng.random() < 0.85),
    )


def quantized(graph: Graph, scheme: Scheme) -> Graph:
    """``graph`` with every tensor around a quantised operator rounded to eight bits and read back."""
    return _Rewriter(graph, scheme).rewritten()


def dynamic(graph: Graph) -> Graph:
    """``graph`` with products of a constant matrix in integers whose range is found anew in every run."""
    rewriter = _Rewriter(graph, Scheme("uint8", "int8", False, True, False))
    return rewriter.with_dynamic_products()


@final
class _Rewriter:
    def __init__(self, graph: Graph, scheme: Scheme) -> None:
        self._graph = graph
        self._scheme = scheme
        self._nodes: list[Node] = []
        self._tensors = dict(graph.tensors)
        self._constants: dict[str, NDArray[Any] | None] = dict(graph.constants)
        self._maker = {o: node for node in graph.nodes for o in node.outputs}
        self._rounded: dict[str, str] = {}

    def rewritten(self) -> Graph:
        """Every node, with what it reads and writes rounded where it is quantised."""
        for node in self._graph.nodes:
            if not self._fits(node):
                self._nodes.append(node)
                continue
            inputs = [self._input(node, i) for i in range(len(node.inputs))]
            self._nodes.append(replace(node, inputs=tuple(inputs)))
            for output in node.outputs:
                if output not in self._graph.outputs and self._read_by_float_only(output):
                    self._round(output)
        return self._result()

    def with_dynamic_products(self) -> Graph:
        """MatMul with a constant matrix as DynamicQuantizeLinear, MatMulInteger, Cast and Mul; LSTM as the runtimes' own operator
        that does all of that."""
        for node in self._graph.nodes:
            if node.op == "LSTM":
                self._dynamic_lstm(node)
            elif (
                node.op == "MatMul"
                and node.inputs[1] in self._graph.constants
                and node.inputs[0] not in self._constants
            ):
                self._dynamic(node)
            else:
                self._nodes.append(node)
        return self._result()

    def _result(self) -> Graph:
        used = {i for node in self._nodes for i in node.inputs} | {*self._graph.inputs, *self._graph.outputs}
        made = {o for node in self._nodes for o in node.outputs}
        return replace(
            self._graph,
            name=f"{self._graph.name}-int8",
            nodes=tuple(self._nodes),
            tensors={n: t for n, t in self._tensors.items() if n in used or n in made},
            constants={n: v for n, v in self._constants.items() if n in used},
        )

    def _fits(self, node: Node) -> bool:
        if any(self._tensors[i].dtype != "float32" for i in node.inputs[:1]):
            return False
        if node.op in _PRODUCTS:
            from_caller = node.inputs[0] in self._graph.inputs
            return self._scheme.first or not (from_caller and node.op == "Conv")
        return self._scheme.others and node.op in _OTHERS

    def _read_by_float_only(self, output: str) -> bool:
        """A Relu behind a product becomes a bound of the range, so what it reads is not rounded."""
        readers = [n for n in self._graph.nodes if output in n.inputs]
        return not (len(readers) == 1 and readers[0].op in ("Relu", "Clip") and self._scheme.activations == "uint8")

    def _input(self, node: Node, i: int) -> str:
        name = node.inputs[i]
        if not name or self._tensors[name].dtype != "float32":
            return name
        if node.op in ("Clip", "Resize") and i > 0:
            return name
        if name in self._graph.constants and node.op in _PRODUCTS:
            return self._bias(node) if i == 2 else self._matrix(node, name)
        maker = self._maker.get(name)
        if node.op in ("Relu", "Clip") and maker is not None and not self._read_by_float_only(name):
            return name
        return self._round(name)

    def _round(self, name: str) -> str:
        """A tensor rounded to eight bits and read back."""
        if name not in self._rounded:
            maker = self._maker.get(name)
            lowest = maker is not None and maker.op in _MADE
            kind = self._scheme.activations
            zero = 128 if kind == "uint8" and not lowest else 0
            if lowest and kind == "int8":
                zero = -128
            pair = (
                self._constant(f"{name}/scale", np.float32(_SCALE)),
                self._constant(f"{name}/zero", np.dtype(kind).type(zero)),
            )
            integers, back = f"{name}/q", f"{name}/dq"
            shape = self._tensors[name].shape
            self._tensors[integers], self._tensors[back] = TensorType(kind, shape), TensorType("float32", shape)
            self._nodes.append(Node(f"{name}/quantize", "QuantizeLinear", (name, *pair), (integers,)))
            self._nodes.append(Node(f"{name}/dequantize", "DequantizeLinear", (integers, *pair), (back,)))
            self._rounded[name] = back
        return self._rounded[name]

    def _matrix(self, node: Node, name: str) -> str:
        shape = self._tensors[name].shape
        axis = 0 if node.op == "Conv" or node.attributes.get("transB") else len(shape) - 1
        per_channel = self._scheme.per_channel and len(shape) > 1 and node.op != "MatMul"
        scale: Any = np.full(shape[axis], 0.01, np.float32) if per_channel else np.float32(0.01)
        kind = np.dtype(self._scheme.weights)
        zero = np.full(np.shape(scale), 128 if kind == np.uint8 else 0, kind)
        back = f"{name}/dq"
        if back not in self._tensors:
            self._made(f"{name}/q", TensorType(kind.name, shape))
            operands = (f"{name}/q", self._constant(f"{name}/scale", scale), self._constant(f"{name}/zero", zero))
            self._tensors[back] = TensorType("float32", shape)
            attributes: dict[str, Attribute] = {"axis": axis} if per_channel else {}
            self._nodes.append(Node(f"{name}/dequantize", "DequantizeLinear", operands, (back,), attributes))
        return back

    def _bias(self, node: Node) -> str:
        name = node.inputs[2]
        shape, back = self._tensors[name].shape, f"{name}/dq"
        if back not in self._tensors:
            per_channel = self._scheme.per_channel
            scale: Any = np.full(shape, 0.01 * _SCALE, np.float32) if per_channel else np.float32(0.01 * _SCALE)
            value = self._constant(f"{name}/q", np.ones(shape, np.int32))
            zero = self._constant(f"{name}/zero", np.zeros(np.shape(scale), np.int32))
            self._tensors[back] = TensorType("float32", shape)
            operands = (value, self._constant(f"{name}/scale", scale), zero)
            attributes: dict[str, Attribute] = {"axis": 0} if per_channel else {}
            self._nodes.append(Node(f"{name}/dequantize", "DequantizeLinear", operands, (back,), attributes))
        return back

    def _dynamic(self, node: Node) -> None:
        x, w = node.inputs
        stem = node.outputs[0]
        scalar = TensorType("float32", ())
        names = f"{x}/q", f"{x}/scale", f"{x}/zero"
        if names[0] not in self._tensors:
            kinds = TensorType("uint8", self._tensors[x].shape), scalar, TensorType("uint8", ())
            self._tensors |= dict(zip(names, kinds, strict=True))
            self._nodes.append(Node(f"{x}/quantize", "DynamicQuantizeLinear", (x,), names))
        if f"{w}/q" not in self._tensors:
            self._made(f"{w}/q", TensorType("int8", self._tensors[w].shape))
        shape = self._tensors[stem].shape
        for name, kind in (("sum", "int32"), ("float", "float32")):
            self._tensors[f"{stem}/{name}"] = TensorType(kind, shape)
        self._tensors[f"{stem}/both"] = scalar
        operands = names[0], f"{w}/q", names[2], self._constant(f"{w}/zero", np.int8(0))
        self._nodes += [
            Node(f"{stem}/integer", "MatMulInteger", operands, (f"{stem}/sum",)),
            Node(f"{stem}/cast", "Cast", (f"{stem}/sum",), (f"{stem}/float",), {"to": 1}),
            Node(
                f"{stem}/scales", "Mul", (names[1], self._constant(f"{w}/scale", np.float32(0.01))), (f"{stem}/both",)
            ),
            Node(node.name, "Mul", (f"{stem}/float", f"{stem}/both"), node.outputs),
        ]

    def _dynamic_lstm(self, node: Node) -> None:
        x, *matrices, bias = node.inputs[:4]
        state = [*node.inputs[4:], *[""] * (8 - len(node.inputs))]
        pairs = []
        for name in matrices:
            directions, gates, depth = self._tensors[name].shape
            if f"{name}/q" not in self._tensors:
                self._made(f"{name}/q", TensorType("int8", (directions, depth, gates)))
            pairs += [
                self._constant(f"{name}/scale", np.full(directions, 0.01, np.float32)),
                self._constant(f"{name}/zero", np.zeros(directions, np.int8)),
            ]
        operands = (x, *(f"{name}/q" for name in matrices), bias, *state, *pairs)
        self._nodes.append(replace(node, op="DynamicQuantizeLSTM", domain="com.microsoft", inputs=operands))

    def _constant(self, name: str, value: Any) -> str:
        array = np.asarray(value)
        self._tensors[name], self._constants[name] = TensorType(array.dtype.name, array.shape), array
        return name

    def _made(self, name: str, kind: TensorType) -> None:
        self._tensors[name], self._constants[name] = kind, None
