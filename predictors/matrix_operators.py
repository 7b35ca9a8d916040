"""The work of operators that amount to products of matrices; None where the operands are not what the operator is known for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from predictors.work import Operands, Work

_CACHED = 2**16, 2**20  # elements of a matrix that any core's own cache holds, and that none does
_GATES = (1, 3, 4)  # of a plain recurrent layer, a GRU and an LSTM


def convolution(k: Operands) -> Work | None:
    """A convolution in one to three dimensions, transposed or not."""
    matrices = [w for w in k.weights if len(w) > 2] or [w for w in k.data[1:2] if len(w) > 2]
    if len(k.source) < 3 or len(k.target) < 3:
        return None
    if not matrices:
        return _product_as_convolution(k)
    weight = max(matrices, key=math.prod)
    group, transposed = int(k.attributes.get("group", 1)), "Transpose" in k.op
    last = bool(k.attributes.get("channels_last")) or "Nhwc" in k.op
    first_axis = 1 if last else 2
    of_source, of_target = (s[first_axis : first_axis + len(weight) - 2] for s in (k.source, k.target))
    c_in = weight[0] if transposed else weight[1] * group
    c_out = weight[1] * group if transposed else weight[0]
    fixed, moving = (of_source, of_target) if transposed else (of_target, of_source)
    taps, inside = _taps(k.attributes, weight[2:], moving, fixed)
    per_tap = k.target[0] * c_in * c_out / group
    at_edge = math.prod(taps[:-1]) * (fixed[-1] - inside) * weight[-1]
    flat = math.prod(weight[2:]) == 1 and math.prod(k.attributes.get("strides", (1,))) == 1
    if group > 1 and group >= min(c_in, c_out):
        variant = "depthwise"
    elif group > 1:
        variant = "grouped"
    elif math.prod(of_source) == 1:
        variant = "vector"
    else:
        variant = "pointwise" if math.prod(weight[2:]) == 1 else "dense"
    return Work(
        per_tap * math.prod(taps),
        rows=math.prod(fixed),
        edge_macs=0.0 if transposed else per_tap * at_edge,
        columns=c_out / group,
        depth=c_in / group * math.prod(weight[2:]),
        batch=k.target[0] * group,
        run=math.prod(fixed) if flat else inside,
        variant=variant,
        window=(weight[2], weight[-1]) if len(weight) > 3 else (1, weight[2]),
        stride=math.prod(k.attributes.get("strides", (1,))),
        dilation=math.prod(k.attributes.get("dilations", (1,))),
        group=group,
    )


def _product_as_convolution(k: Operands) -> Work | None:
    """A product with a constant matrix that the runtime executes as a convolution of single positions."""
    if not any(len(w) == 2 for w in k.weights):
        return None
    rows, depth, columns = math.prod(k.target) / max(1, k.target[1]), k.source[1], k.target[1]
    variant = "vector" if rows == 1 else "product"
    return Work(rows * depth * columns, rows=rows, columns=columns, depth=depth, run=rows, variant=variant)


def _taps(
    attributes: Mapping[str, Any], kernel: Sequence[int], source: Sequence[int], target: Sequence[int]
) -> tuple[list[float], int]:
    """How many (output position, kernel tap) pairs fall on real elements, not on padding, along each axis; and how many output
    positions along the last one have none on padding."""
    axes = len(kernel)
    strides = attributes.get("strides") or (1,) * axes
    dilations = attributes.get("dilations") or (1,) * axes
    pads = attributes.get("pads") or tuple(k // 2 for k in kernel) * 2
    taps, inside = [], 0
    for k, s, d, p, size, out in zip(kernel, strides, dilations, pads[:axes], source, target, strict=False):
        offset = np.arange(k) * d - p
        first = np.maximum(0, -(offset // s))
        last = np.minimum(out - 1, (size - 1 - offset) // s)
        taps.append(float(np.maximum(0, last - first + 1).sum()))
        inside = max(0, int(last.min() - first.max()) + 1)
    return taps, inside


def product(k: Operands) -> Work | None:
    """A product of matrices, of which one may be constant."""
    if not k.source or not k.target:
        return None
    matrices = [w for w in k.weights if len(w) > 1] or [w for w in k.data[1:2] if len(w) > 1]
    right = max(matrices, key=math.prod) if matrices else k.target[-1:]
    depth = k.source[0] if int(k.attributes.get("transA", 0)) and len(k.source) > 1 else k.source[-1]
    if k.attributes.get("transBatchA"):
        depth = k.source[-1]
    columns = k.target[-1]
    shared = len(right) < 3 or math.prod(right[:-2]) == 1  # the rows of all batches make one product
    rows = math.prod(k.target[:-1]) if shared else (k.target[-2] if len(k.target) > 1 else 1)
    batch = max(1.0, math.prod(k.target) / max(1, rows * columns))
    return Work(
        float(math.prod(k.target) * depth),
        rows=rows,
        columns=columns,
        depth=depth,
        batch=batch,
        run=columns,
        variant=_variant(k, rows),
        group=2 * int(k.attributes.get("transA", 0)) + int(k.attributes.get("transB", 0)),
    )


def einsum(k: Operands) -> Work | None:
    """Products of an equation's operands, two at a time from the left; where the equation sums over nothing it is none."""
    equation = str(k.attributes.get("equation", "")).replace(" ", "")
    told, arrow, result = equation.partition("->")
    terms = told.split(",")
    if len(terms) < 2 or len(terms) != len(k.shapes):
        return None
    letters = [_letters(term, len(shape)) for term, shape in zip(terms, k.shapes, strict=True)]
    if any(len(term) != len(shape) for term, shape in zip(letters, k.shapes, strict=True)):
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(letters, k.shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    kept = {*_letters(result, len(k.target))} if arrow else {x for x in sizes if x.isdigit() or told.count(x) == 1}
    left, products = {*letters[0]}, []
    for i, term in enumerate(letters[1:], start=2):
        right, needed = {*term}, kept.union(*letters[i:])
        depth = (left | right) - needed
        if depth:
            parts = ((left - right) & needed, (right - left) & needed, depth, left & right & needed)
            products.append([math.prod(sizes[letter] for letter in part) for part in parts])
        left = (left | right) & needed
    if not products:
        return None
    rows, columns, summed, batch = max(products, key=math.prod)
    return Work(
        float(sum(map(math.prod, products))),
        rows=rows,
        columns=columns,
        depth=summed,
        batch=batch,
        run=columns,
        variant=_variant(k, rows),
    )


def _variant(k: Operands, rows: float) -> str:
    """Of a product: with a matrix that is computed as well, or of a single row."""
    if not any(len(w) > 1 for w in k.weights):
        return "moving"
    return "vector" if rows == 1 else ""


def _letters(term: str, rank: int) -> str:
    """One for each axis; digits for those that an ellipsis stands for, counted from the last one."""
    hidden = range(rank - len(term.replace("...", "")) - 1, -1, -1)
    return term.replace("...", "".join(map(str, hidden)))


def recurrent(k: Operands) -> Work | None:
    """A recurrent layer: a product at every step. Runtimes that tell the states before the matrices have batches before steps."""
    hidden = int(k.attributes.get("hidden_size", k.target[-1] if k.target else 1))
    operands = [w for w in k.weights if len(w) == 3]
    squares = [w for w in operands if hidden in w[1:] and math.prod(w[1:]) in [g * hidden**2 for g in _GATES]]
    if len(k.source) != 3 or not squares:
        return None
    gates = max(max(w[1:]) for w in squares)
    matrices = [w for w in operands if gates in w[1:]][:2]
    batch_first = operands[0] not in matrices
    batch, steps = k.source[:2] if batch_first else k.source[1::-1]
    macs = float(steps * batch * sum(math.prod(m) for m in matrices))
    swept = float(steps * math.prod(matrices[-1]))
    small, large = _CACHED
    far = math.log2(max(1, math.prod(matrices[-1][1:])) / small) / math.log2(large / small)
    return Work(
        macs,
        rows=steps,
        swept=swept,
        swept_far=swept * min(1.0, max(0.0, far)),
        columns=hidden,
        depth=k.source[2],
        batch=batch,
        run=hidden,
        group=matrices[0][0],
    )


def attention(k: Operands) -> Work | None:
    """Attention as one kernel: of projected queries, keys and values by head, or with the projections."""
    if len(k.source) == 4 and len(k.target) == 4 and len(k.data) > 1:
        joined = tuple(k.attributes.get("operators", ()))[-1:] == ("Transpose",)  # heads are behind tokens then
        batch, heads, length, width = (k.target[i] for i in ((0, 2, 1, 3) if joined else (0, 1, 2, 3)))
        keys = math.prod(k.data[1]) / max(1, batch * heads * width)
        macs = 2 * float(math.prod(k.target)) * keys
        return Work(macs, rows=length, columns=keys, depth=width, batch=batch * heads, run=width)
    if len(k.source) != 3:
        return None
    batch, length, width = k.source
    weight = max(k.weights, key=math.prod, default=())
    macs = float(batch * length * (math.prod(weight) * (len(weight) > 1) + 2 * length * width))
    return Work(macs, rows=length, columns=width, depth=length, batch=batch, run=width)
