"""Networks that are any graph of simple steps, and their inference graph. No torch here.

What a space writes down is a list of :class:`Step`; graph, torch module and supernet (:mod:`hwnas.spaces._step_modules`) all
derive from it. Chains of inverted residuals have a shorter notation in :mod:`hwnas.spaces._blocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from devices.graph import Graph
from devices.kernels import Attribute
from hwnas.spaces._blocks import Conv, GraphBuilder


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on feature maps.

    Attributes:
        place: where it belongs.
        name: unique at its place; steps that share weights in a supernet have place and name in common.
        op: ``conv``, ``relu``, ``add``, ``zero`` (a map of zeros in the shape of the input), ``average`` (over the pixels that
            are there, so many as ``conv.kernel``), ``norm`` (batch norm and ReLU by themselves), ``shuffle`` (of the channels of
            ``conv.groups`` groups, Zhang et al. 2018, "ShuffleNet", section 3.1) or ``classify`` (pool, then linear).
        inputs: :attr:`output` of other steps, or :data:`~hwnas.spaces._blocks.INPUT`.
        conv: the convolution; of others the numbers that they need: widths, kernel, stride, groups.
        output: name of the result.
    """

    place: str
    name: str
    op: str
    inputs: tuple[str, ...]
    conv: Conv | None = None
    output: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", f"{self.place}/{self.name}")

    @property
    def of(self) -> Conv:
        """The numbers of a step that has some."""
        assert self.conv is not None
        return self.conv


def convolution(place: str, conv: Conv, x: str) -> Step:
    """A convolution with its batch norm and activation; the convolution's name is the step's."""
    return Step(place, conv.name, "conv", (x,), conv)


def normalization(place: str, width: int, x: str) -> Step:
    """Batch norm and ReLU."""
    return Step(place, "norm", "norm", (x,), Conv("norm", width, width, groups=width, activation="relu"))


def classifier(place: str, width: int, classes: int, x: str) -> Step:
    """Global average pooling and a linear layer."""
    return Step(place, "linear", "classify", (x,), Conv("linear", width, classes))


def inverted_residual(
    place: str,
    name: str,
    in_width: int,
    width: int,
    x: str,
    *,
    kernel: int,
    expansion: int,
    stride: int,
    groups: int = 1,
) -> tuple[Step, ...]:
    """MobileNetV2's block (Sandler et al. 2018), its steps named ``{name}_expand`` and so on. Where its 1×1 convolutions have
    groups, channels are shuffled behind the first."""
    hidden = in_width * expansion
    expand = Conv(f"{name}_expand", in_width, hidden, groups=groups, activation="relu")
    depthwise = Conv(f"{name}_depthwise", hidden, hidden, kernel, stride, hidden, "relu")
    steps = [convolution(place, expand, x)]
    if groups > 1:
        shuffled = Conv(f"{name}_shuffle", hidden, hidden, groups=groups)
        steps.append(Step(place, shuffled.name, "shuffle", (steps[-1].output,), shuffled))
    steps.append(convolution(place, depthwise, steps[-1].output))
    steps.append(convolution(place, Conv(f"{name}_project", hidden, width, groups=groups), steps[-1].output))
    if stride == 1 and in_width == width:
        steps.append(Step(place, f"{name}_add", "add", (x, steps[-1].output)))
    return tuple(steps)


def graph(name: str, channels: int, size: int, steps: Sequence[Step]) -> Graph:
    """The inference graph of ``steps``: batch 1, batch norm folded into convolutions, weights without values. Every node is
    named ``PLACE/…``."""
    builder = GraphBuilder(channels, size)
    renamed: dict[str, str] = {}  # steps whose result has another name than theirs
    for step in steps:
        x = _DRAW[step.op](builder, step, tuple(renamed.get(x, x) for x in step.inputs))
        if x != step.output:
            renamed[step.output] = x
    return builder.graph(name, x)


def _conv(builder: GraphBuilder, step: Step, inputs: tuple[str, ...]) -> str:
    return builder.conv(step.place, step.of, inputs[0])


def _relu(builder: GraphBuilder, step: Step, inputs: tuple[str, ...]) -> str:
    return builder.node(step.output, "Relu", inputs, builder.shape(inputs[0]))


def _add(builder: GraphBuilder, step: Step, inputs: tuple[str, ...]) -> str:
    return builder.node(step.output, "Add", inputs, builder.shape(inputs[0]))


def _zero(builder: GraphBuilder, step: Step, inputs: tuple[str, ...]) -> str:
    return builder.node(step.output, "Sub", inputs * 2, builder.shape(inputs[0]))


def _average(builder: GraphBuilder, step: Step, inputs: tuple[str, ...]) -> str:
    kernel, stride = step.of.kernel, step.of.stride
    batch, width, size, _ = builder.shape(inputs[0])
    made = -(-size // stride)
    before = (kernel - 1) // 2
    after = (made - 1) * stride + kernel - size - before
    attributes: dict[str, Attribute] = {
        "kernel_shape": (kernel,) * 2,
        "strides": (stride,) * 2,
        "pads": (before, before, after, after),
        "count_include_pad": 0,
    }
    return builder.node(step.output, "AveragePool", inputs, (batch, width, made, made), attributes)


def _norm(builder: GraphBuilder, step: Step, inputs: tuple[str, ...]) -> str:
    """A convolution that multiplies each channel and adds to it."""
    return builder.conv(step.place, step.of, inputs[0])


def _shuffle(builder: GraphBuilder, step: Step, inputs: tuple[str, ...]) -> str:
    batch, width, *size = builder.shape(inputs[0])
    groups = step.of.groups
    apart, together = (groups, width // groups, *size), (width // groups, groups, *size)
    name = step.output
    x = _reshaped(builder, f"{name}/apart", inputs[0], (batch, *apart))
    x = builder.node(f"{name}/turn", "Transpose", (x,), (batch, *together), {"perm": (0, 2, 1, 3, 4)})
    return _reshaped(builder, f"{name}/together", x, (batch, width, *size))


def _reshaped(builder: GraphBuilder, name: str, x: str, shape: tuple[int, ...]) -> str:
    """0 stands for the batch, whatever it is."""
    constant = builder.constant(f"{name}.shape", (len(shape),), np.array([0, *shape[1:]], np.int64))
    return builder.node(name, "Reshape", (x, constant), shape)


def _classify(builder: GraphBuilder, step: Step, inputs: tuple[str, ...]) -> str:
    return builder.classify(step.place, step.of.in_width, step.of.width, inputs[0])


_DRAW: dict[str, Callable[[GraphBuilder, Step, tuple[str, ...]], str]] = {
    "conv": _conv,
    "relu": _relu,
    "add": _add,
    "zero": _zero,
    "average": _average,
    "norm": _norm,
    "shuffle": _shuffle,
    "classify": _classify,
}
