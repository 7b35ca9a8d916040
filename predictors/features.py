"""Physics of kernels, as arrays: how much a kernel computes and moves, and what decides how well it can.

Shapes are read once per distinct kernel; everything after that is vectorised over kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import Kernel

ACTIVATIONS = ("", "Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "LeakyRelu")
KERNEL_FEATURES = (
    "log_macs",
    "log_read_bytes",
    "log_write_bytes",
    "log_weight_bytes",
    "log_intensity",
    "in_channels",
    "out_channels",
    "in_channels_mod_16",
    "out_channels_mod_16",
    "out_channels_mod_8",
    "out_channels_mod_4",
    "group_channels",
    "depthwise",
    "out_height",
    "out_width",
    "out_width_mod_16",
    "kernel_area",
    "stride",
    "dilation",
    "activation",
    "sums",
    "operands",
    "rank",
    "in_item_bytes",
    "out_item_bytes",
    "quantized",
)
_NUMBERS = 19  # that _row gives


@dataclass(frozen=True)
class KernelTable:
    """Features of distinct kernels.

    Attributes:
        family: ``(n,)`` name of the group of kernels that share one law of cost: the kind, and for convolutions the variant.
        macs: ``(n,)`` multiply-accumulates without those on padding; for other kernels, elements worked on.
        moved_bytes: ``(n,)`` bytes read and written, weights included.
        matrix: ``(n, F)`` the columns of :data:`KERNEL_FEATURES`.
    """

    family: NDArray[np.str_]
    macs: NDArray[np.float64]
    moved_bytes: NDArray[np.float64]
    matrix: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Window:
    """What a sliding-window kernel does; for other kernels the defaults."""

    kernel: tuple[int, ...] = ()
    stride: int = 1
    dilation: int = 1
    group: int = 1
    in_channels: int = 0
    out_channels: int = 0


def kernel_table(kernels: Sequence[Kernel]) -> KernelTable:
    """Features of ``kernels``, which should be distinct: the cost is one pass in Python over them."""
    rows = [_row(k) for k in kernels]
    family = np.array([r[0] for r in rows], np.str_)
    numbers = np.array([r[1] for r in rows], dtype=np.float64).reshape(-1, _NUMBERS)
    macs, read, write, weight, c_in, c_out, group, height, width, *rest = numbers.T
    moved = read + write + weight
    log_macs, log_moved = np.log(np.maximum(macs, 1)), np.log(np.maximum(moved, 1))
    matrix = np.stack(
        [
            log_macs,
            np.log(np.maximum(read, 1)),
            np.log(np.maximum(write, 1)),
            np.log(np.maximum(weight, 1)),
            log_macs - log_moved,
            c_in,
            c_out,
            c_in % 16,
            c_out % 16,
            c_out % 8,
            c_out % 4,
            c_in / np.maximum(group, 1),
            (group > 1) & (group == c_in),
            height,
            width,
            width % 16,
            *rest,
        ],
        axis=1,
    ).astype(np.float64)
    return KernelTable(family, macs, moved, matrix)


def _row(kernel: Kernel) -> tuple[str, list[float]]:
    """Family, and the numbers from which :func:`kernel_table` makes its columns."""
    attributes = dict(kernel.attributes)
    op = kernel.kind.rsplit(":", 1)[-1]
    data = [o.type for o in kernel.inputs if not o.constant] or [o.type for o in kernel.inputs]
    weights = [o.type for o in kernel.inputs if o.constant]
    source = data[0] if data else kernel.outputs[0]
    target = kernel.outputs[0] if kernel.outputs else source
    matrices = [t.shape for t in weights if len(t.shape) > 1] or [t.shape for t in (*weights, *data[1:])]
    weight = max(matrices, key=math.prod, default=())
    window = _window(op, attributes, weight, source.shape, target.shape)
    macs, family = _macs(kernel, op, attributes, weight, source.shape, target.shape, window)
    spatial = [*target.shape[2:], 1, 1] if len(target.shape) > 2 else [1, *target.shape[-1:], 1]
    activation = _text(attributes.get("activation", ""))
    read = sum(t.nbytes for t in data)
    return family, [
        macs,
        read,
        sum(t.nbytes for t in kernel.outputs),
        kernel.weight_bytes,
        window.in_channels or (source.shape[1] if len(source.shape) > 1 else source.size),
        window.out_channels or (target.shape[1] if len(target.shape) > 1 else target.size),
        window.group,
        spatial[0],
        spatial[1],
        math.prod(window.kernel),
        window.stride,
        window.dilation,
        ACTIVATIONS.index(activation) if activation in ACTIVATIONS else len(ACTIVATIONS),
        len(data) > 1,
        len(kernel.inputs),
        len(source.shape),
        np.dtype(source.dtype).itemsize,
        np.dtype(target.dtype).itemsize,
        source.dtype in ("int8", "uint8"),
    ]


def _window(
    op: str, attributes: Mapping[str, Any], weight: Sequence[int], source: Sequence[int], target: Sequence[int]
) -> _Window:
    if "Conv" in op and len(weight) > 2:
        group = int(attributes.get("group", 1))
        transposed = "Transpose" in op
        return _Window(
            tuple(weight[2:]),
            math.prod(attributes.get("strides", (1,))),
            math.prod(attributes.get("dilations", (1,))),
            group,
            weight[0] if transposed else weight[1] * group,
            weight[1] * group if transposed else weight[0],
        )
    if "kernel_shape" in attributes and len(source) > 2:
        return _Window(
            tuple(attributes["kernel_shape"]), math.prod(attributes.get("strides", (1,))), 1, 1, source[1], target[1]
        )
    return _Window()


def _macs(
    kernel: Kernel,
    op: str,
    attributes: Mapping[str, Any],
    weight: Sequence[int],
    source: Sequence[int],
    target: Sequence[int],
    window: _Window,
) -> tuple[float, str]:
    """Work of a kernel, and its family."""
    if "Conv" in op and window.kernel and len(source) > 2 and len(target) > 2:
        fixed, moving = (source, target) if "Transpose" in op else (target, source)
        taps = _taps(attributes, window.kernel, moving[2:], fixed[2:])
        channels = window.in_channels * window.out_channels / window.group
        if window.group > 1 and window.group >= min(window.in_channels, window.out_channels):
            variant = "depthwise"
        elif window.group > 1:
            variant = "grouped"
        elif source[2:] and math.prod(source[2:]) == 1:
            variant = "vector"
        else:
            variant = "pointwise" if math.prod(window.kernel) == 1 else "dense"
        return target[0] * channels * taps, f"{kernel.kind}/{variant}"
    if ("Gemm" in op or "MatMul" in op) and source and target:
        depth = source[0] if int(attributes.get("transA", 0)) and len(source) > 1 else source[-1]
        return float(math.prod(target) * depth), kernel.kind
    if op in ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"):
        steps = source[0] * source[1] if len(source) > 1 else 1
        matrices = [o.type.size for o in kernel.inputs if o.constant and len(o.type.shape) == 3]
        return float(steps * sum(matrices)), kernel.kind
    if "Attention" in op and len(source) == 3:
        batch, length, width = source
        return float(batch * length * (math.prod(weight) + 2 * length * width)), kernel.kind
    if window.kernel:
        return float(math.prod(target) * math.prod(window.kernel)), kernel.kind
    return float(max(math.prod(source), math.prod(target))), kernel.kind


def _taps(attributes: Mapping[str, Any], kernel: Sequence[int], source: Sequence[int], target: Sequence[int]) -> float:
    """How many (output position, kernel tap) pairs fall on real elements, not on padding; product over the axes."""
    axes = len(kernel)
    strides = attributes.get("strides") or (1,) * axes
    dilations = attributes.get("dilations") or (1,) * axes
    pads = attributes.get("pads") or tuple(k // 2 for k in kernel) * 2
    total = 1.0
    for k, s, d, p, size, out in zip(kernel, strides, dilations, pads[:axes], source, target, strict=False):
        offset = np.arange(k) * d - p
        first = np.maximum(0, -(offset // s))
        last = np.minimum(out - 1, (size - 1 - offset) // s)
        total *= float(np.maximum(0, last - first + 1).sum())
    return total


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
