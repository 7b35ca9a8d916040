"""Physics of kernels, as arrays: how much a kernel computes and moves, and what decides how well it can.

What an operator does is read once per distinct kernel (:mod:`predictors.operators`); everything after that is vectorised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from devices import ExecutedKernel, Kernel
from predictors.operators import SORTS, work

Floats = NDArray[np.float64]

ACTIVATIONS = ("", "Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "LeakyRelu")
LANES = 16
"""Elements that a vector register holds."""
KERNEL_FEATURES = (
    "log_macs",
    "log_read_bytes",
    "log_write_bytes",
    "log_weight_bytes",
    "log_intensity",
    "log_rows",
    "log_columns",
    "log_depth",
    "log_batch",
    "log_run",
    "log_gathered",
    "log_channels",
    "log_padding",
    "edge",
    "columns",
    "columns_mod_12",
    "columns_mod_16",
    "vectors_mod_4",
    "channels_mod_16",
    "source_channels_mod_16",
    "depth_mod_16",
    "rows_mod_6",
    "rows_mod_16",
    "run_mod_6",
    "run_mod_16",
    "window_height",
    "window_width",
    "stride",
    "dilation",
    "group",
    "scattered",
    "activation",
    "sums",
    "operands",
    "rank",
    "in_item_bytes",
    "out_item_bytes",
    "weight_item_bytes",
    "signed",
)
TERMS = (
    "call", "macs", "blocked_macs", "padded_macs", "edge_macs", "read_bytes", "write_bytes", "weight_bytes", "runs", "gathered",
    "swept", "swept_far",
)  # fmt: skip
"""What a law of cost is a sum of. ``blocked_macs`` counts columns in whole vectors, ``padded_macs`` those on padding as well,
``edge_macs`` those at the edges; ``gathered`` are elements that are copied so that a convolution becomes a matrix product,
``swept`` weights that are read at every step of a recurrence, and ``swept_far`` those from beyond a core's own cache."""
_NUMBERS = 26  # that _row gives


CONTEXT_FEATURES = (
    "footprint_octave",
    "previous_bytes_octave",
    "recent_bytes_octave",
    "reuse_bytes_octave",
    "alike_octave",
    "writes_output",
    "reads_input",
)
_PRODUCTS = ("convolution", "product")
_GATHER = [SORTS.index(sort) for sort in _PRODUCTS]
_RECENT = 3  # kernels
_LEAST_BYTES = 64
_LONG_AGO = 128  # kernels, or never before in the run
_FOOTPRINTS = 2.0**16, 2.0**27  # what smaller and larger ones are taken for


@dataclass(frozen=True)
class KernelTable:
    """Features of distinct kernels.

    Attributes:
        sort: ``(n,)`` position in :data:`predictors.operators.SORTS`.
        family: ``(n,)`` name of the group of kernels that share one law of cost: the kind, where laws differ the variant, and
            whether single bytes are worked on.
        macs: ``(n,)`` multiply-accumulates without those on padding; for other kernels, elements worked on.
        moved_bytes: ``(n,)`` bytes read and written, weights included.
        terms: ``(n, T)`` the columns of :data:`TERMS`.
        matrix: ``(n, F)`` the columns of :data:`KERNEL_FEATURES`.
    """

    sort: NDArray[np.int64]
    family: NDArray[np.str_]
    macs: Floats
    moved_bytes: Floats
    terms: Floats
    matrix: Floats


def kernel_table(kernels: Sequence[Kernel]) -> KernelTable:
    """Features of ``kernels``, which should be distinct: the cost is one pass in Python over them."""
    rows = [_row(k) for k in kernels]
    family = np.array([r[0] for r in rows], np.str_)
    sort = np.array([SORTS.index(r[1]) for r in rows], np.int64)
    numbers = np.array([r[2] for r in rows], dtype=np.float64).reshape(-1, _NUMBERS)
    macs, edge, swept, swept_far, read, write, weight, lines, columns, depth, batch, run, *rest = numbers.T
    moved = read + write + weight
    vectors = np.ceil(columns / LANES) * LANES / np.maximum(columns, 1)
    padded = np.maximum(lines * columns * depth * batch, macs)
    gathered = lines * depth * batch * np.isin(sort, _GATHER)
    height, width, _, _, group = rest[:5]
    groups = np.where(sort == SORTS.index("convolution"), group, 1)
    terms = np.stack(
        [
            *(np.ones(len(rows)), macs, macs * vectors, padded * vectors, edge * vectors),
            *(read, write, weight, lines * batch, gathered, swept, swept_far),
        ],
        axis=1,
    )
    logs = [np.log(np.maximum(v, 1)) for v in (macs, read, write, weight)]
    matrix = np.stack(
        [
            *logs,
            logs[0] - np.log(np.maximum(moved, 1)),
            *(np.log(np.maximum(v, 1)) for v in (lines, columns, depth, batch, run, gathered, columns * groups)),
            np.log(np.maximum(padded, 1)) - logs[0],
            edge / np.maximum(padded, 1),
            np.minimum(columns, 512),
            columns % 12,
            columns % LANES,
            np.ceil(columns / LANES) % 4,
            columns * groups % LANES,
            depth * groups / np.maximum(height * width, 1) % LANES,
            depth % LANES,
            lines % 6,
            lines % LANES,
            run % 6,
            run % LANES,
            *rest,
        ],
        axis=1,
    ).astype(np.float64)
    return KernelTable(sort, family, macs, moved, terms, matrix)


