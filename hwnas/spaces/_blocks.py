"""Specifications of a mobile network's parts, and the inference graph made of them. No torch here.

A network is a list of :class:`Part`, one per place; a part is a short list of :class:`Conv`. Graph, torch module
(:mod:`hwnas.spaces._modules`), multiply-accumulates and parameters all derive from that list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from numpy.typing import NDArray

from devices.graph import Graph, Node
from devices.kernels import Attribute, TensorType

INPUT, OUTPUT = "input", "logits"

ACTIVATIONS = ("relu", "hardswish")
_ONNX_ACTIVATION = {"relu": "Relu", "hardswish": "HardSwish", "hardsigmoid": "HardSigmoid"}
_HARD_SIGMOID: dict[str, Attribute] = {
    "alpha": 1 / 6,
    "beta": 0.5,
}  # HardSwish is x · HardSigmoid(x) with the same constants


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with batch norm (``norm``, which becomes a bias), a bias or neither, and activation (``""``: none).

    Padding keeps the size up to the stride.
    """

    name: str
    in_width: int
    width: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = ""
    norm: bool = True
    bias: bool = True

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of the weights, ``(out, in per group, k, k)``."""
        return self.width, self.in_width // self.groups, self.kernel, self.kernel

    @property
    def weights(self) -> int:
        """Number of weights without the bias."""
        return self.width * (self.in_width // self.groups) * self.kernel**2


@dataclass(frozen=True, slots=True)
class Part:
    """What stands at one place: ``convs`` in a row; before the last one, the channels may be re-weighted by
    squeeze-and-excitation.

    Attributes:
        place: its name.
        size: height and width of its input.
        convs: the convolutions of the main path.
        squeeze: the two 1×1 convolutions of squeeze-and-excitation, or nothing.
        residual: whether the input is added to the result.
        classes: for the head: pool, then a linear layer to so many outputs; else 0.
    """

    place: str
    size: int
    convs: tuple[Conv, ...]
    squeeze: tuple[Conv, ...] = ()
    residual: bool = False
    classes: int = 0

    @property
    def stride(self) -> int:
        """Factor by which the part shrinks its input."""
        return max(c.stride for c in self.convs)

    @property
    def out_size(self) -> int:
        """Height and width of the result (before pooling, for the head)."""
        return -(-self.size // self.stride)

    @property
    def parameters(self) -> int:
        """Number of weights and biases of the inference graph."""
        linear = (self.convs[-1].width + 1) * self.classes
        return sum(c.weights + c.width * c.bias for c in (*self.convs, *self.squeeze)) + linear

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and the linear layer, for one example."""
        total, size = self.convs[-1].width * self.classes + sum(c.weights for c in self.squeeze), self.size
        for conv in self.convs:
            size = -(-size // conv.stride)
            total += conv.weights * size**2
        return total


def stem(place: str, size: int, channels: int, width: int, stride: int, activation: str) -> Part:
    """A 3×3 convolution of the image."""
    return Part(place, size, (Conv("conv", channels, width, 3, stride, activation=activation),))


def inverted_residual(
    place: str,
    size: int,
    in_width: int,
    width: int,
    *,
    kernel: int,
    expansion: int,
    stride: int,
    squeeze_excite: bool,
    activation: str,
) -> Part:
    """MobileNetV2's block (Sandler et al. 2018), with the squeeze-and-excitation of MobileNetV3 (Howard et al. 2019)
    between depthwise convolution and projection. The bottleneck of the latter has an eighth of the channels, at least 8."""
    hidden = in_width * expansion
    convs = (
        Conv("expand", in_width, hidden, activation=activation),
        Conv("depthwise", hidden, hidden, kernel, stride, hidden, activation),
        Conv("project", hidden, width),
    )
    squeezed = squeezed_width(hidden)
    squeeze = (
        Conv("reduce", hidden, squeezed, activation="relu", norm=False),
        Conv("gate", squeezed, hidden, activation="hardsigmoid", norm=False),
    )
    return Part(place, size, convs, squeeze if squeeze_excite else (), stride == 1 and in_width == width)


def squeezed_width(hidden: int) -> int:
    """Channels in the bottleneck of squeeze-and-excitation."""
    return max(8, hidden // 64 * 8)


def head(place: str, size: int, in_width: int, width: int, classes: int, activation: str) -> Part:
    """A 1×1 convolution, global average pooling, a linear classifier."""
    return Part(place, size, (Conv("conv", in_width, width, activation=activation),), classes=classes)


def graph(name: str, channels: int, parts: Sequence[Part]) -> Graph:
    """The inference graph of ``parts``: batch 1, batch norm folded into biases, constants without values. Every node is
    named ``PLACE/op``."""
    builder = GraphBuilder(channels, parts[0].size)
    x = INPUT
    for part in parts:
        x = _draw(builder, part, x)
    return builder.graph(name, x)


def _draw(builder: GraphBuilder, part: Part, x: str) -> str:
    place, first = part.place, x
    for conv in part.convs:
        if conv.name == "project" and part.squeeze:
            x = _squeeze_excite(builder, part, x)
        x = builder.conv(place, conv, x)
    if part.residual:
        x = builder.node(f"{place}/add", "Add", (first, x), builder.shape(x))
    return builder.classify(place, part.convs[-1].width, part.classes, x) if part.classes else x


def _squeeze_excite(builder: GraphBuilder, part: Part, x: str) -> str:
    place, shape = part.place, builder.shape(x)
    gate = builder.node(f"{place}/squeeze", "GlobalAveragePool", (x,), (1, shape[1], 1, 1))
    for conv in part.squeeze:
        gate = builder.conv(place, conv, gate)
    return builder.node(f"{place}/scale", "Mul", (x, gate), shape)


class GraphBuilder:
    """Collects nodes, tensors and constants of an inference graph for one image, ``(1, channels, size, size)``."""

    def __init__(self, channels: int, size: int) -> None:
        self._nodes: list[Node] = []
        self._constants: dict[str, NDArray[Any] | None] = {}
        self._tensors = {INPUT: TensorType("float32", (1, channels, size, size))}

    def graph(self, name: str, output: str) -> Graph:
        """All that was collected."""
        return Graph(name, tuple(self._nodes), self._tensors, (INPUT,), (output,), self._constants)

    def shape(self, x: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._tensors[x].shape

    def conv(self, place: str, conv: Conv, x: str) -> str:
        """A convolution with its activation; name of the result."""
        name, size = f"{place}/{conv.name}", -(-self.shape(x)[2] // conv.stride)
        inputs: tuple[str, ...] = (x, self.constant(f"{name}.weight", conv.weight_shape))
        if conv.bias:
            inputs += (self.constant(f"{name}.bias", (conv.width,)),)
        shape = (1, conv.width, size, size)
        x = self.node(name, "Conv", inputs, shape, _conv_attributes(conv.kernel, conv.stride, conv.groups))
        if conv.activation:
            op = _ONNX_ACTIVATION[conv.activation]
            x = self.node(f"{name}/{op}", op, (x,), shape, _HARD_SIGMOID if op == "HardSigmoid" else {})
        return x

    def classify(self, place: str, width: int, classes: int, x: str) -> str:
        """Global average pooling and a linear layer; name of the result, :data:`OUTPUT`."""
        x = self.node(f"{place}/pool", "GlobalAveragePool", (x,), (1, width, 1, 1))
        x = self.node(f"{place}/flatten", "Flatten", (x,), (1, width), {"axis": 1})
        weight = self.constant(f"{place}/linear.weight", (classes, width))
        bias = self.constant(f"{place}/linear.bias", (classes,))
        return self.node(f"{place}/linear", "Gemm", (x, weight, bias), (1, classes), {"transB": 1}, output=OUTPUT)

    def constant(self, name: str, shape: tuple[int, ...], value: NDArray[Any] | None = None) -> str:
        """A weight (float32, without a value), or a constant with its value."""
        self._constants[name] = value
        self._tensors[name] = _tensor_type("float32" if value is None else value.dtype.name, shape)
        return name

    def node(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        output: str = "",
    ) -> str:
        """A node with one float32 result; name of the result."""
        output = output or name
        self._nodes.append(Node(name, op, inputs, (output,), attributes or {}))
        self._tensors[output] = _tensor_type("float32", shape)
        return output


@cache
def _tensor_type(dtype: str, shape: tuple[int, ...]) -> TensorType:
    return TensorType(dtype, shape)


@cache
def _conv_attributes(kernel: int, stride: int, groups: int) -> Mapping[str, Attribute]:
    return {
        "kernel_shape": (kernel,) * 2,
        "strides": (stride,) * 2,
        "pads": (kernel // 2,) * 4,
        "group": groups,
    }
