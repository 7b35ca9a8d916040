"""What one kernel has to do, and what it is told from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


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
class Operands:
    """A kernel, taken apart once.

    Attributes:
        op: its name without domain.
        data, weights: shapes of the operands that are computed, and of the constants.
        shapes: of all operands, in order.
        source, target: shape of the first operand and of the first result.
    """

    op: str
    attributes: Mapping[str, Any]
    data: list[Shape]
    weights: list[Shape]
    source: Shape
    target: Shape
    shapes: list[Shape]
