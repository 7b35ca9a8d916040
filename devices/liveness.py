"""Memory of a network whose runtime reports none: the bytes that are alive at once, from the kernels as they were executed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from devices.device import Memory
from devices.kernels import ExecutedKernel


def estimated_memory(kernels: Sequence[ExecutedKernel]) -> Memory:
    """Constants, and the highest number of bytes alive while a kernel runs (``source="estimated"``)."""
    weights = sum(k.kernel.weight_bytes for k in kernels)
    return Memory(weights, int(live_bytes(kernels).max(initial=0)), "estimated")


def live_bytes(kernels: Sequence[ExecutedKernel]) -> NDArray[np.int64]:
    """``(n,)`` bytes alive while each kernel runs: a kernel's results, from the kernel to the last that reads them. Outputs of
    the network live to its end; its inputs are the caller's."""
    n = len(kernels)
    last = list(range(n))
    for i, executed in enumerate(kernels):
        for at in executed.reads:
            if at >= 0:
                last[at] = i
    change = np.zeros(n + 1, np.int64)
    for i, executed in enumerate(kernels):
        size = sum(t.nbytes for t in executed.kernel.outputs)
        change[i] += size
        change[n if executed.is_output else last[i] + 1] -= size
    return np.cumsum(change)[:n]
