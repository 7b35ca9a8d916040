"""Writing a network down layer by layer, as exporters write ONNX files: batch norm folded into convolutions, compound functions
spelt out in the operators of opset 17. Weights have a type but no value (:func:`devices.graph.made_up_weight`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from devices import Graph, Node, TensorType
from devices.kernels import Attribute

Shape = tuple[int, ...]

NORM_EPSILON = 1e-5


@final
class Net:
    """A network that grows. Layers take and give names of tensors; sizes of windows are the same along all axes.

    Attributes:
        macs: multiply-accumulates of its convolutions, products and recurrences so far, padding counted.
    """

    def __init__(self) -> None:
        self.macs = 0
        self._nodes: list[Node] = []
        self._tensors: dict[str, TensorType] = {}
        self._constants: dict[str, NDArray[Any] | None] = {}
        self._inputs: list[str] = []

    def graph(self, name: str, *outputs: str) -> Graph:
        """What was written down."""
        return Graph(name, tuple(self._nodes), dict(self._tensors), tuple(self._inputs), outputs, dict(self._constants))

    def shape(self, x: str) -> Shape:
        """Shape of a tensor."""
        return self._tensors[x].shape

    def input(self, name: str, shape: Shape, dtype: str = "float32") -> str:
        """An input of the network."""
        self._tensors[name] = TensorType(dtype, shape)
        self._inputs.append(name)
        return name

    def weight(self, *shape: int) -> str:
        """A float32 constant with made-up values."""
        return self._constant(TensorType("float32", shape), None)

    def constant(self, value: object, dtype: str = "float32") -> str:
        """A constant with these values."""
        array = np.array(value, dtype)
        return self._constant(TensorType(dtype, array.shape), array)

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Shape,
        attributes: Mapping[str, Attribute] | None = None,
        dtype: str = "",
    ) -> str:
        """Any operator of one result; its type is that of the first input if not told."""
        return self.add_many(op, inputs, [shape], attributes, dtype)[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[str],
        shapes: Sequence[Shape],
        attributes: Mapping[str, Attribute] | None = None,
        dtype: str = "",
    ) -> list[str]:
        """Any operator of several results."""
        name = f"{op}_{len(self._nodes)}"
        outputs = [f"{name}_output_{i}" for i in range(len(shapes))]
        self._nodes.append(Node(name, op, tuple(inputs), tuple(outputs), dict(attributes or {})))
        kind = dtype or self._tensors[inputs[0]].dtype
        self._tensors |= {out: TensorType(kind, tuple(shape)) for out, shape in zip(outputs, shapes, strict=True)}
        return outputs

    # --- windows ---------------------------------------------------------------------------------------------------

    def conv(
        self,
        x: str,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        group: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        activation: str = "",
    ) -> str:
        """1-D or 2-D convolution with bias, padded to keep the size up to the stride, then an activation."""
        n, channels, *sizes = self.shape(x)
        axes = len(sizes)
        pad = dilation * (kernel - 1) // 2 if padding is None else padding
        out = [(s + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for s in sizes]
        attributes: dict[str, Attribute] = {
            "dilations": (dilation,) * axes, "group": group, "kernel_shape": (kernel,) * axes, "pads": (pad,) * 2 * axes,
            "strides": (stride,) * axes,
        }  # fmt: skip
        weight = self.weight(width, channels // group, *(kernel,) * axes)
        self.macs += n * width * channels // group * kernel**axes * math.prod(out)
        y = self.add("Conv", [x, weight, self.weight(width)], (n, width, *out), attributes)
        return self.activation(y, activation)

    def conv_transpose(self, x: str, width: int, kernel: int = 2, stride: int = 2) -> str:
        """2-D transposed convolution that enlarges by the stride."""
        n, channels, *sizes = self.shape(x)
        pad = (kernel - stride) // 2
        attributes: dict[str, Attribute] = {
            "dilations": (1, 1), "group": 1, "kernel_shape": (kernel,) * 2, "pads": (pad,) * 4, "strides": (stride,) * 2,
        }  # fmt: skip
        out = [(s - 1) * stride + kernel - 2 * pad for s in sizes]
        self.macs += n * width * channels * kernel**2 * math.prod(sizes)
        weights = [self.weight(channels, width, kernel, kernel), self.weight(width)]
        return self.add("ConvTranspose", [x, *weights], (n, width, *out), attributes)

    def pool(self, x: str, kind: str, kernel: int, stride: int, pad: int = 0) -> str:
        """``MaxPool`` or ``AveragePool``."""
        n, channels, *sizes = self.shape(x)
        axes = len(sizes)
        attributes: dict[str, Attribute] = {
            "kernel_shape": (kernel,) * axes, "pads": (pad,) * 2 * axes, "strides": (stride,) * axes, "ceil_mode": 0,
        }  # fmt: skip
        return self.add(kind, [x], (n, channels, *((s + 2 * pad - kernel) // stride + 1 for s in sizes)), attributes)

    def global_pool(self, x: str) -> str:
        """Mean over all positions, which stay as axes of one element."""
        n, channels, *sizes = self.shape(x)
        return self.add("GlobalAveragePool", [x], (n, channels, *(1 for _ in sizes)))

    def resize(self, x: str, factor: int, mode: str = "nearest") -> str:
        """Enlarged images, ``nearest`` or ``linear``."""
        n, channels, *sizes = self.shape(x)
        attributes: dict[str, Attribute] = {
            "coordinate_transformation_mode": "asymmetric" if mode == "nearest" else "pytorch_half_pixel",
            "mode": mode, "nearest_mode": "floor",
        }  # fmt: skip
        scales = self.constant([1, 1, *(factor for _ in sizes)])
        return self.add("Resize", [x, "", scales], (n, channels, *(factor * s for s in sizes)), attributes)

    # --- products and recurrences ----------------------------------------------------------------------------------

    def linear(self, x: str, width: int) -> str:
        """``Gemm`` as exporters write it, of a matrix."""
        n, depth = self.shape(x)
        self.macs += n * depth * width
        return self.add("Gemm", [x, self.weight(width, depth), self.weight(width)], (n, width), {"transB": 1})

    def dense(self, x: str, width: int) -> str:
        """``MatMul`` by a weight along the last axis, then a bias."""
        depth = self.shape(x)[-1]
        product = self.matmul(x, self.weight(depth, width))
        return self.binary("Add", self.weight(width), product)

    def matmul(self, a: str, b: str) -> str:
        """Matrix product over the last two axes, broadcast over the others."""
        (*outer, rows, depth), (*others, _, columns) = self.shape(a), self.shape(b)
        shape = (*np.broadcast_shapes(tuple(outer), tuple(others)), rows, columns)
        self.macs += math.prod(shape) * depth
        return self.add("MatMul", [a, b], shape)

    def recurrent(self, x: str, kind: str, hidden: int, directions: int = 1) -> str:
        """``LSTM`` or ``GRU`` over ``(T, N, F)``; all states, ``(T, N, directions · hidden)``."""
        steps, batch, depth = self.shape(x)
        gates = {"LSTM": 4, "GRU": 3}[kind]
        self.macs += steps * batch * directions * gates * hidden * (depth + hidden)
        weights = [self.weight(directions, gates * hidden, size) for size in (depth, hidden)]
        bias = self.weight(directions, 2 * gates * hidden)
        start = self.constant(np.zeros((directions, batch, hidden)))
        attributes: dict[str, Attribute] = {
            "hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward",
            **({"linear_before_reset": 1} if kind == "GRU" else {}),
        }  # fmt: skip
        inputs = [x, *weights, bias, "", start, *([start] if kind == "LSTM" else [])]
        states = self.add(kind, inputs, (steps, directions, batch, hidden), attributes)
        return self.reshape(self.transpose(states, 0, 2, 1, 3), steps, batch, directions * hidden)

    # --- elementwise -----------------------------------------------------------------------------------------------

    def unary(self, op: str, x: str) -> str:
        """An operator of one input that keeps the shape."""
        return self.add(op, [x], self.shape(x))

    def binary(self, op: str, a: str, b: str) -> str:
        """An operator of two inputs, broadcast."""
        return self.add(op, [a, b], tuple(np.broadcast_shapes(self.shape(a), self.shape(b))))

    def activation(self, x: str, kind: str) -> str:
        """``relu``, ``relu6``, ``hardswish``, ``silu``, ``leaky``, ``gelu``, ``tanh_gelu``, ``sigmoid`` or none."""
        match kind:
            case "":
                return x
            case "relu6":
                return self.add("Clip", [x, self.constant(0), self.constant(6)], self.shape(x))
            case "silu":
                return self.binary("Mul", x, self.unary("Sigmoid", x))
            case "leaky":
                return self.add("LeakyRelu", [x], self.shape(x), {"alpha": 0.1})
            case "gelu":  # x · (1 + erf(x / √2)) / 2
                erf = self.unary("Erf", self.binary("Div", x, self.constant(math.sqrt(2))))
                return self.binary(
                    "Mul", self.binary("Mul", x, self.binary("Add", erf, self.constant(1))), self.constant(0.5)
                )
            case "tanh_gelu":
                cube = self.binary("Mul", self.binary("Pow", x, self.constant(3)), self.constant(0.044715))
                inner = self.binary("Mul", self.binary("Add", x, cube), self.constant(math.sqrt(2 / math.pi)))
                tanh = self.binary("Add", self.unary("Tanh", inner), self.constant(1))
                return self.binary("Mul", self.binary("Mul", x, self.constant(0.5)), tanh)
        return self.unary({"relu": "Relu", "hardswish": "HardSwish", "sigmoid": "Sigmoid"}[kind], x)

    def softmax(self, x: str) -> str:
        """Along the last axis."""
        return self.add("Softmax", [x], self.shape(x), {"axis": -1})

    def layer_norm(self, x: str, *, spelt_out: bool) -> str:
        """Along the last axis, as one operator or in nine."""
        shape, width = self.shape(x), self.shape(x)[-1]
        scale, shift = self.constant(np.linspace(0.5, 1.5, width)), self.weight(width)
        if not spelt_out:
            return self.add("LayerNormalization", [x, scale, shift], shape, {"axis": -1, "epsilon": NORM_EPSILON})
        centred = self.binary("Sub", x, self.mean(x, -1))
        variance = self.mean(self.binary("Pow", centred, self.constant(2)), -1)
        deviation = self.unary("Sqrt", self.binary("Add", variance, self.constant(NORM_EPSILON)))
        scaled = self.binary("Mul", self.binary("Div", centred, deviation), scale)
        return self.binary("Add", scaled, shift)

    def batch_norm(self, x: str) -> str:
        """One that cannot be folded because no convolution comes before it."""
        width = self.shape(x)[1]
        scale, shift, mean = self.constant(np.linspace(0.5, 1.5, width)), self.weight(width), self.weight(width)
        variance = self.constant(np.linspace(0.5, 2, width))
        return self.add(
            "BatchNormalization", [x, scale, shift, mean, variance], self.shape(x), {"epsilon": NORM_EPSILON}
        )

    def mean(self, x: str, *axes: int, keep: bool = True) -> str:
        """Mean along axes."""
        shape = list(self.shape(x))
        at = {a % len(shape) for a in axes}
        out = tuple(1 if i in at else s for i, s in enumerate(shape) if keep or i not in at)
        return self.add("ReduceMean", [x], out, {"axes": axes, "keepdims": int(keep)})

    # --- moving ----------------------------------------------------------------------------------------------------

    def concat(self, parts: Sequence[str], axis: int = 1) -> str:
        """Parts behind each other."""
        shape = list(self.shape(parts[0]))
        shape[axis] = sum(self.shape(p)[axis] for p in parts)
        return self.add("Concat", parts, tuple(shape), {"axis": axis})

    def split(self, x: str, parts: int, axis: int = 1) -> list[str]:
        """Equal parts."""
        shape = list(self.shape(x))
        shape[axis] //= parts
        sizes = self.constant([shape[axis]] * parts, "int64")
        return self.add_many("Split", [x, sizes], [tuple(shape)] * parts, {"axis": axis})

    def reshape(self, x: str, *shape: int) -> str:
        """Other axes."""
        return self.add("Reshape", [x, self.constant(shape, "int64")], shape)

    def transpose(self, x: str, *order: int) -> str:
        """Axes in another order."""
        return self.add("Transpose", [x], tuple(self.shape(x)[i] for i in order), {"perm": order})

    def flatten(self, x: str) -> str:
        """A matrix of one row for each example."""
        n, *rest = self.shape(x)
        return self.add("Flatten", [x], (n, math.prod(rest)), {"axis": 1})

    def gather(self, x: str, indices: str, axis: int = 0) -> str:
        """Rows, or slices along another axis."""
        shape = self.shape(x)
        out = (*shape[:axis], *self.shape(indices), *shape[axis + 1 :])
        return self.add("Gather", [x, indices], out, {"axis": axis})

    def _constant(self, kind: TensorType, value: NDArray[Any] | None) -> str:
        name = f"constant_{len(self._constants)}"
        self._tensors[name], self._constants[name] = kind, value
        return name
