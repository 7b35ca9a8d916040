"""Families of convolutional networks for small devices: MobileNet V1 and V2, MobileNet V3, ShuffleNet V1 and V2.

Each function writes down one random member and gives the names of its outputs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.families.builder import Net
from benchmarks.families.drawing import chosen, image, scaled

Rng = np.random.Generator

SIZES = (64, 96, 128, 160, 192, 224, 256)


def mobilenet(net: Net, rng: Rng) -> list[str]:
    """Separable convolutions (Howard et al. 2017, table 1) or inverted residuals (Sandler et al. 2018, table 2)."""
    factor, relu = chosen(rng, (0.25, 0.35, 0.5, 0.75, 1.0, 1.4)), chosen(rng, ("relu6", "relu"))
    x = net.conv(image(net, rng, SIZES), scaled(32, factor), 3, 2, activation=relu)
    if rng.random() < 0.5:
        for width, stride in zip(
            (64, 128, 128, 256, 256, *(512,) * 6, 1024), (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2), strict=True
        ):
            x = net.conv(x, net.shape(x)[1], 3, stride, group=net.shape(x)[1], activation=relu)
            x = net.conv(x, scaled(width, factor), activation=relu)
    else:
        rows = (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        )
        for expansion, width, blocks, first in rows:
            for block in range(blocks):
                stride = first if block == 0 else 1
                x = _inverted_residual(net, x, expansion * net.shape(x)[1], scaled(width, factor), 3, stride, relu)
        x = net.conv(x, scaled(1280, max(1.0, factor)), activation=relu)
    return [net.linear(net.flatten(net.global_pool(x)), chosen(rng, (10, 100, 1000)))]


def mobilenet_v3(net: Net, rng: Rng) -> list[str]:
    """Hard swish, squeeze-and-excitation (Howard et al. 2019, tables 1 and 2), or swish throughout (Tan and Le 2019)."""
    factor, swish = chosen(rng, (0.35, 0.5, 0.75, 1.0, 1.25)), chosen(rng, ("hardswish", "hardswish", "silu"))
    x = net.conv(image(net, rng, SIZES), scaled(16, factor), 3, 2, activation=swish)
    small = (
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1), (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1),
    )  # fmt: skip
    large = (
        (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1), (5, 72, 40, True, False, 2),
        (5, 120, 40, True, False, 1), (3, 240, 80, False, True, 2), (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1),
        (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1),
    )  # fmt: skip
    for kernel, hidden, width, excite, curved, stride in chosen(rng, (small, large)):
        act = "silu" if swish == "silu" else swish if curved else "relu"
        x = _inverted_residual(
            net, x, scaled(hidden, factor), scaled(width, factor), kernel, stride, act, excite=excite
        )
    x = net.conv(x, scaled(576, factor), activation=swish)
    x = net.activation(net.linear(net.flatten(net.global_pool(x)), scaled(1024, factor)), swish)
    return [net.linear(x, chosen(rng, (10, 100, 1000)))]


def shufflenet(net: Net, rng: Rng) -> list[str]:
    """Channels shuffled between grouped convolutions (Zhang et al. 2018, table 1) or between halves (Ma et al. 2018, table 5)."""
    groups, factor = chosen(rng, (1, 1, 2, 3, 4)), chosen(rng, (0.5, 1.0, 1.5, 2.0))
    x = net.conv(image(net, rng, SIZES), 24, 3, 2, activation="relu")
    x = net.pool(x, "MaxPool", 3, 2, 1)
    for width, blocks in zip((96, 192, 384), chosen(rng, ((2, 4, 2), (4, 8, 4))), strict=True):
        out = scaled(width, factor, 8 * groups)
        for block in range(blocks):
            unit = _shuffle_v2 if groups == 1 else _shuffle_v1
            x = unit(net, x, out, max(2, groups), 2 if block == 0 else 1)
    x = net.conv(x, chosen(rng, (512, 1024)), activation="relu")
    return [net.linear(net.flatten(net.mean(x, 2, 3)), chosen(rng, (10, 100, 1000)))]


def _inverted_residual(
    net: Net, x: str, hidden: int, width: int, kernel: int, stride: int, act: str, *, excite: bool = False
) -> str:
    y = x if hidden == net.shape(x)[1] else net.conv(x, hidden, activation=act)
    y = net.conv(y, hidden, kernel, stride, group=hidden, activation=act)
    if excite:
        squeezed = net.conv(net.global_pool(y), scaled(hidden, 0.25), activation="silu" if act == "silu" else "relu")
        gate = net.conv(squeezed, hidden)
        y = net.binary("Mul", net.unary("Sigmoid" if act == "silu" else "HardSigmoid", gate), y)
    y = net.conv(y, width)
    return net.binary("Add", x, y) if net.shape(x) == net.shape(y) else y


def _shuffled(net: Net, x: str, groups: int) -> str:
    n, channels, height, width = net.shape(x)
    x = net.transpose(net.reshape(x, n, groups, channels // groups, height, width), 0, 2, 1, 3, 4)
    return net.reshape(x, n, channels, height, width)


def _shuffle_v1(net: Net, x: str, width: int, groups: int, stride: int) -> str:
    channels = net.shape(x)[1]
    hidden, out = scaled(width, 0.25, groups * 4), width - channels if stride == 2 else width
    y = net.conv(x, hidden, group=groups if channels % groups == 0 else 1, activation="relu")
    y = net.conv(_shuffled(net, y, groups), hidden, 3, stride, group=hidden)
    y = net.conv(y, out, group=groups if out % groups == 0 else 1)
    if stride == 2:
        return net.activation(net.concat([net.pool(x, "AveragePool", 3, 2, 1), y]), "relu")
    return net.activation(net.binary("Add", x, y), "relu")


def _shuffle_v2(net: Net, x: str, width: int, groups: int, stride: int) -> str:
    half = width // 2
    left, right = net.split(x, 2) if stride == 1 else (x, x)
    if stride == 2:
        channels = net.shape(x)[1]
        left = net.conv(net.conv(left, channels, 3, 2, group=channels), half, activation="relu")
        right = net.conv(right, half, activation="relu")
    else:
        right = net.conv(right, half, activation="relu")
    right = net.conv(net.conv(right, half, 3, stride, group=half), half, activation="relu")
    return _shuffled(net, net.concat([left, right]), groups)
