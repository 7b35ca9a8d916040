"""Many layers with weights side by side in one model: what most of the time of most networks goes to, in all sizes.

A convolution or a product that takes long does so wherever it stands, so that this is the quickest way to see many. Some have
behind them what runs in a convolution's own layout only there: sums of two, pools, more positions.
"""

from __future__ import annotations

import math

from profilers.sampling import parts
from profilers.sampling.builder import Builder

LAYERS = 20
MACS = 2e4, 5e8
_LEAST = 2e6
_SIDE, _LENGTH, _LONGEST, _FEWEST = 256, 16_000, 160_000, 3
_RATIOS = (1.0, 2.0, 4.0, 6.0, 0.5, 0.25, 0.17)
_USUAL_RATIOS = (4, 2, 1, 0.5, 1.5, 1, 0.5)
_WINDOWS = {2: (2, 3, 4, 5, 7, 9, 11), 1: (2, 3, 4, 5, 7, 9, 11, 15, 17, 31)}
_USUAL_WINDOWS = {2: (0.2, 8, 0.2, 2, 1, 0.2, 0.1), 1: (0.3, 4, 0.3, 2, 1, 1, 0.7, 0.7, 0.7, 0.5)}
_GROWN = 300_000  # elements that are still made more
_ACTIVATIONS = ("", "Relu", "Clip", "SiLU", "HardSwish", "Sigmoid", "LeakyRelu", "GELU", "Tanh")
_USUAL = (4, 5, 1.5, 1, 0.5, 0.3, 0.5, 0.7, 0.3)


def network(b: Builder, batch: int) -> None:
    """Draw layers that share an activation function, each with an input of its own. Recurrent ones are among themselves: where a
    runtime lacks them, the others are not lost."""
    activation = b.pick(_ACTIVATIONS, _USUAL)
    convolutions = b.pick([0.0, 0.6, 1.0], [0.3, 0.2, 0.5])
    most = math.exp(b.rng.uniform(math.log(_LEAST), math.log(MACS[1])))  # weights stay in the caches, or do not
    recurrent = b.chance(0.08)
    for _ in range(LAYERS):
        macs = math.exp(b.rng.uniform(math.log(MACS[0]), math.log(most)))
        if recurrent:
            _recurrence(b, batch, macs)
        elif b.chance(convolutions):
            _convolution(b, batch, macs, activation)
        else:
            _product(b, batch, macs, activation)


