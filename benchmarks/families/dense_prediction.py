"""Families that answer for every place of an image: U-Nets and detectors.

Each function writes down one random member and gives the names of its outputs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.families.builder import Net
from benchmarks.families.drawing import chosen, image

Rng = np.random.Generator


def unet(net: Net, rng: Rng) -> list[str]:
    """Down by pooling or strides, up by transposed convolutions or resizing, with skips (Ronneberger et al. 2015, figure 1)."""
    base, up, act = (
        chosen(rng, (8, 12, 16, 24, 32)),
        chosen(rng, ("transposed", "nearest", "linear")),
        chosen(rng, ("relu", "leaky", "silu")),
    )
    levels = chosen(rng, (2, 3, 4))
    x = image(net, rng, (32, 64, 96, 128, 160))
    skips = []
    for level in range(levels):
        for _ in range(2):
            x = net.conv(x, base * 2**level, 3, activation=act)
        skips.append(x)
        x = net.pool(x, "MaxPool", 2, 2)
    x = net.conv(x, base * 2**levels, 3, activation=act)
    for level in reversed(range(levels)):
        width = base * 2**level
        x = (
            net.conv_transpose(x, width)
            if up == "transposed"
            else net.conv(net.resize(x, 2, up), width, activation=act)
        )
        x = net.concat([skips[level], x])
        for _ in range(2):
            x = net.conv(x, width, 3, activation=act)
    return [net.activation(net.conv(x, chosen(rng, (1, 4, 21))), "sigmoid")]


def detector(net: Net, rng: Rng) -> list[str]:
    """One-stage detectors: cross-stage partial stages, pyramid up and down, heads on three levels decoded to one list (Redmon and
    Farhadi 2018; Wang et al. 2020)."""
    width, depth, act = (
        chosen(rng, (8, 16, 24, 32)),
        chosen(rng, (1, 1, 2, 3)),
        chosen(rng, ("silu", "silu", "leaky", "relu")),
    )
    x = net.input("image", (1, 3, *(chosen(rng, (128, 160, 224, 320, 416)),) * 2))
    x = net.conv(x, width, 3, 2, activation=act)
    levels = []
    for stage in range(4):
        x = _partial(net, net.conv(x, width * 2 ** (stage + 1), 3, 2, activation=act), depth, act)
        levels.append(x)
    low, middle, high = levels[1:]
    channels = [net.shape(level)[1] for level in (low, middle, high)]
    pools = [high]
    for _ in range(3):
        pools.append(net.pool(pools[-1], "MaxPool", 5, 1, 2))
    high = net.conv(net.concat(pools), channels[1], activation=act)
    middle = net.conv(_partial(net, net.concat([net.resize(high, 2), middle]), depth, act), channels[0], activation=act)
    low = _partial(net, net.concat([net.resize(middle, 2), low]), depth, act)
    middle = _partial(net, net.concat([net.conv(low, channels[0], 3, 2, activation=act), middle]), depth, act)
    high = _partial(net, net.concat([net.conv(middle, channels[1], 3, 2, activation=act), high]), depth, act)
    fields, found = 5 + chosen(rng, (1, 20, 80)), []
    for level in (low, middle, high):
        n, _, rows, columns = net.shape(level)
        y = net.reshape(net.conv(level, 3 * fields), n, 3, fields, rows, columns)
        y = net.unary("Sigmoid", net.transpose(y, 0, 1, 3, 4, 2))
        found.append(
            net.reshape(net.binary("Mul", y, net.weight(1, 1, rows, columns, 1)), n, 3 * rows * columns, fields)
        )
    return [net.concat(found)]


def _partial(net: Net, x: str, depth: int, act: str) -> str:
    """Half of the channels through residual blocks, half past them."""
    width = max(8, net.shape(x)[1] // 2)
    past, x = net.conv(x, width, activation=act), net.conv(x, width, activation=act)
    for _ in range(depth):
        x = net.binary("Add", x, net.conv(net.conv(x, width, activation=act), width, 3, activation=act))
    return net.conv(net.concat([x, past]), 2 * width, activation=act)
