"""The work of operators that go over the elements of tensors."""

from __future__ import annotations

import math

from predictors.work import Operands, Work


def pool(k: Operands) -> Work | None:
    """Pooling over windows; None where it is over whole planes."""
    if len(k.source) < 3 or "Global" in k.op:
        return None
    window = tuple(k.attributes.get("kernel_shape", (1,)))
    stride = math.prod(k.attributes.get("strides", (1,)))
    count = math.prod(k.target)
    return Work(
        float(count * math.prod(window)),
        rows=count / max(1, k.target[-1]),
        columns=k.target[-1],
        depth=math.prod(window),
        run=k.source[-1],
        window=(window[0], window[-1]),
        stride=stride,
    )


def along_axis(k: Operands) -> Work:
    """Operators that turn every vector along one axis into another: softmax, normalisations, sorting."""
    axis = int(k.attributes.get("axis", -1))
    if "InstanceNorm" in k.op or "BatchNorm" in k.op:
        length, inner = math.prod(k.source[2:]), 1
    else:
        axis = axis % max(1, len(k.source)) if k.source else 0
        length, inner = math.prod(k.source[axis : axis + 1]), math.prod(k.source[axis + 1 :])
    size = math.prod(k.source)
    return Work(float(size), rows=size / max(1, length), columns=length, run=length * inner, scattered=inner > 1)


def reduction(k: Operands) -> Work:
    """Sums, means and the like along axes."""
    size, left = math.prod(k.source), max(1, math.prod(k.target))
    inner = 1  # kept elements behind the reduced axes
    for s, t in zip(reversed(k.source), reversed(k.target), strict=False):
        if s != t:
            break
        inner *= s
    return Work(
        float(size), rows=left, columns=size / left, run=inner if 1 < inner < size else size / left, scattered=inner > 1
    )


def transposition(k: Operands) -> Work:
    """The same elements in another order of the axes."""
    order = tuple(k.attributes.get("perm", _order(k)))
    axes = [a for a in order if a < len(k.source) and k.source[a] > 1]
    blocks: list[list[int]] = []  # axes that stay together
    kept = sorted(axes)
    for a in axes:
        if blocks and kept.index(a) == kept.index(blocks[-1][-1]) + 1:
            blocks[-1].append(a)
        else:
            blocks.append([a])
    size = math.prod(k.source)
    stays = bool(blocks) and blocks[-1][-1] == kept[-1]
    last = math.prod(k.source[a] for a in blocks[-1]) if blocks else 1
    run = last if stays else 1
    inner = math.prod(k.source[a] for b in blocks for a in b if kept[-1] in b) if blocks else 1
    one_moves = any([*order[:i], *order[i + 1 :]] == sorted([*order[:i], *order[i + 1 :]]) for i in range(len(order)))
    return Work(
        float(size),
        rows=size / max(1, run),
        columns=last,
        depth=inner,
        run=run,
        batch=len(blocks),
        variant="" if one_moves else "several",
        scattered=not stays,
    )


def _order(k: Operands) -> tuple[int, ...]:
    """Of the axes, where it is not told: by their lengths."""
    left = list(range(len(k.source)))
    order = []
    for length in k.target:
        found = next((a for a in left if k.source[a] == length), None)
        if found is None:
            return tuple(reversed(range(len(k.source))))
        left.remove(found)
        order.append(found)
    return tuple(order)


def fourier(k: Operands) -> Work | None:
    """Discrete Fourier transforms of many pieces. One of N elements is N log N operations if N is a power of two, and else a
    convolution by two such transforms of the next power of two from 2N - 1 on (Bluestein 1970, "A linear filtering approach to
    the computation of discrete Fourier transform")."""
    axis = int(k.attributes.get("axis", -2)) if k.op == "DFT" else -2
    if len(k.target) < 2 or not -len(k.target) <= axis < len(k.target):
        return None
    bins = k.target[axis]
    windows = [w[0] for w in k.weights if len(w) == 1]
    onesided = int(k.attributes.get("onesided", k.op == "STFT"))
    length = windows[0] if k.op == "STFT" and windows else 2 * (bins - 1) if onesided else bins
    length = max(2, length)
    pieces = math.prod(k.target) / max(1, k.target[-1] * bins)
    whole = 2 ** math.ceil(math.log2(length))
    passes = 1
    if whole != length:
        whole, passes = 2 ** math.ceil(math.log2(2 * length - 1)), 2
    depth = math.log2(whole)
    return Work(pieces * passes * whole * depth, rows=pieces, columns=whole, depth=depth, batch=passes, run=whole)


def concatenation(k: Operands) -> Work | None:
    """Runs of every operand behind each other, again and again; None where the axis is not told."""
    axis = k.attributes.get("axis")
    if not isinstance(axis, int) or not -len(k.target) <= axis < len(k.target):
        return None
    size, runs = math.prod(k.target), math.prod(k.target[: axis % len(k.target)])
    operands = sum(len(shape) == len(k.target) for shape in k.shapes)
    run = size / max(1, runs * operands)
    return Work(float(size), rows=float(runs * operands), columns=run, run=run, batch=operands)


def copy(k: Operands) -> Work:
    """Operators that copy parts of tensors: the runs are as long as the trailing axes that agree, and the first that does not."""
    size = math.prod(k.target)
    run = 1
    for s, t in zip(reversed(k.source), reversed(k.target), strict=False):
        run *= min(s, t)
        if s != t:
            break
    if "Gather" in k.op and k.weights + k.data:
        axis = int(k.attributes.get("axis", 0))
        run = math.prod(
            (k.weights[0] if k.weights and len(k.weights[0]) > 1 else k.source)[axis + 1 :] if axis >= 0 else ()
        )
    return Work(float(size), rows=size / max(1, run), columns=run, run=run, batch=len(k.data) + len(k.weights))


def resize(k: Operands) -> Work:
    """Interpolation. Twice as many rows and columns, each repeated, is what runtimes have code of its own for."""
    size = math.prod(k.target)
    variant = str(k.attributes.get("mode", "nearest"))
    last, kept = k.target[-1] if k.target else 1, k.source[-1:] == k.target[-1:]
    repeated = (
        k.attributes.get("coordinate_transformation_mode"),
        k.attributes.get("nearest_mode"),
        tuple(2 * s for s in k.source[2:]),
    ) == ("asymmetric", "floor", k.target[2:])
    if kept:
        variant = f"{variant} of rows"
    elif variant == "nearest" and repeated and len(k.target) == 4:
        variant = "twice"
    return Work(
        float(size), rows=size / max(1, last), columns=last, run=k.source[-1] if k.source else 1, variant=variant
    )


def elementwise(k: Operands) -> Work:
    """The longest trailing block over which no operand changes between being spread and being read element by element."""
    size = math.prod(k.target)
    operands = [s for s in (*k.data, *k.weights) if len(s) <= len(k.target)]
    run, pattern = 1, None
    for i in range(1, len(k.target) + 1):
        if k.target[-i] == 1:
            continue
        now = tuple(len(s) >= i and s[-i] > 1 for s in operands)
        if pattern is not None and now != pattern:
            break
        pattern = now
        run *= k.target[-i]
    spread = sum(not p for p in pattern) if pattern else 0
    size = max(size, math.prod(k.source))
    return Work(float(size), rows=size / max(1, run), columns=run, run=run, batch=len(operands), depth=1 + spread)
