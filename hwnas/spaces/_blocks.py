"""Specifications of a mobile network's parts, and the inference graph made of them. No torch here.

A network is a list of :class:`Part`, one per place; a part is a short list of :class:`Conv`. Graph, torch module
(:mod:`hwnas.spaces._modules`), multiply-accumulates and parameters all derive from that list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """A convolution with its bias (from batch norm, if ``norm``) and activation (``""``: none).

    ``groups`` is 1 or ``width``. Padding keeps the size up to the stride.
    """

    name: str
    in_width: int
    width: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = ""
    norm: bool = True

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
        return sum(c.weights + c.width for c in (*self.convs, *self.squeeze)) + linear

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
    builder = _Builder(channels, parts[0].size)
    x = INPUT
    for part in parts:
        x = builder.part(part, x)
    return Graph(name, tuple(builder.nodes), builder.tensors, (INPUT,), (x,), dict.fromkeys(builder.constants))


class _Builder:
    """Collects nodes and tensors."""

    def __init__(self, channels: int, size: int) -> None:
        self.nodes: list[Node] = []
        self.constants: list[str] = []
        self.tensors = {INPUT: TensorType("float32", (1, channels, size, size))}

    def part(self, part: Part, x: str) -> str:
        place, first, size = part.place, x, part.size
        for conv in part.convs:
            if conv.name == "project" and part.squeeze:
                x = self.squeeze_excite(part, x, size)
            x, size = self.conv(place, conv, x, size)
        if part.residual:
            x = self.node(f"{place}/add", "Add", (first, x), self.tensors[x].shape)
        if part.classes:
            width = part.convs[-1].width
            x = self.node(f"{place}/pool", "GlobalAveragePool", (x,), (1, width, 1, 1))
            x = self.node(f"{place}/flatten", "Flatten", (x,), (1, width), {"axis": 1})
            weight = self.constant(f"{place}/linear.weight", (part.classes, width))
            bias = self.constant(f"{place}/linear.bias", (part.classes,))
            x = self.node(f"{place}/linear", "Gemm", (x, weight, bias), (1, part.classes), {"transB": 1}, output=OUTPUT)
        return x

    def squeeze_excite(self, part: Part, x: str, size: int) -> str:
        place, shape = part.place, self.tensors[x].shape
        gate = self.node(f"{place}/squeeze", "GlobalAveragePool", (x,), (1, shape[1], 1, 1))
        for conv in part.squeeze:
            gate, _ = self.conv(place, conv, gate, 1)
        return self.node(f"{place}/scale", "Mul", (x, gate), shape)

    def conv(self, place: str, conv: Conv, x: str, size: int) -> tuple[str, int]:
        name, pad, size = f"{place}/{conv.name}", conv.kernel // 2, -(-size // conv.stride)
        inputs = (
            x,
            self.constant(f"{name}.weight", conv.weight_shape),
            self.constant(f"{name}.bias", (conv.width,)),
        )
        attributes: dict[str, Attribute] = {
            "kernel_shape": (conv.kernel,) * 2,
            "strides": (conv.stride,) * 2,
            "pads": (pad,) * 4,
            "group": conv.groups,
        }
        shape = (1, conv.width, size, size)
        x = self.node(name, "Conv", inputs, shape, attributes)
        if conv.activation:
            op = _ONNX_ACTIVATION[conv.activation]
            x = self.node(f"{name}/{op}", op, (x,), shape, _HARD_SIGMOID if op == "HardSigmoid" else {})
        return x, size

    def constant(self, name: str, shape: tuple[int, ...]) -> str:
        self.constants.append(name)
        self.tensors[name] = TensorType("float32", shape)
        return name

    def node(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        attributes: dict[str, Attribute] | None = None,
        *,
        output: str = "",
    ) -> str:
        output = output or name
        self.nodes.append(Node(name, op, inputs, (output,), attributes or {}))
        self.tensors[output] = TensorType("float32", shape)
        return output
