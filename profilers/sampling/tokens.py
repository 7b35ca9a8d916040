"""Random networks over sequences of vectors: attention and perceptrons, as exporters write them."""

from __future__ import annotations

import math

from profilers.sampling import parts
from profilers.sampling.builder import Builder


def network(b: Builder, batch: int, *, small: bool) -> None:
    """Draw a network. ``small`` ones have shorter sequences of narrower vectors."""
    heads = b.pick([1, 2, 3, 4, 6, 8, 12])
    width = heads * b.pick([8, 16, 32, 64, 64, 40, 80])
    length = b.integer(4, 64 if small else 400)
    if small:
        width = min(width, 192) // heads * heads
    x = _begin(b, batch, length, width)
    length = b.shape(x)[1]
    before = b.chance(0.6)
    norm = b.pick([parts.layer_norm, parts.rms_norm], [0.8, 0.2])
    activation = b.pick(["GELU", "GELU, tanh", "GELU, quick", "Relu", "SiLU", "Tanh"], [5, 1, 1, 2, 1.5, 0.5])
    masked, fused, gated = b.chance(0.4), b.chance(0.4), b.chance(0.2)
    mask = b.weight(1, 1, length, length) if masked else ""
    for _ in range(b.integer(1, 6)):
        y = norm(b, x) if before else x
        y = _attention(b, y, heads, mask, fused=fused)
        x = b.op("Add", *b.shuffled(x, y))
        x = x if before else norm(b, x)
        y = norm(b, x) if before else x
        y = _perceptron(b, y, width * b.pick([1, 2, 4, 4]), activation, gated=gated)
        x = b.op("Add", *b.shuffled(x, y))
        x = x if before else norm(b, x)
    _end(b, norm(b, x) if b.chance(0.6) else x)


def _begin(b: Builder, batch: int, length: int, width: int) -> str:
    """Ids through tables, patches of an image, or vectors as they are."""
    match b.pick(["ids", "patches", "vectors"], [0.4, 0.35, 0.25]):
        case "ids":
            x = b.embed(batch, length, width=width)
            x = b.op("Add", x, b.weight(*([1] if b.chance(0.5) else []), length, width))
            return parts.layer_norm(b, x) if b.chance(0.5) else x
        case "patches":
            side, patch = max(2, round(math.sqrt(length))), b.pick([4, 8, 16, 32])
            image = b.input(batch, 3, side * patch, side * patch)
            attributes = {"kernel_shape": (patch, patch), "strides": (patch, patch)}
            x = b.op("Conv", image, b.weight(width, 3, patch, patch), b.weight(width), attributes=attributes)
            x = b.transpose(b.reshape(x, batch, width, side * side), 0, 2, 1)
            if b.chance(0.5):
                x = b.op("Concat", b.constant([[[0.5] * width]] * batch), x, attributes={"axis": 1})
            return b.op("Add", x, b.weight(1, b.shape(x)[1], width))
    return b.linear(b.input(batch, length, b.width(8, 256)), width)


def _attention(b: Builder, x: str, heads: int, mask: str, *, fused: bool) -> str:
    batch, length, width = b.shape(x)
    depth = width // heads
    bias = b.chance(0.8)
    if fused and b.chance(0.5):
        parts_ = b.reshape(b.linear(x, 3 * width, bias=bias), batch, length, 3, heads, depth)
        parts_ = b.transpose(parts_, 2, 0, 3, 1, 4)
        q, k, v = (b.op("Gather", parts_, b.constant(i, "int64"), attributes={"axis": 0}) for i in range(3))
        k = b.transpose(k, 0, 1, 3, 2)
    else:
        if fused:
            sizes = b.constant([width] * 3, "int64")
            triple = b.ops("Split", b.linear(x, 3 * width, bias=bias), sizes, attributes={"axis": -1}, outputs=3)
        else:
            triple = tuple(b.linear(x, width, bias=bias) for _ in range(3))
        q, k, v = (b.reshape(t, batch, length, heads, depth) for t in triple)
        q, v = b.transpose(q, 0, 2, 1, 3), b.transpose(v, 0, 2, 1, 3)
        at_once = b.chance(0.5)
        k = b.transpose(k, 0, 2, 3, 1) if at_once else b.transpose(b.transpose(k, 0, 2, 1, 3), 0, 1, 3, 2)
    scale = math.sqrt(depth)
    if b.chance(0.3):
        q = b.op("Mul", q, b.constant(1 / scale))
        scores = b.op("MatMul", q, k)
    elif b.chance(0.3):
        root = b.constant(math.sqrt(1 / scale))
        scores = b.op("MatMul", b.op("Mul", q, root), b.op("Mul", k, root))
    else:
        scores = b.op("MatMul", q, k)
        scores = b.op("Div", scores, b.constant(scale)) if b.chance(0.6) else b.op("Mul", scores, b.constant(1 / scale))
    if mask:
        scores = b.op("Add", scores, mask)
    mixed = b.op("MatMul", b.op("Softmax", scores, attributes={"axis": -1}), v)
    mixed = b.reshape(b.transpose(mixed, 0, 2, 1, 3), batch, length, width)
    return b.linear(mixed, width, bias=bias)


def _perceptron(b: Builder, x: str, inner: int, activation: str, *, gated: bool) -> str:
    width = b.shape(x)[-1]
    if gated:
        y = b.op("Mul", parts.activate(b, b.linear(x, inner, bias=False), activation), b.linear(x, inner, bias=False))
        return b.linear(y, width, bias=False)
    if b.chance(0.1):  # over positions instead
        y = parts.activate(b, b.linear(b.transpose(x, 0, 2, 1), max(4, b.shape(x)[1] // 2)), activation)
        return b.transpose(b.linear(y, b.shape(x)[1]), 0, 2, 1)
    return b.linear(parts.activate(b, b.linear(x, inner), activation), width)


def _end(b: Builder, x: str) -> None:
    match b.pick(["first", "mean", "each"], [0.4, 0.3, 0.3]):
        case "first":
            x = b.op("Gather", x, b.constant(0, "int64"), attributes={"axis": 1})
            if b.chance(0.4):
                x = b.op("Tanh", b.linear(x, b.shape(x)[-1]))
        case "mean":
            x = b.op("ReduceMean", x, attributes={"axes": (1,), "keepdims": 0})
    b.linear(x, b.pick([2, 10, 1000, b.integer(2, 8000 if b.shape(x)[0] < 4 else 500)]))
