"""Bytes of weights as MNN keeps them while a network is loaded."""

from __future__ import annotations

import math

from devices import Kernel

_TILES = 2, 4, 6  # results along an axis that Winograd's algorithm computes at once
_WINDOW = 3


def kept_bytes(kernel: Kernel) -> int:
    """Of a kernel's constants: as they are, but for convolutions that are computed by Winograd's algorithm (Lavin and Gray 2016,
    section 4), of which transformed filters are kept."""
    weight = next((o.type for o in kernel.inputs if o.constant and len(o.type.shape) == 4), None)
    if kernel.kind != "Convolution" or weight is None or weight.shape[2:] != (_WINDOW, _WINDOW):
        return kernel.weight_bytes
    steps = {*kernel.attribute("strides", ()), *kernel.attribute("dilations", ()), kernel.attribute("group", 1)}
    if steps != {1} or len(kernel.outputs[0].shape) != 4:
        return kernel.weight_bytes
    (filters, channels), (height, width) = weight.shape[:2], kernel.outputs[0].shape[2:]
    side = _tile(filters, channels, height, width) + _WINDOW - 1
    return kernel.weight_bytes + weight.nbytes * side**2 // _WINDOW**2 - weight.nbytes


def _tile(filters: int, channels: int, height: int, width: int) -> int:
    """The tile with the fewest multiplications: those that transform tiles there and back, and those of the products."""

    def multiplications(tile: int) -> int:
        side = tile + _WINDOW - 1
        each = 2 * side**3 * channels + 2 * side**2 * channels * filters + 2 * side * tile**2 * filters
        return each * math.ceil(height / tile) * math.ceil(width / tile)

    return min(_TILES, key=multiplications)
