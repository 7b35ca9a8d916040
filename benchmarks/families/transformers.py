"""Families of transformers: vision transformers and text encoders.

Each function writes down one random member and gives the names of its outputs.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.families.builder import Net
from benchmarks.families.drawing import BATCHES, chosen

Rng = np.random.Generator

WIDTHS = ((64, 2), (96, 3), (128, 2), (128, 4), (192, 3), (256, 4), (256, 8), (312, 12), (384, 6), (384, 12), (512, 8))
"""Width and number of heads."""


def vision_transformer(net: Net, rng: Rng) -> list[str]:
    """Patches as tokens, norms first, one product for queries, keys and values (Dosovitskiy et al. 2021)."""
    width, heads = chosen(rng, WIDTHS)
    patch, spelt_out, gelu = (
        chosen(rng, (8, 16, 16, 32)),
        rng.random() < 0.5,
        chosen(rng, ("gelu", "gelu", "tanh_gelu")),
    )
    size = patch * chosen(rng, (4, 6, 8, 10, 14))
    n = chosen(rng, BATCHES)
    x = net.conv(net.input("image", (n, 3, size, size)), width, patch, patch, padding=0)
    length = math.prod(net.shape(x)[2:])
    x = net.transpose(net.reshape(x, n, width, length), 0, 2, 1)
    pooled = rng.random() < 0.5
    if not pooled:
        x, length = net.concat([net.weight(n, 1, width), x]), length + 1
    x = net.binary("Add", x, net.weight(1, length, width))
    for _ in range(chosen(rng, (2, 3, 4, 6, 8, 12))):
        y = net.dense(net.layer_norm(x, spelt_out=spelt_out), 3 * width)
        y = net.transpose(net.reshape(y, n, length, 3, heads, width // heads), 2, 0, 3, 1, 4)
        queries, keys, values = (net.gather(y, net.constant(i, "int64")) for i in range(3))
        queries = net.binary("Mul", queries, net.constant((width // heads) ** -0.5))
        x = net.binary("Add", x, net.dense(_attended(net, queries, keys, values), width))
        y = net.dense(net.layer_norm(x, spelt_out=spelt_out), chosen(rng, (2, 4, 4)) * width)
        x = net.binary("Add", x, net.dense(net.activation(y, gelu), width))
    x = net.layer_norm(x, spelt_out=spelt_out)
    x = net.mean(x, 1, keep=False) if pooled else net.gather(x, net.constant(0, "int64"), axis=1)
    return [net.linear(x, chosen(rng, (10, 100, 1000)))]


def text_transformer(net: Net, rng: Rng) -> list[str]:
    """Token ids and a mask, norms last or first (Vaswani et al. 2017; Devlin et al. 2019), sometimes with mean pooling."""
    width, heads = chosen(rng, WIDTHS)
    n, length = chosen(rng, BATCHES), chosen(rng, (8, 16, 32, 64, 128, 256))
    spelt_out, first, gelu = rng.random() < 0.5, rng.random() < 0.3, chosen(rng, ("gelu", "gelu", "tanh_gelu", "relu"))
    ids, mask = (net.input(name, (n, length), "int64") for name in ("input_ids", "attention_mask"))
    x = net.gather(net.weight(chosen(rng, (1000, 4000, 16_000)), width), ids)
    if rng.random() < 0.5:
        kinds = net.input("token_type_ids", (n, length), "int64")
        x = net.binary("Add", x, net.gather(net.weight(2, width), kinds))
    x = net.binary("Add", x, net.weight(1, length, width))
    x = net.layer_norm(x, spelt_out=spelt_out)
    here = net.add("Unsqueeze", [mask, net.constant([1, 2], "int64")], (n, 1, 1, length))
    here = net.add("Cast", [here], (n, 1, 1, length), {"to": 1}, "float32")
    away = net.binary("Mul", net.binary("Sub", net.constant(1), here), net.constant(-10_000))
    inner = chosen(rng, (2, 4, 4)) * width
    for _ in range(chosen(rng, (1, 2, 3, 4, 6, 12))):
        y = net.layer_norm(x, spelt_out=spelt_out) if first else x
        queries, keys, values = (
            net.transpose(net.reshape(net.dense(y, width), n, length, heads, width // heads), 0, 2, 1, 3)
            for _ in range(3)
        )
        x = net.binary("Add", x, net.dense(_attended(net, queries, keys, values, away), width))
        y = x = x if first else net.layer_norm(x, spelt_out=spelt_out)
        y = net.layer_norm(y, spelt_out=spelt_out) if first else y
        x = net.binary("Add", x, net.dense(net.activation(net.dense(y, inner), gelu), width))
        x = x if first else net.layer_norm(x, spelt_out=spelt_out)
    if rng.random() < 0.5:
        weights = net.reshape(net.add("Cast", [mask], (n, length), {"to": 1}, "float32"), n, length, 1)
        total = net.add(
            "ReduceSum", [net.binary("Mul", x, weights), net.constant([1], "int64")], (n, width), {"keepdims": 0}
        )
        count = net.add("ReduceSum", [weights, net.constant([1], "int64")], (n, 1), {"keepdims": 0})
        return [net.binary("Div", total, count)]
    pooled = net.unary("Tanh", net.linear(net.gather(x, net.constant(0, "int64"), axis=1), width))
    return [net.linear(pooled, chosen(rng, (2, 10)))]


def _attended(net: Net, queries: str, keys: str, values: str, mask: str | None = None) -> str:
    """Scaled products of heads ``(n, heads, L, d)``; ``(n, L, heads · d)``. Without a mask the queries are scaled already."""
    n, heads, length, depth = net.shape(queries)
    scores = net.matmul(queries, net.transpose(keys, 0, 1, 3, 2))
    if mask is not None:
        scores = net.binary("Add", net.binary("Div", scores, net.constant(depth**0.5)), mask)
    mixed = net.transpose(net.matmul(net.softmax(scores), values), 0, 2, 1, 3)
    return net.reshape(mixed, n, length, heads * depth)
