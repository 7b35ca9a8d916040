"""Memory of a network whose runtime reports none: the bytes that are alive at once, from the kernels as they were executed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from devices.device import Memory
from devices.kernels import SHARES, ExecutedKernel

_OTHERS = -1  # in place of a kernel's position: who made it keeps it, the caller or the network itself


def estimated_memory(kernels: Sequence[ExecutedKernel]) -> Memory:
    """Constants, and the highest number of bytes alive while a kernel runs (``source="estimated"``)."""
    weights = sum(k.kernel.weight_bytes for k in kernels)
    return Memory(weights, int(live_bytes(kernels).max(initial=0)), "estimated")


def live_bytes(kernels: Sequence[ExecutedKernel]) -> NDArray[np.int64]:
    """``(n,)`` bytes alive while each kernel runs: a kernel's results, from the kernel to the last that reads them or a view of
    them. Outputs of the network live to its end; its inputs are the caller's."""
    n = len(kernels)
    owner = list(range(n))  # the kernel in whose results those of each lie
    last = list(range(n))
    for i, executed in enumerate(kernels):
        if (shared := executed.kernel.attribute(SHARES)) is not None:
            owner[i] = _source(executed, shared, owner)
        for at in (*executed.reads, i):
            if at >= 0 and owner[at] != _OTHERS:
                last[owner[at]] = max(last[owner[at]], n - 1 if executed.is_output and at == i else i)
    change = np.zeros(n + 1, np.int64)
    for i, executed in enumerate(kernels):
        if owner[i] == i:
            size = sum(t.nbytes for t in executed.kernel.outputs)
            change[i] += size
            change[last[i] + 1] -= size
    return np.cumsum(change)[:n]


def _source(executed: ExecutedKernel, operand: int, owner: Sequence[int]) -> int:
    """Who owns what an operand lies in."""
    inputs, reads = executed.kernel.inputs, executed.reads
    number = sum(not o.constant for o in inputs[:operand])
    if inputs[operand : operand + 1] and not inputs[operand].constant and number < len(reads) and reads[number] >= 0:
        return owner[reads[number]]
    return _OTHERS
