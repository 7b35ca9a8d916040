"""Many small pieces side by side in one model: shapes and operators that whole networks seldom show."""

from __future__ import annotations

import math
from collections.abc import Callable

from devices.kernels import Attribute
from profilers.sampling import parts
from profilers.sampling.builder import Builder

PIECES = 12
_FUNCTIONS = 4  # of one tensor
_UNARY = (
    "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Neg", "Reciprocal",
    "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh",
)  # fmt: skip
_BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")
_COMPARE = ("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual")
_MOVES = (
    "transpose", "transpose", "slice", "gather", "elements", "concat", "stack", "split", "pad", "tile", "expand", "reshape",
    "depth",
)  # fmt: skip
_REDUCE = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2", "ReduceProd", "ReduceSumSquare")


def network(b: Builder, batch: int, *, small: bool) -> None:
    """Draw pieces, each of one to three nodes with an input of its own."""
    most = 20_000 if small else 1_500_000
    for _ in range(PIECES):
        b.pick(_KINDS, _WEIGHTS)(b, batch, most)


def _shape(b: Builder, batch: int, most: int, rank: int | None = None) -> tuple[int, ...]:
    """A shape of at most about ``most`` elements, in the forms that tensors have in networks."""
    rank = b.pick([2, 3, 4, 5], [0.2, 0.35, 0.4, 0.05]) if rank is None else rank
    size = b.integer(64, most)
    channels = b.width(1, min(1024, size))
    left = max(1, size // channels // batch)
    if rank == 2:
        return (batch, max(1, size // batch))
    if rank == 3:
        return (batch, left, channels) if b.chance(0.6) else (batch, channels, left)
    side = max(1, round(math.sqrt(left)))
    if rank == 4:
        return (batch, channels, side, max(1, left // side))
    return (batch, channels, side, max(1, left // side // 4), 4)


def _tensor(b: Builder, batch: int, most: int, rank: int | None = None) -> str:
    return b.input(*_shape(b, batch, most, rank))


def _unary(b: Builder, batch: int, most: int) -> None:
    x = _tensor(b, batch, most // _FUNCTIONS)
    for op in b.rng.permutation(_UNARY)[:_FUNCTIONS]:
        b.op(str(op), x)


def _activation(b: Builder, batch: int, most: int) -> None:
    x = _tensor(b, batch, most)
    parts.activate(b, b.op("Add", x, b.weight(*b.shape(x)[-1:])), parts.draw_activation(b))


def _binary(b: Builder, batch: int, most: int) -> None:
    shape = _shape(b, batch, most)
    x = b.input(*shape)
    match b.integer(1, 6):
        case 1:
            other: tuple[int, ...] = shape
        case 2:
            other = shape[-1:]
        case 3:
            other = (shape[1], *(1,) * (len(shape) - 2))
        case 4:
            other = tuple(1 if b.chance(0.5) else s for s in shape)
        case 5:
            other = (*shape[:-1], 1)
        case _:
            other = ()
    y = b.input(*other) if b.chance(0.5) and other else b.weight(*other)
    b.op(b.pick(_BINARY, [4, 2, 4, 2, 0.7, 0.7, 0.5]), *b.shuffled(x, y))


def _compare(b: Builder, batch: int, most: int) -> None:
    x = _tensor(b, batch, most // 2)
    y = b.op(b.pick(_COMPARE), x, b.constant(0.1))
    match b.integer(1, 4):
        case 1:
            b.op("Where", y, x, b.constant(0.0))
        case 2:
            b.op("Not", y)
        case 3:
            b.op("Cast", y, attributes={"to": b.pick([1, 6, 7])})
        case _:
            b.op("And", y, b.op("Less", x, b.constant(0.7)))


def _reduce(b: Builder, batch: int, most: int) -> None:
    x = _tensor(b, batch, most)
    rank = len(b.shape(x))
    axes = b.pick([(rank - 1,), (1,), tuple(range(2, rank)) or (1,), tuple(range(rank)), (0,)])
    op = b.pick(_REDUCE, [5, 1, 1, 2, 1, 0.3, 0.5])
    keep = b.pick([0, 1])
    if op == "ReduceSum":
        b.op(op, x, b.constant(axes, "int64"), attributes={"keepdims": keep})
    else:
        b.op(op, x, attributes={"axes": axes, "keepdims": keep})


def _softmax(b: Builder, batch: int, most: int) -> None:
    x = _tensor(b, batch, most)
    rank = len(b.shape(x))
    op = b.pick(["Softmax", "LogSoftmax", "ArgMax", "CumSum", "TopK"], [5, 2, 1, 0.5, 1])
    axis = b.pick([rank - 1, 1])
    if op == "CumSum":
        b.op(op, x, b.constant(axis, "int64"))
    elif op == "TopK":
        most_found = b.constant([min(b.shape(x)[axis], b.integer(1, 100))], "int64")
        b.ops(op, x, most_found, attributes={"axis": axis}, outputs=2)
    else:
        b.op(op, x, attributes={"axis": axis})


def _move(b: Builder, batch: int, most: int) -> None:
    x = _tensor(b, batch, most)
    shape = b.shape(x)
    rank = len(shape)
    match b.pick(_MOVES):
        case "transpose":
            if rank < 5 and b.chance(0.3):  # an axis of one element
                x = b.op("Unsqueeze", x, b.constant([b.integer(1, rank) - 1], "int64"))
                rank += 1
            b.transpose(x, *(int(i) for i in b.rng.permutation(rank)))
        case "slice":
            axis = b.integer(1, rank - 1)
            step = b.pick([1, 1, 2])
            begin, end = ([shape[axis] // 4], [max(shape[axis] // 4 + 1, shape[axis] - 1)])
            b.op("Slice", x, *(b.constant(v, "int64") for v in (begin, end, [axis], [step])))
        case "gather":
            axis = b.integer(1, rank - 1)
            ids = b.rng.integers(0, shape[axis], b.integer(1, 64))
            b.op("Gather", x, b.constant(ids, "int64"), attributes={"axis": axis})
        case "elements":
            axis = b.integer(1, rank - 1)
            count = (*shape[:axis], b.integer(1, shape[axis]), *shape[axis + 1 :])
            picked = b.constant(b.rng.integers(0, shape[axis], count), "int64")
            if b.chance(0.5):
                b.op("GatherElements", x, picked, attributes={"axis": axis})
            else:
                b.op("ScatterElements", x, picked, b.input(*count), attributes={"axis": axis})
        case "concat":
            axis, n = b.integer(1, rank - 1), b.integer(1, 7)
            lengths = [shape[axis]] * n if b.chance(0.7) else [b.integer(1, shape[axis]) for _ in range(n)]
            others = [b.input(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]
            b.op("Concat", *b.shuffled(x, *others), attributes={"axis": axis})
        case "stack":
            parts_of = [
                b.op("Unsqueeze", t, b.constant([rank], "int64")) for t in (x, *(b.input(*shape) for _ in range(3)))
            ]
            b.op("Concat", *parts_of, attributes={"axis": rank})
        case "split":
            axis = b.integer(1, rank - 1)
            n = b.pick([2, 3, 4])
            if shape[axis] >= n:
                sizes = [shape[axis] // n] * (n - 1)
                sizes.append(shape[axis] - sum(sizes))
                b.ops("Split", x, b.constant(sizes, "int64"), attributes={"axis": axis}, outputs=n)
        case "pad":
            edge = b.pick([1, 2, 3])
            pads = [0] * (rank - 1) + [edge] + [0] * (rank - 1) + [edge]
            mode = b.pick(["constant", "reflect", "edge"]) if shape[-1] > edge else "constant"
            b.op("Pad", x, b.constant(pads, "int64"), attributes={"mode": mode})
        case "tile":
            b.op("Tile", x, b.constant([1] * (rank - 1) + [2], "int64"))
        case "expand":
            y = b.input(*shape[:-1], 1)
            b.op("Expand", y, b.constant(shape, "int64"))
        case "reshape":
            b.op("Relu", b.reshape(x, shape[0], -1))
        case _:
            if rank == 4 and shape[1] % 4 == 0:
                b.op("DepthToSpace", x, attributes={"blocksize": 2})


def _normalise(b: Builder, batch: int, most: int) -> None:
    if b.chance(0.5):
        x = _tensor(b, batch, most, 3)
        b.pick([parts.layer_norm, parts.rms_norm])(b, x)
    else:
        x = _tensor(b, batch, most, b.pick([3, 4]))
        b.pick([parts.batch_norm, parts.group_norm, parts.instance_norm])(b, x)


def _pool(b: Builder, batch: int, most: int) -> None:
    parts.pool(b, _tensor(b, batch, most, b.pick([3, 4], [0.2, 0.8])))


def _resize(b: Builder, batch: int, most: int) -> None:
    parts.resize(b, _tensor(b, batch, max(65, most // 4), b.pick([3, 4], [0.15, 0.85])))


def _convolution(b: Builder, batch: int, most: int) -> None:
    axes = b.pick([1, 2, 3], [0.3, 0.67, 0.03])
    channels, width = b.width(1, 512), b.width(1, 512)
    k = tuple(b.pick([1, 2, 3, 3, 3, 4, 5, 7, 11]) for _ in range(axes))
    if b.chance(0.8):
        k = k[:1] * axes
    size = tuple(max(i, b.integer(1, 96 if axes == 2 else 12 if axes == 3 else 2000)) for i in k)
    while channels * math.prod(size) > most and channels > 1:
        channels = max(1, channels // 2)
    while channels * width * math.prod(k) * math.prod(size) > 150 * most and width > 1:
        width = max(1, width // 2)
    group = b.pick([1, 1, 1, channels, b.pick([2, 4, 8])])
    if channels % group:
        group = 1
    width = max(group, width // group * group)
    stride, dilation = b.pick([1, 1, 2, 2, 3, 4]), b.pick([1, 1, 1, 1, 2, 3])
    pads = tuple(dilation * (i - 1) // 2 for i in k)
    if any(s + 2 * p < dilation * (i - 1) + 1 for s, p, i in zip(size, pads, k, strict=True)):
        dilation, pads = 1, tuple((i - 1) // 2 for i in k)
    shape: dict[str, Attribute] = {
        "kernel_shape": k, "strides": (stride,) * axes, "pads": pads * 2, "dilations": (dilation,) * axes, "group": group,
    }  # fmt: skip
    x = b.input(batch, channels, *size)
    if b.chance(0.15) and group == 1:
        b.op("ConvTranspose", x, b.weight(channels, width, *k), b.weight(width), attributes=shape)
        return
    y = b.op("Conv", x, b.weight(width, channels // group, *k), b.weight(width), attributes=shape)
    parts.activate(b, y, b.pick(["", "Relu", "Clip", "Sigmoid", "HardSwish"]))


def _product(b: Builder, batch: int, most: int) -> None:
    """Matrix products in all layouts."""
    rows, depth, width = b.integer(1, 512), b.width(1, 2048), b.width(1, 2048)
    while rows * depth * width > 150 * most:
        rows, depth, width = max(1, rows // 2), max(1, int(depth / 1.4)), max(1, int(width / 1.4))
    match b.pick(["gemm", "shared", "batched", "transposed", "vector"]):
        case "gemm":
            left, right = b.pick([0, 1], [0.85, 0.15]), b.pick([0, 1])
            x = b.input(depth, rows) if left else b.input(rows, depth)
            w = b.weight(width, depth) if right else b.weight(depth, width)
            b.op("Gemm", x, w, b.weight(width), attributes={"transA": left, "transB": right})
        case "shared":
            x = b.input(batch, rows, depth)
            b.op("Add", b.op("MatMul", x, b.weight(depth, width)), b.weight(width))
        case "batched":
            heads = b.integer(1, 12)
            rows, width = max(1, rows // 4), max(1, width // 4)
            x, y = b.input(batch, heads, rows, min(depth, 128)), b.input(batch, heads, min(depth, 128), width)
            b.op("MatMul", x, y)
        case "transposed":
            x = b.transpose(b.input(batch, depth, rows), 0, 2, 1)
            b.op("MatMul", x, b.weight(depth, width) if b.chance(0.7) else b.input(batch, depth, width))
        case _:
            b.op("MatMul", b.input(1, depth), b.weight(depth, width))


def _recurrent(b: Builder, batch: int, most: int) -> None:
    width, steps, depth = b.width(4, 256), b.integer(2, 64), b.width(4, 256)
    kind, gates = b.pick([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    b.op(
        kind,
        b.input(steps, batch, depth),
        b.weight(1, gates * width, depth),
        b.weight(1, gates * width, width),
        b.weight(1, 2 * gates * width),
        attributes={"hidden_size": width},
    )


def _fourier(b: Builder, batch: int, most: int) -> None:
    length = b.pick([256, 320, 400, 512, 1024, 2048, b.integer(16, 1024)])
    pieces = max(1, b.integer(1, max(2, most // 10)) // length // batch)
    if b.chance(0.7):
        step = max(1, length // b.pick([2, 3, 4]))
        x = b.input(batch, length + step * (pieces - 1), 1)
        b.op("STFT", x, b.constant(step, "int64"), b.weight(length), b.constant(length, "int64"))
    else:
        how: dict[str, Attribute] = {"axis": 2, "onesided": b.pick([0, 1])}
        b.op("DFT", b.input(batch, pieces, length, 1), attributes=how)


_KINDS: tuple[Callable[[Builder, int, int], None], ...] = (
    _unary, _activation, _binary, _compare, _reduce, _softmax, _move, _normalise, _pool, _resize, _convolution, _product,
    _recurrent, _fourier,
)  # fmt: skip
_WEIGHTS = (2.5, 1, 2.5, 0.5, 1.5, 1, 4, 1, 1.5, 1, 3, 3, 0.4, 0.6)
