"""What an operator does with its operands: how much it computes, in which shape, and how long its contiguous runs are.

Everything is read from a kernel's own types and attributes. An operator that nobody described counts as elementwise.
"""

from __future__ import annotations

from collections.abc import Callable

from devices import Kernel
from predictors.matrix_operators import attention, convolution, einsum, product, recurrent
from predictors.tensor_operators import (
    along_axis,
    concatenation,
    copy,
    elementwise,
    fourier,
    pool,
    reduction,
    resize,
    transposition,
)
from predictors.work import Operands, Work


def work(kernel: Kernel) -> tuple[str, Work]:
    """The sort of operator that a kernel is, one of :data:`SORTS`, and its work."""
    op = kernel.op
    data = [o.type.shape for o in kernel.inputs if not o.constant]
    weights = [o.type.shape for o in kernel.inputs if o.constant]
    target = kernel.outputs[0].shape if kernel.outputs else ()
    source = data[0] if data else weights[0] if weights else target
    seen = Operands(op, dict(kernel.attributes), data, weights, source, target, [o.type.shape for o in kernel.inputs])
    for sort, names, describe in _DESCRIBED:
        if any(name in op for name in names):
            found = describe(seen)
            if found is not None:
                return sort, found
    return "elementwise", elementwise(seen)


_Describe = Callable[[Operands], Work | None]
_DESCRIBED: tuple[tuple[str, tuple[str, ...], _Describe], ...] = (
    ("convolution", ("Conv",), convolution),
    ("product", ("Gemm", "MatMul"), product),
    ("product", ("Einsum",), einsum),
    ("recurrence", ("LSTM", "GRU", "RNN"), recurrent),
    ("attention", ("Attention",), attention),
    ("pooling", ("Pool",), pool),
    ("normalisation", ("Softmax", "Norm", "ArgMax", "ArgMin", "TopK", "CumSum"), along_axis),
    ("reduction", ("Reduce", "GlobalAveragePool", "GlobalMaxPool"), reduction),
    ("fourier", ("STFT", "DFT"), fourier),
    ("copy", ("Transpose",), transposition),
    ("copy", ("Concat",), concatenation),
    ("copy", ("Concat", "Split", "Slice", "Gather", "Pad", "Expand", "Tile", "DepthToSpace", "SpaceToDepth"), copy),
    ("resize", ("Resize", "Upsample"), resize),
)
SORTS = ("elementwise", *dict.fromkeys(sort for sort, _, _ in _DESCRIBED))
"""What operators can be described as; a kind that was never profiled is taken to cost what its sort does."""