def _convolution(b: Builder, batch: int, macs: float, activation: str) -> None:
    axes = b.pick([2, 1], [0.84, 0.16])
    sort = b.pick(["dense", "pointwise", "depthwise", "grouped"], [0.39, 0.3, 0.21, 0.1])
    k = b.pick(_WINDOWS[axes], _USUAL_WINDOWS[axes])
    if sort == "pointwise" or (sort == "grouped" and b.chance(0.4)):
        k = 1
    group, ratio = 1, b.pick(_RATIOS, _USUAL_RATIOS)
    if sort == "grouped":
        group = b.pick([2, 3, 4, 8, 16, 32], [3, 1, 2, 1, 1, 1])
    channels = b.width(8, 768)
    per_position = channels * 8 if sort == "depthwise" else channels**2 * ratio / group
    positions = macs / batch / (per_position * k**axes)
    if positions < _FEWEST**axes:  # fewer channels instead
        wanted = b.integer(_FEWEST, 3 * _FEWEST) ** axes
        channels = b.channels(channels * (positions / wanted) ** (1 if sort == "depthwise" else 0.5))
        positions = wanted
    if sort == "depthwise":
        group = width = channels
    else:
        channels, width = (max(1, round(b.channels(c) / group)) * group for c in (channels, channels * ratio))
        if group == 1 and b.chance(0.05 if axes == 2 else 0.2):  # the first of a network
            channels = b.pick([1, 3] if axes == 2 else [1, 1, 2])
            positions = macs / batch / (channels * width * k**axes)
    longest = _SIDE if axes == 2 else _LONGEST if channels < 3 else _LENGTH
    side = min(longest, max(1, round(positions ** (1 / axes))))
    if sort == "depthwise" and b.chance(0.1):
        side = b.integer(1, 6)  # mostly padding
    size = [side] * axes
    if axes == 2 and b.chance(0.15):
        size[1] = max(1, round(side * b.rng.uniform(0.3, 3)))
    stride = b.pick([1, 2], [0.75, 0.25])
    kernel = (k, k) if axes == 2 else (k,)
    if axes == 2 and k > 1 and b.chance(0.06):
        kernel = b.pick([(1, k), (k, 1)])
    if sort == "dense" and k > 1 and b.chance(0.08):
        k = b.pick([2, 3, 4])
        pads = (max(0, k - 2) // 2,) * axes + ((k - 1) // 2,) * axes
        how = {"kernel_shape": (k,) * axes, "strides": (2,) * axes, "pads": pads}
        x = b.input(batch, channels, *(max(1, s // 2) for s in size))
        parts.activate(
            b,
            b.op("ConvTranspose", x, b.weight(channels, width, *(k,) * axes), b.weight(width), attributes=how),
            activation,
        )
        return
    x = b.input(batch, channels, *(s * stride for s in size))
    y = b.op(
        "Conv",
        x,
        b.weight(width, channels // group, *kernel),
        b.weight(width),
        attributes={
            "kernel_shape": kernel,
            "strides": (stride,) * axes,
            "pads": tuple((i - 1) // 2 for i in kernel) + tuple(i // 2 for i in kernel),
            "group": group,
        },
    )
    if b.chance(0.15):
        y = b.op("Add", y, b.input(*b.shape(y)))
    elif group == 1 and b.chance(0.15):
        beside = {"kernel_shape": (1,) * axes, "strides": (stride,) * axes}
        other = b.op("Conv", x, b.weight(width, channels, *(1,) * axes), b.weight(width), attributes=beside)
        if b.chance(0.5):
            y, other = (parts.activate(b, t, activation) for t in (y, other))
        y = b.op("Add", *b.shuffled(y, other))
    y = parts.activate(b, y, activation)
    if axes == 2 and b.chance(0.06) and width % 4 == 0:
        parts.shuffle(b, y, b.pick([2, 4]))
    elif b.chance(0.1):
        parts.pool(b, y)
    elif b.chance(0.08) and math.prod(b.shape(y)) < _GROWN:
        parts.resize(b, y)


def _recurrence(b: Builder, batch: int, macs: float) -> None:
    """One recurrent layer, over several sequences more often than networks have."""
    kind, gates = b.pick([("LSTM", 4), ("GRU", 3)], [0.6, 0.4])
    batch, steps, directions = b.pick([1, 1, batch, 2, 4, 8]), b.integer(4, 256), b.pick([1, 2])
    ratio = b.pick([0.25, 0.5, 1.0, 2.0], [1, 1, 3, 2])
    each = macs / (directions * batch * gates * steps)
    width = b.channels(max(8.0, math.sqrt(each / (1 + ratio))))
    depth = b.channels(max(4.0, width * ratio))
    attributes: dict[str, int | str] = {"hidden_size": width}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    weights = (b.weight(directions, gates * width, n) for n in (depth, width))
    b.op(kind, b.input(steps, batch, depth), *weights, b.weight(directions, 2 * gates * width), attributes=attributes)


def _product(b: Builder, batch: int, macs: float, activation: str) -> None:
    depth, width = b.width(4, 3072), b.width(1, 3072)
    rows = max(1, round(macs / depth / width))
    if rows > 4096:
        rows = b.integer(64, 4096)
    match b.pick(["gemm", "vector", "tokens", "heads"], [0.3, 0.1, 0.38, 0.22]):
        case "gemm":
            y = b.linear(b.input(rows, depth), width)
        case "vector":
            rows, depth = b.pick([1, 1, batch]), b.width(4, 8192)
            y = b.linear(b.input(rows, depth), min(4096, max(1, round(macs / depth / rows))))
        case "tokens":
            y = b.linear(b.input(batch, max(1, rows // batch), depth), width)
        case _:
            heads, depth = b.integer(1, 16), b.pick([16, 32, 64, 80, 128])
            length = max(2, round(math.sqrt(macs / heads / depth / batch)))
            q, k = b.input(batch, heads, length, depth), b.input(batch, heads, depth, length)
            y = b.op("Softmax", b.op("MatMul", q, k), attributes={"axis": -1})
            b.op("MatMul", y, b.input(batch, heads, length, depth))
            return
    parts.activate(b, y, activation)
