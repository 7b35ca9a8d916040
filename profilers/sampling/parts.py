"""Activations and normalisations, in the forms in which exporters write them."""

from __future__ import annotations

import math

from devices.kernels import Attribute
from profilers.sampling.builder import Builder

ACTIVATIONS = (
    "Relu", "Clip", "HardSwish", "SiLU", "Sigmoid", "HardSigmoid", "Tanh", "LeakyRelu", "PRelu", "Elu", "Softplus", "Mish",
    "GELU", "GELU, tanh", "GELU, quick", "HardSwish, spelt out", "HardSigmoid, spelt out", "",
)  # fmt: skip
_USUAL = (6, 2, 2, 2, 0.7, 0.7, 0.7, 1.0, 0.5, 0.4, 0.3, 0.3, 1.2, 0.4, 0.3, 2, 0.4, 2)


def draw_activation(b: Builder) -> str:
    """A name for :func:`activate`, common ones more often."""
    return b.pick(ACTIVATIONS, _USUAL)


def activate(b: Builder, x: str, name: str) -> str:
    """``x`` through an activation; the empty name is none."""
    match name:
        case "":
            return x
        case "Clip":
            return b.op("Clip", x, b.constant(0.0), b.constant(6.0))
        case "SiLU":
            return b.op("Mul", *b.shuffled(x, b.op("Sigmoid", x)))
        case "PRelu":
            return b.op(
                "PRelu", x, b.weight(*(b.shape(x)[1:2] if len(b.shape(x)) > 1 else ()), *(1,) * (len(b.shape(x)) - 2))
            )
        case "LeakyRelu":
            return b.op("LeakyRelu", x, attributes={"alpha": 0.1})
        case "Mish":
            return b.op("Mul", x, b.op("Tanh", b.op("Softplus", x)))
        case "GELU":
            y = b.op("Erf", b.op("Div", x, b.constant(math.sqrt(2))))
            y = b.op("Add", y, b.constant(1.0))
            if b.chance(0.5):
                return b.op("Mul", b.op("Mul", x, y), b.constant(0.5))
            return b.op("Mul", b.op("Mul", x, b.constant(0.5)), y)
        case "GELU, tanh":
            cube = b.op("Mul", b.op("Pow", x, b.constant(3.0)), b.constant(0.044715))
            inner = b.op("Mul", b.op("Add", x, cube), b.constant(math.sqrt(2 / math.pi)))
            outer = b.op("Add", b.op("Tanh", inner), b.constant(1.0))
            return b.op("Mul", b.op("Mul", x, b.constant(0.5)), outer)
        case "HardSwish, spelt out":  # as it was before it was an operator
            y = b.op("Clip", b.op("Add", x, b.constant(3.0)), b.constant(0.0), b.constant(6.0))
            if b.chance(0.5):
                return b.op("Div", b.op("Mul", x, y), b.constant(6.0))
            return b.op("Mul", x, b.op(b.pick(["Div", "Mul"]), y, b.constant(6.0)))
        case "HardSigmoid, spelt out":
            y = b.op("Clip", b.op("Add", x, b.constant(3.0)), b.constant(0.0), b.constant(6.0))
            return b.op("Div", y, b.constant(6.0))
        case "GELU, quick":
            return b.op("Mul", x, b.op("Sigmoid", b.op("Mul", x, b.constant(1.702))))
    return b.op(name, x)


