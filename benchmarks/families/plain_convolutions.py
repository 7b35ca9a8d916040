"""Families of convolutional networks for servers: VGG, ResNet, SqueezeNet, DenseNet, ConvNeXt.

Each function writes down one random member and gives the names of its outputs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.families.builder import Net
from benchmarks.families.drawing import chosen, image, scaled

Rng = np.random.Generator


def vgg(net: Net, rng: Rng) -> list[str]:
    """3×3 convolutions and pooling, two or three fully connected layers (Simonyan and Zisserman 2015, table 1)."""
    x = image(net, rng, (32, 48, 64, 96, 112, 160, 224))
    factor = chosen(rng, (0.125, 0.25, 0.375, 0.5, 0.75, 1.0))
    for width, repeats in zip(
        (64, 128, 256, 512, 512), chosen(rng, ((1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3))), strict=True
    ):
        for _ in range(repeats):
            x = net.conv(x, scaled(width, factor), 3, activation="relu")
        if net.shape(x)[-1] > 1:
            x = net.pool(x, "MaxPool", 2, 2)
    x = net.flatten(x)
    for width in chosen(rng, ((512,), (1024, 512), (2048, 1024))):
        x = net.activation(net.linear(x, width), "relu")
    return [net.linear(x, chosen(rng, (10, 100, 1000)))]


def resnet(net: Net, rng: Rng) -> list[str]:
    """Residual networks of basic or bottleneck blocks (He et al. 2016, table 1), bottlenecks also grouped (Xie et al. 2017)."""
    bottleneck = rng.random() < 0.5
    group = chosen(rng, (1, 1, 1, 8, 32)) if bottleneck else 1
    factor = chosen(rng, (0.25, 0.5, 0.75, 1.0))
    x = image(net, rng, (32, 64, 96, 128, 160, 224))
    large = net.shape(x)[-1] > 64
    x = net.conv(x, scaled(64, factor), 7 if large else 3, 2 if large else 1, activation="relu")
    if large:
        x = net.pool(x, "MaxPool", 3, 2, 1)
    depths = chosen(rng, ((1, 1, 1, 1), (2, 2, 2, 2), (3, 4, 6, 3)))
    for stage, depth in enumerate(depths):
        width = scaled(64 * 2**stage, factor, 32 if group > 1 else 8)
        for block in range(depth):
            stride = 2 if stage and not block else 1
            out = 4 * width if bottleneck else width
            if bottleneck:
                y = net.conv(x, width, activation="relu")
                y = net.conv(y, width, 3, stride, group=group, activation="relu")
                y = net.conv(y, out)
            else:
                y = net.conv(net.conv(x, width, 3, stride, activation="relu"), out, 3)
            if stride == 2 or net.shape(x)[1] != out:
                x = net.conv(x, out, 1, stride)
            x = net.activation(net.binary("Add", y, x), "relu")
    return [net.linear(net.flatten(net.global_pool(x)), chosen(rng, (10, 100, 1000)))]


def squeezenet(net: Net, rng: Rng) -> list[str]:
    """Fire modules, some with a bypass (Iandola et al. 2016, section 3)."""
    factor, bypass = chosen(rng, (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)), rng.random() < 0.3
    x = image(net, rng, (48, 64, 96, 128, 160, 224, 288))
    x = net.conv(x, scaled(64, factor), chosen(rng, (3, 7)), 2, activation="relu")
    for squeezed in ((16, 16), (32, 32), (48, 48, 64, 64)):
        x = net.pool(x, "MaxPool", 3, 2, 1)
        for width in squeezed:
            before = x
            x = net.conv(x, scaled(width, factor), activation="relu")
            paths = [net.conv(x, scaled(4 * width, factor), k, activation="relu") for k in (1, 3)]
            x = net.concat(paths)
            if bypass and net.shape(before) == net.shape(x):
                x = net.binary("Add", x, before)
    x = net.conv(x, chosen(rng, (10, 100, 1000)), activation="relu")
    return [net.flatten(net.global_pool(x))]


def densenet(net: Net, rng: Rng) -> list[str]:
    """Every layer reads all before it in its block; norms before the convolutions stay (Huang et al. 2017, table 1)."""
    growth, bottleneck = chosen(rng, (8, 12, 16, 24, 32)), rng.random() < 0.7
    x = image(net, rng, (32, 48, 64, 96, 128, 160))
    large = net.shape(x)[-1] > 64
    x = net.conv(x, 2 * growth, 7 if large else 3, 2 if large else 1, activation="relu")
    if large:
        x = net.pool(x, "MaxPool", 3, 2, 1)
    depths = chosen(rng, ((3, 3, 3), (4, 8, 6), (6, 6, 6, 6), (6, 12, 16, 8)))
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            y = net.activation(net.batch_norm(x), "relu")
            if bottleneck:
                y = net.conv(y, 4 * growth, activation="relu")
            x = net.concat([x, net.conv(y, growth, 3)])
        x = net.activation(net.batch_norm(x), "relu")
        if stage + 1 < len(depths):
            x = net.pool(net.conv(x, net.shape(x)[1] // 2), "AveragePool", 2, 2)
    return [net.linear(net.flatten(net.global_pool(x)), chosen(rng, (10, 100, 1000)))]


def convnext(net: Net, rng: Rng) -> list[str]:
    """Depthwise 7×7, norm and inverted bottleneck along the last axis (Liu et al. 2022, figure 4)."""
    spelt_out, gelu = rng.random() < 0.5, chosen(rng, ("gelu", "gelu", "tanh_gelu"))
    width, depths = chosen(rng, (16, 24, 32, 48, 64, 96)), chosen(rng, ((1, 1, 2, 1), (2, 2, 6, 2), (3, 3, 9, 3)))

    def norm(x: str) -> str:
        """Of channels first."""
        y = net.layer_norm(net.transpose(x, 0, 2, 3, 1), spelt_out=spelt_out)
        return net.transpose(y, 0, 3, 1, 2)

    x = norm(net.conv(image(net, rng, (32, 64, 96, 128, 160, 224)), width, 4, 4, padding=0))
    for stage, depth in enumerate(depths):
        if stage and net.shape(x)[-1] > 1:
            x = net.conv(norm(x), width * 2**stage, 2, 2, padding=0)
        width_now = net.shape(x)[1]
        for _ in range(depth):
            y = net.transpose(net.conv(x, width_now, 7, group=width_now), 0, 2, 3, 1)
            y = net.dense(net.layer_norm(y, spelt_out=spelt_out), 4 * width_now)
            y = net.dense(net.activation(y, gelu), width_now)
            y = net.transpose(net.binary("Mul", y, net.weight(width_now)), 0, 3, 1, 2)
            x = net.binary("Add", x, y)
    x = net.layer_norm(net.flatten(net.global_pool(x)), spelt_out=spelt_out)
    return [net.linear(x, chosen(rng, (10, 100, 1000)))]
