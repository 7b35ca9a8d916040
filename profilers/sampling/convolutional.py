"""Random convolutional networks over two axes (images) or one (sound): random blocks at falling, and at times rising, sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from devices.kernels import Attribute
from profilers.sampling import parts
from profilers.sampling.builder import Builder

KERNELS = (1, 3, 5, 7, 9, 11)
_USUAL = {2: (2, 10, 2, 0.7, 0.2, 0.1), 1: (2, 6, 3, 2, 1, 1)}
_SEPARATE = (3, 3, 3, 5, 5, 7)
_LEAST, _MULTIPLE = 3, 8


@dataclass(frozen=True)
class Style:
    """What the blocks of one network have in common.

    Attributes:
        axes: 2 for images, 1 for sound.
        activation: see :mod:`profilers.sampling.parts`.
        kernels: sizes to draw from.
        normalise: whether batch normalisations stand alone (the exporter folds those behind a convolution).
        block: how blocks are made.
    """

    axes: int
    activation: str
    kernels: tuple[int, ...]
    normalise: bool
    block: tuple[Block, ...]


Block = Callable[[Builder, str, Style, int, int], str]
"""(builder, tensor, style, width, stride) → tensor of about that width."""


def network(b: Builder, axes: int, batch: int, *, small: bool) -> None:
    """Draw a network. ``small`` ones begin with fewer positions and channels."""
    stem, pooled = b.pick([1, 2, 4], [0.3, 0.6, 0.1]), b.chance(0.25)
    strides = [1 if stage == 0 and b.chance(0.6) else 2 for stage in range(b.integer(1, 5))]
    channels = b.pick([1, 3, b.width(2, 96)], [0.2, 0.6, 0.2])
    x = b.input(batch, channels, *_positions(b, axes, stem * (1 + pooled) * math.prod(strides), small=small))
    kernels = tuple(b.pick(KERNELS, _USUAL[axes]) for _ in range(b.integer(1, 3)))
    blocks = tuple(b.pick(BLOCKS, WEIGHTS) for _ in range(b.integer(1, 3)))
    style = Style(axes, parts.draw_activation(b), kernels, b.chance(0.2), blocks)
    width = b.width(8, 32 if small else 96)
    x = _convolution(b, x, style, width, stride=stem, kernel=b.pick(KERNELS[1:], _USUAL[axes][1:]))
    if pooled:
        x = _pool(b, x, style, 2)
    for stride in strides:
        width = min(
            1024,
            width
            if stride == 1
            else b.pick([width, _MULTIPLE * math.ceil(width * 1.5 / _MULTIPLE), 2 * width, 2 * width]),
        )
        for i in range(b.integer(1, 6)):
            x = b.pick(style.block)(b, x, style, width, stride if i == 0 else 1)
            width = b.shape(x)[1]
            if width > 1500:
                x = _convolution(b, x, style, width // 4, kernel=1)
    if b.chance(0.2):
        for _ in range(b.integer(1, 2)):
            x = _grow(b, x, style)
    _head(b, x, style)


def _positions(b: Builder, axes: int, shrinking: int, *, small: bool) -> tuple[int, ...]:
    """How many there are along each axis: mostly a multiple of what the network shrinks them by, at times any number."""
    if axes == 1:
        return (shrinking * b.integer(_LEAST, max(_LEAST, (2_000 if small else 32_000) // shrinking)),)
    side = b.integer(_LEAST, max(_LEAST, (96 if small else 320) // shrinking))
    other = max(_LEAST, round(side * b.rng.uniform(0.5, 3))) if b.chance(0.2) else side
    odd = b.integer(1, shrinking) - 1 if b.chance(0.15) else 0
    return shrinking * side + odd, shrinking * other + odd


def _head(b: Builder, x: str, style: Style) -> None:
    """Classes of the whole, or a value at every position."""
    if b.chance(0.25):
        _convolution(b, x, style, b.integer(1, 64), kernel=1, activation="")
        return
    if b.chance(0.2):
        x = _convolution(b, x, style, b.width(64, 1280), kernel=1)
    spatial = b.shape(x)[2:]
    if b.chance(0.75) or b.shape(x)[1] * math.prod(spatial) > 8192:
        if b.chance(0.6):
            x = b.op("GlobalAveragePool", x)
        else:
            x = b.op("ReduceMean", x, attributes={"axes": tuple(range(2, 2 + style.axes)), "keepdims": 0})
    x = b.op("Flatten", x, attributes={"axis": 1})
    for _ in range(b.pick([0, 1, 2], [0.6, 0.2, 0.2])):
        x = parts.activate(b, b.linear(x, b.width(32, 2048)), "Relu")
    x = b.linear(x, b.pick([10, 100, 1000, b.integer(2, 2000)]))
    if b.chance(0.3):
        b.op("Softmax", x, attributes={"axis": -1})


def _convolution(
    b: Builder,
    x: str,
    style: Style,
    width: int,
    *,
    kernel: int | None = None,
    stride: int = 1,
    group: int = 1,
    activation: str | None = None,
    valid: bool = False,
) -> str:
    channels, spatial = b.shape(x)[1], b.shape(x)[2:]
    shape = tuple(b.pick(style.kernels) if kernel is None else kernel for _ in spatial)
    if kernel is None and len(spatial) == 2:
        shape = (shape[0], 1 if b.chance(0.02) else shape[0] if b.chance(0.9) else shape[1])
    shape = tuple(min(k, s + s % 2 - 1) for k, s in zip(shape, spatial, strict=True))
    dilation = 2 if b.chance(0.04) and min(spatial) > 8 and max(shape) > 1 else 1
    pads = tuple(dilation * (k - 1) // 2 for k in shape)
    if valid:
        pads = tuple(0 if s > 2 * dilation * k else p for k, s, p in zip(shape, spatial, pads, strict=True))
    weight = b.weight(width, channels // group, *shape)
    y = b.op(
        "Conv",
        x,
        weight,
        *([] if b.chance(0.15) else [b.weight(width)]),
        attributes={
            "kernel_shape": shape,
            "strides": tuple(min(stride, s) for s in spatial),
            "pads": pads * 2,
            "dilations": (dilation,) * len(spatial),
            "group": group,
        },
    )
    if style.normalise and b.chance(0.5):
        y = parts.batch_norm(b, y) if b.chance(0.85) else parts.group_norm(b, y)
    return parts.activate(b, y, style.activation if activation is None else activation)


def _plain(b: Builder, x: str, style: Style, width: int, stride: int) -> str:
    for i in range(b.integer(1, 3)):
        x = _convolution(b, x, style, width, stride=stride if i == 0 else 1, valid=b.chance(0.1))
    return x


def _residual(b: Builder, x: str, style: Style, width: int, stride: int) -> str:
    inner = max(4, width // b.pick([1, 1, 2, 4]))
    y = _convolution(b, x, style, inner, kernel=1) if inner < width else x
    group = b.pick([1, 1, 1, *(g for g in (2, 4, 8, 32) if inner % g == 0 and b.shape(y)[1] % g == 0)])
    y = _convolution(b, y, style, inner, stride=stride, group=group)
    if b.chance(0.3):
        y = parts.gate(b, y)
    y = _convolution(b, y, style, width, kernel=1 if inner < width else None, activation="")
    if b.shape(x) != b.shape(y):
        x = _convolution(b, x, style, width, kernel=1, stride=stride, activation="")
    if b.shape(x) != b.shape(y):
        return y
    return parts.activate(b, b.op("Add", *b.shuffled(x, y)), style.activation if b.chance(0.8) else "")


def _inverted(b: Builder, x: str, style: Style, width: int, stride: int) -> str:
    wide = min(1536, b.pick([1, 2, 3, 4, 6]) * b.shape(x)[1])
    y = _convolution(b, x, style, wide, kernel=1)
    y = _convolution(b, y, style, wide, stride=stride, group=wide, kernel=b.pick(_SEPARATE))
    if b.chance(0.4):
        y = parts.gate(b, y)
    y = _convolution(b, y, style, width, kernel=1, activation="")
    return b.op("Add", *b.shuffled(x, y)) if b.shape(x) == b.shape(y) else y


def _separable(b: Builder, x: str, style: Style, width: int, stride: int) -> str:
    channels = b.shape(x)[1]
    y = _convolution(b, x, style, channels, stride=stride, group=channels, kernel=b.pick(_SEPARATE))
    return _convolution(b, y, style, width, kernel=1)


def _growing(b: Builder, x: str, style: Style, width: int, stride: int) -> str:
    """Results are put beside what came in."""
    if stride > 1:
        x = _pool(b, _convolution(b, x, style, width, kernel=1), style, 2)
    growth = b.width(8, 64)
    for _ in range(b.integer(1, 6)):
        y = parts.activate(b, parts.batch_norm(b, x), style.activation) if b.chance(0.7) else x
        if b.chance(0.6):
            y = _convolution(b, y, style, growth * b.pick([2, 4]), kernel=1)
        y = _convolution(b, y, style, growth, activation="")
        x = b.op("Concat", x, y, attributes={"axis": 1})
    return x


def _branches(b: Builder, x: str, style: Style, width: int, stride: int) -> str:
    if stride > 1:
        x = _pool(b, x, style, 2)
    if b.chance(0.5):
        x = _convolution(b, x, style, max(4, width // b.pick([2, 4, 8])), kernel=1)
    branches = []
    for _ in range(b.integer(2, 4)):
        y = x if b.chance(0.5) else _convolution(b, x, style, max(4, width // 4), kernel=1)
        if b.chance(0.15):
            y = _pool(b, y, style, 1)
        branches.append(_convolution(b, y, style, max(4, width // b.pick([2, 4]))))
    return b.op("Concat", *branches, attributes={"axis": 1})


def _shuffled(b: Builder, x: str, style: Style, width: int, stride: int) -> str:
    """Groups of channels that change places, each worked on for itself; or halves, one of which is worked on."""
    if stride > 1 or b.shape(x)[1] % 4:
        return _convolution(b, x, style, max(8, width - width % 8), stride=stride)
    channels = b.shape(x)[1]
    if b.chance(0.5):
        groups = b.pick([g for g in (2, 3, 4, 8) if channels % g == 0])
        y = parts.shuffle(b, _convolution(b, x, style, channels, kernel=1, group=groups), groups)
        y = _convolution(b, y, style, channels, group=channels, kernel=b.pick((3, 5)), activation="")
        y = _convolution(b, y, style, channels, kernel=1, group=groups, activation="")
        return parts.activate(b, b.op("Add", x, y), style.activation)
    half = channels // 2
    left, right = b.ops("Split", x, b.constant([half, half], "int64"), attributes={"axis": 1}, outputs=2)
    right = _convolution(b, right, style, half, kernel=1)
    right = _convolution(b, right, style, half, group=half, kernel=b.pick((3, 5)), activation="")
    right = _convolution(b, right, style, half, kernel=1)
    return parts.shuffle(b, b.op("Concat", left, right, attributes={"axis": 1}), 2)


def _channels_last(b: Builder, x: str, style: Style, width: int, stride: int) -> str:
    """A wide depthwise convolution, and a perceptron at every position with the channels as the last axis."""
    if stride > 1 or b.shape(x)[1] != width:
        x = _convolution(b, x, style, width, kernel=max(2, stride), stride=stride, activation="")
        width = b.shape(x)[1]
    y = _convolution(b, x, style, width, group=width, kernel=b.pick((3, 5, 7, 9)), activation="")
    last = (0, *range(2, 2 + style.axes), 1)
    y = parts.layer_norm(b, b.transpose(y, *last))
    y = parts.activate(b, b.linear(y, width * b.pick([2, 4])), "GELU")
    y = b.linear(y, width)
    if b.chance(0.6):
        y = b.op("Mul", b.weight(width), y)
    y = b.transpose(y, 0, style.axes + 1, *range(1, style.axes + 1))
    return b.op("Add", x, y) if b.shape(x) == b.shape(y) else y


def _pool(b: Builder, x: str, style: Style, stride: int) -> str:
    k = b.pick([2, 3, 3, 5]) if stride > 1 else 3
    k = min(k, *b.shape(x)[2:])
    if stride == 1 and k % 2 == 0:
        return x
    attributes = {
        "kernel_shape": (k,) * style.axes,
        "strides": (min(stride, *b.shape(x)[2:]),) * style.axes,
        "pads": ((k - 1) // 2,) * 2 * style.axes,
    }
    return b.op(b.pick(["MaxPool", "AveragePool"], [0.7, 0.3]), x, attributes=attributes)


def _grow(b: Builder, x: str, style: Style) -> str:
    """More positions again."""
    channels = b.shape(x)[1]
    if b.chance(0.5):
        k = b.pick([2, 4])
        attributes = {
            "kernel_shape": (k,) * style.axes,
            "strides": (2,) * style.axes,
            "pads": ((k - 2) // 2,) * 2 * style.axes,
        }
        width = max(4, channels // 2)
        y = b.op(
            "ConvTranspose", x, b.weight(channels, width, *(k,) * style.axes), b.weight(width), attributes=attributes
        )
        return parts.activate(b, y, style.activation)
    mode = b.pick(["nearest", "linear"], [0.7, 0.3])
    how: dict[str, Attribute] = {
        "mode": mode,
        "coordinate_transformation_mode": "asymmetric" if mode == "nearest" else "half_pixel",
    }
    if mode == "nearest":
        how["nearest_mode"] = "floor"
    y = b.op("Resize", x, "", b.constant([1.0, 1.0, *(2.0,) * style.axes]), attributes=how)
    return _convolution(b, y, style, max(4, channels // 2))


BLOCKS: tuple[Block, ...] = (
    _plain, _residual, _inverted, _separable, _growing, _branches, _shuffled, _channels_last,
)  # fmt: skip
WEIGHTS = (3, 3, 2, 1.5, 1.5, 1.5, 1, 1.5)