def pool(b: Builder, x: str) -> str:
    """Windows of positions, or all of them, made one."""
    spatial = b.shape(x)[2:]
    op = b.pick(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"], [3, 2.5, 2, 0.3])
    if op.startswith("Global"):
        return b.op(op, x)
    k = tuple(min(b.pick([2, 3, 5, 7], [3, 3, 1, 0.5]), s) for s in spatial)
    strides = tuple(b.pick([1, 2, 3], [2, 4, 0.5]) for _ in spatial)
    pads = tuple((i - 1) // 2 for i in k) * 2
    return b.op(op, x, attributes={"kernel_shape": k, "strides": strides, "pads": pads})


def resize(b: Builder, x: str) -> str:
    """Other numbers of positions, in between or repeated."""
    axes = len(b.shape(x)) - 2
    factor = b.pick([2.0, 4.0, 3.0, 1.5, 0.5], [4, 1, 0.5, 1, 1])
    if any(int(s * factor) < 1 for s in b.shape(x)[2:]):
        factor = 2.0
    mode = b.pick(["nearest", "linear", "cubic"], [0.6, 0.35, 0.05]) if axes == 2 else "nearest"
    places = b.pick(["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"], [4, 3, 1, 1])
    how: dict[str, Attribute] = {"mode": mode, "coordinate_transformation_mode": places}
    if mode == "nearest":
        how["nearest_mode"] = b.pick(["floor", "round_prefer_floor"])
    return b.op("Resize", x, "", b.constant([1.0, 1.0, *(factor,) * axes]), attributes=how)


def gate(b: Builder, x: str) -> str:
    """Channels weighted by what their averages say."""
    channels, ones = b.shape(x)[1], (1,) * (len(b.shape(x)) - 2)
    y = (
        b.op("GlobalAveragePool", x)
        if b.chance(0.6)
        else b.op("ReduceMean", x, attributes={"axes": tuple(range(2, len(b.shape(x)))), "keepdims": 1})
    )
    inner = max(2, channels // b.pick([4, 8, 16]))
    for out, activation in ((inner, "Relu"), (channels, b.pick(["Sigmoid", "HardSigmoid"]))):
        y = b.op("Conv", y, b.weight(out, b.shape(y)[1], *ones), b.weight(out), attributes={"kernel_shape": ones})
        y = b.op(activation, y)
    return b.op("Mul", *b.shuffled(x, y))


def shuffle(b: Builder, x: str, groups: int) -> str:
    """Groups of channels change places."""
    batch, channels, *spatial = b.shape(x)
    y = b.reshape(x, batch, groups, channels // groups, *spatial)
    y = b.transpose(y, 0, 2, 1, *range(3, 3 + len(spatial)))
    return b.reshape(y, batch, channels, *spatial)


def batch_norm(b: Builder, x: str) -> str:
    """Batch normalisation that stands alone."""
    channels = b.shape(x)[1]
    return b.op("BatchNormalization", x, *(b.weight(channels) for _ in range(3)), b.constant([1.0] * channels))


def group_norm(b: Builder, x: str) -> str:
    """Normalisation over groups of channels, as exporters spell it out."""
    shape = b.shape(x)
    fitting = [g for g in (1, 4, 8, 16, 32) if shape[1] % g == 0]
    groups = b.pick(fitting)
    y = b.reshape(x, shape[0], groups, -1)
    y = b.op("InstanceNormalization", y, b.constant([1.0] * groups), b.constant([0.0] * groups))
    y = b.reshape(y, *shape)
    ones = (1,) * (len(shape) - 2)
    return b.op("Add", b.op("Mul", y, b.weight(shape[1], *ones)), b.weight(shape[1], *ones))


def instance_norm(b: Builder, x: str) -> str:
    """Every channel of every image for itself."""
    return b.op("InstanceNormalization", x, b.weight(b.shape(x)[1]), b.weight(b.shape(x)[1]))


def layer_norm(b: Builder, x: str) -> str:
    """Layer normalisation over the last axis: the operator, or what older exporters write."""
    width = b.shape(x)[-1]
    if b.chance(0.6):
        return b.op("LayerNormalization", x, b.weight(width), b.weight(width), attributes={"axis": -1, "epsilon": 1e-5})
    centred = b.op("Sub", x, b.op("ReduceMean", x, attributes={"axes": (-1,)}))
    variance = b.op("ReduceMean", b.op("Pow", centred, b.constant(2.0)), attributes={"axes": (-1,)})
    deviation = b.op("Sqrt", b.op("Add", variance, b.constant(1e-5)))
    return b.op("Add", b.op("Mul", b.op("Div", centred, deviation), b.weight(width)), b.weight(width))


def rms_norm(b: Builder, x: str) -> str:
    """Root mean square normalisation over the last axis."""
    square = b.op("ReduceMean", b.op("Pow", x, b.constant(2.0)), attributes={"axes": (-1,)})
    root = b.op("Sqrt", b.op("Add", square, b.constant(1e-5)))
    if b.chance(0.5):
        return b.op("Mul", b.weight(b.shape(x)[-1]), b.op("Mul", x, b.op("Reciprocal", root)))
    return b.op("Mul", b.op("Div", x, root), b.weight(b.shape(x)[-1]))
