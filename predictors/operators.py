"""What an operator does with its operands: how much it computes, in which shape, and how long its contiguous runs are.

Everything is read from a kernel's own types and attributes. An operator that nobody described counts as elementwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from devices import Kernel

Shape = tuple[int, ...]

_CACHED = 2**16, 2**20  # elements of a matrix that any core's own cache holds, and that none does


@dataclass(frozen=True, slots=True)
class Work:
    """One kernel's work. Sizes are in elements.

    Attributes:
        macs: multiply-accumulates without those on padding; for other kernels, elements worked on.
        edge_macs: those of output positions whose window reaches beyond the left or right edge, the whole width of the window:
            such positions are worked on one by one, others several at once.
        swept: elements of weights that are read again at every step.
        swept_far: those of them that a core's own cache is too small for: none of the smallest matrices, all of the largest.
        rows, columns, depth, batch: the matrix product that it amounts to: ``batch`` times (rows, depth) by (depth, columns).
            For kernels that go over rows of a tensor: how many rows, and how long they are.
        run: elements that lie next to each other and are treated alike; of a convolution, output positions.
        variant: of a family whose laws differ by it.
        window: height and width of a sliding window.
        stride, dilation: products over the axes.
        group: of a convolution.
        scattered: elements within a run do not lie next to each other in what is read (a transposition).
    """

    macs: float
    rows: float
    edge_macs: float = 0.0
    swept: float = 0.0
    swept_far: float = 0.0
    columns: float = 1.0
    depth: float = 1.0
    batch: float = 1.0
    run: float = 1.0
    variant: str = ""
    window: tuple[int, int] = (1, 1)
    stride: int = 1
    dilation: int = 1
    group: int = 1
    scattered: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    """A kernel, taken apart once.

    Attributes:
        op: its name without domain.
        data, weights: shapes of the operands that are computed, and of the constants.
        source, target: shape of the first operand and of the first result.
    """

    op: str
    attributes: Mapping[str, Any]
    data: list[Shape]
    weights: list[Shape]
    source: Shape
    target: Shape


def work(kernel: Kernel) -> tuple[str, Work]:
    """The sort of operator that a kernel is, one of :data:`SORTS`, and its work."""
    op = kernel.kind.rsplit(":", 1)[-1]
    data = [o.type.shape for o in kernel.inputs if not o.constant]
    weights = [o.type.shape for o in kernel.inputs if o.constant]
    target = kernel.outputs[0].shape if kernel.outputs else ()
    source = data[0] if data else weights[0] if weights else target
    seen = _Seen(op, dict(kernel.attributes), data, weights, source, target)
    for sort, names, describe in _DESCRIBED:
        if any(name in op for name in names):
            found = describe(seen)
            if found is not None:
                return sort, found
    return "elementwise", _elementwise(seen)


def _convolution(k: _Seen) -> Work | None:
    matrices = [w for w in k.weights if len(w) > 2] or [w for w in k.data[1:2] if len(w) > 2]
    if not matrices or len(k.source) < 3 or len(k.target) < 3:
        return None
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


def _product(k: _Seen) -> Work | None:
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
    constant = any(len(w) > 1 for w in k.weights)
    return Work(
        float(math.prod(k.target) * depth),
        rows=rows,
        columns=columns,
        depth=depth,
        batch=batch,
        run=columns,
        variant=("vector" if rows == 1 else "") if constant else "moving",
        group=2 * int(k.attributes.get("transA", 0)) + int(k.attributes.get("transB", 0)),
    )


def _recurrent(k: _Seen) -> Work | None:
    matrices = [w for w in k.weights if len(w) == 3][:2]  # behind them may be what the states begin with
    if len(k.source) != 3 or not matrices:
        return None
    steps, batch = k.source[:2]
    hidden = int(k.attributes.get("hidden_size", 1))
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
        group=len(matrices[0]),
    )


def _attention(k: _Seen) -> Work | None:
    if len(k.source) != 3:
        return None
    batch, length, width = k.source
    weight = max(k.weights, key=math.prod, default=())
    macs = float(batch * length * (math.prod(weight) * (len(weight) > 1) + 2 * length * width))
    return Work(macs, rows=length, columns=width, depth=length, batch=batch, run=width)


def _pool(k: _Seen) -> Work | None:
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


def _along_axis(k: _Seen) -> Work:
    """Operators that turn every vector along one axis into another: softmax, normalisations, sorting."""
    axis = int(k.attributes.get("axis", -1))
    if "InstanceNorm" in k.op or "BatchNorm" in k.op:
        length, inner = math.prod(k.source[2:]), 1
    else:
        axis = axis % max(1, len(k.source)) if k.source else 0
        length, inner = math.prod(k.source[axis : axis + 1]), math.prod(k.source[axis + 1 :])
    size = math.prod(k.source)
    return Work(float(size), rows=size / max(1, length), columns=length, run=length * inner, scattered=inner > 1)


def _reduction(k: _Seen) -> Work:
    size, left = math.prod(k.source), max(1, math.prod(k.target))
    inner = 1  # kept elements behind the reduced axes
    for s, t in zip(reversed(k.source), reversed(k.target), strict=False):
        if s != t:
            break
        inner *= s
    return Work(
        float(size), rows=left, columns=size / left, run=inner if 1 < inner < size else size / left, scattered=inner > 1
    )


def _transposition(k: _Seen) -> Work:
    order = tuple(k.attributes.get("perm", reversed(range(len(k.source)))))
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
    moved = blocks[len(blocks) > 0 and blocks[0][0] == kept[0] : len(blocks) - stays]
    last = math.prod(k.source[a] for a in blocks[-1]) if blocks else 1
    run = last if stays else 1
    inner = math.prod(k.source[a] for b in blocks for a in b if kept[-1] in b) if blocks else 1
    return Work(
        float(size),
        rows=size / max(1, run),
        columns=last,
        depth=inner,
        run=run,
        batch=len(blocks),
        variant="several" if len(moved) > 2 else "",
        scattered=not stays,
    )


def _copy(k: _Seen) -> Work:
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


def _resize(k: _Seen) -> Work:
    size = math.prod(k.target)
    mode = k.attributes.get("mode", "nearest")
    variant = mode.decode() if isinstance(mode, bytes) else str(mode)
    last, kept = k.target[-1] if k.target else 1, k.source[-1:] == k.target[-1:]
    return Work(
        float(size),
        rows=size / max(1, last),
        columns=last,
        run=k.source[-1] if k.source else 1,
        variant=f"{variant} of rows" if kept else variant,
    )


def _elementwise(k: _Seen) -> Work:
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


_Describe = Callable[[_Seen], Work | None]
_DESCRIBED: tuple[tuple[str, tuple[str, ...], _Describe], ...] = (
    ("convolution", ("Conv",), _convolution),
    ("product", ("Gemm", "MatMul"), _product),
    ("recurrence", ("LSTM", "GRU", "RNN"), _recurrent),
    ("attention", ("Attention",), _attention),
    ("pooling", ("Pool",), _pool),
    ("normalisation", ("Softmax", "Norm", "ArgMax", "ArgMin", "TopK", "CumSum"), _along_axis),
    ("reduction", ("Reduce", "GlobalAveragePool", "GlobalMaxPool"), _reduction),
    ("copy", ("Transpose",), _transposition),
    ("copy", ("Concat", "Split", "Slice", "Gather", "Pad", "Expand", "Tile", "DepthToSpace", "SpaceToDepth"), _copy),
    ("resize", ("Resize", "Upsample"), _resize),
)
SORTS = ("elementwise", *dict.fromkeys(sort for sort, _, _ in _DESCRIBED))
"""What operators can be described as; a kind that was never profiled is taken to cost what its sort does."""