def context(kernels: Sequence[ExecutedKernel]) -> Floats:
    """``(n, C)`` the columns of :data:`CONTEXT_FEATURES` for a network's kernels: what is left in the caches of what they need.

    A run goes over the network's footprint before it comes back to the same weights and code; a kernel's operands were made some
    bytes ago, and its code was last run some kernels ago. All are known by octaves only, lest they tell networks apart.
    """
    if not kernels:
        return np.empty((0, len(CONTEXT_FEATURES)))
    made = np.array([sum(t.nbytes for t in k.kernel.outputs) for k in kernels], np.float64)
    fresh = made + [k.kernel.weight_bytes for k in kernels]
    touched = fresh + [sum(o.type.nbytes for o in k.kernel.inputs if not o.constant) for k in kernels]
    before = np.array([0.0, *accumulate(fresh)])
    previous = np.roll(touched, 1)
    recent = sum(np.roll(touched, i) for i in range(1, _RECENT + 1))
    oldest = [min(k.reads, default=i - 1) + 1 for i, k in enumerate(kernels)]
    reuse = before[: len(kernels)] - before[oldest]
    last: dict[str, int] = {}
    alike = np.empty(len(kernels))
    for i, k in enumerate(kernels):
        alike[i] = min(_LONG_AGO, i - last.get(k.kernel.kind, i - _LONG_AGO))
        last[k.kernel.kind] = i
    octave = np.round(np.log2(np.clip(before[-1], *_FOOTPRINTS)))
    return np.column_stack(
        [
            np.full(len(kernels), octave),
            *(np.round(np.log2(np.maximum(v, _LEAST_BYTES))) for v in (previous, recent, reuse)),
            np.round(np.log2(alike)),
            [k.is_output for k in kernels],
            [-1 in k.reads for k in kernels],
        ]
    )


def _row(kernel: Kernel) -> tuple[str, str, list[float]]:
    """Family, sort, and the numbers from which :func:`kernel_table` makes its columns."""
    sort, w = work(kernel)
    data = [o.type for o in kernel.inputs if not o.constant] or [o.type for o in kernel.inputs]
    weights = [o.type for o in kernel.inputs if o.constant and len(o.type.shape) > 1] or data[1:2]
    source = data[0] if data else kernel.outputs[0]
    target = kernel.outputs[0] if kernel.outputs else source
    heaviest = max(weights, key=lambda t: t.nbytes, default=source)
    activation = str(kernel.attribute("activation", ""))
    read, stored = sum(t.nbytes for t in data), kernel.weight_bytes
    if "Gather" in kernel.kind:  # reads only the rows it takes
        read, stored = min(read, target.nbytes + 8 * target.size), min(stored, target.nbytes)
    bytes_of = f"{source.dtype} by {heaviest.dtype}" if sort in _PRODUCTS else "bytes"
    names = kernel.kind, w.variant, bytes_of if source.item_bytes == 1 else ""
    return (
        "/".join(name for name in names if name),
        sort,
        [
            w.macs,
            w.edge_macs,
            w.swept,
            w.swept_far,
            read,
            sum(t.nbytes for t in kernel.outputs),
            stored,
            w.rows,
            w.columns,
            w.depth,
            w.batch,
            w.run,
            *w.window,
            w.stride,
            w.dilation,
            w.group,
            w.scattered,
            ACTIVATIONS.index(activation) if activation in ACTIVATIONS else len(ACTIVATIONS),
            len(data) > 1,
            len(kernel.inputs),
            len(source.shape),
            source.item_bytes,
            target.item_bytes,
            heaviest.item_bytes,
            (source.dtype == "int8") + 2 * (heaviest.dtype == "int8"),
        ],
    )
