"""Families for sequences: recurrent networks and 1-D convolutional networks for sound.

Each function writes down one random member and gives the names of its outputs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.families.builder import Net
from benchmarks.families.drawing import BATCHES, chosen, scaled

Rng = np.random.Generator


def recurrent(net: Net, rng: Rng) -> list[str]:
    """Stacked LSTMs or GRUs over tokens or features, forward or in both directions, that tag every step or classify."""
    kind, directions = chosen(rng, ("LSTM", "GRU")), chosen(rng, (1, 2))
    hidden, steps, n = (
        chosen(rng, (32, 64, 96, 128, 192, 256, 384, 512)),
        chosen(rng, (8, 16, 32, 64, 128)),
        chosen(rng, BATCHES),
    )
    if rng.random() < 0.5:
        ids = net.input("ids", (n, steps), "int64")
        x = net.transpose(net.gather(net.weight(chosen(rng, (500, 5000)), chosen(rng, (32, 64, 128))), ids), 1, 0, 2)
    else:
        x = net.transpose(net.input("features", (n, steps, chosen(rng, (13, 40, 80)))), 1, 0, 2)
    for _ in range(chosen(rng, (1, 2, 3))):
        x = net.recurrent(x, kind, hidden, directions)
    if rng.random() < 0.5:
        last = net.gather(x, net.constant(-1, "int64"))
        return [net.linear(last, chosen(rng, (2, 12, 35)))]
    scores = net.dense(net.transpose(x, 1, 0, 2), chosen(rng, (29, 64, 200)))
    return [net.add("LogSoftmax", [scores], net.shape(scores), {"axis": -1})]


def audio(net: Net, rng: Rng) -> list[str]:
    """Convolutions over samples (Dai et al. 2017), dilated residual ones (Bai et al. 2018), or separable ones over spectra
    (Kriman et al. 2020)."""
    n, factor = chosen(rng, BATCHES), chosen(rng, (0.25, 0.5, 1.0, 1.5))
    style = chosen(rng, ("samples", "dilated", "separable"))
    if style == "samples":
        x = net.input("samples", (n, 1, chosen(rng, (4000, 8000, 16_000, 32_000))))
        x = net.conv(x, scaled(64, factor), chosen(rng, (11, 39, 79)), 4, activation="relu")
        for i, repeats in enumerate(chosen(rng, ((1, 1, 1), (2, 2, 2), (2, 3, 4)))):
            x = net.pool(x, "MaxPool", 4, 4)
            for _ in range(repeats):
                x = net.conv(x, scaled(64 * 2**i, factor), 3, activation="relu")
    elif style == "dilated":
        x = net.conv(
            net.input("features", (n, chosen(rng, (20, 40, 80)), chosen(rng, (100, 200, 400, 1000)))),
            scaled(128, factor),
        )
        for i in range(chosen(rng, (3, 5, 8))):
            y = net.conv(
                x, net.shape(x)[1], 3, dilation=2 ** (i % 5), activation=chosen(rng, ("relu", "silu", "leaky"))
            )
            x = net.activation(net.binary("Add", x, net.conv(y, net.shape(x)[1])), "relu")
    else:
        x = net.input("spectrum", (n, chosen(rng, (40, 64, 80)), chosen(rng, (100, 200, 400, 800))))
        x = net.conv(x, scaled(128, factor), 11, 2, activation="relu")
        for kernel in chosen(rng, ((13, 15), (13, 15, 17), (33, 39, 51, 63))):
            before, width = x, scaled(256, factor)
            for _ in range(2):
                x = net.conv(net.conv(x, net.shape(x)[1], kernel, group=net.shape(x)[1]), width, activation="relu")
            x = net.activation(net.binary("Add", x, net.conv(before, width)), "relu")
    if rng.random() < 0.4:
        return [net.unary("Sigmoid", net.conv(x, chosen(rng, (1, 29, 64))))]
    pooled = net.mean(x, 2, keep=False) if rng.random() < 0.5 else net.flatten(net.global_pool(x))
    return [net.softmax(net.linear(pooled, chosen(rng, (10, 35))))]
