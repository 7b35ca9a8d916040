"""What networks take as a whole that were not timed as a whole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from devices import Lowering


def added_up(lowerings: Mapping[str, Lowering], timed_s: Mapping[str, float]) -> dict[str, float]:
    """Seconds by digest of the networks that are not among the ``timed_s``, where the runtime tells kernels' times: what these
    add up to, times what the timed networks take for what theirs add up to (the median).

    Pieces side by side are no network: their kernels are found, and err, in other places.
    """
    sums = {digest: _sum(lowering) for digest, lowering in lowerings.items()}
    ratios = [timed_s[digest] / sums[digest] for digest in timed_s if sums[digest] > 0]
    if not ratios:
        return {}
    level = float(np.median(ratios))
    return {
        digest: total * level
        for digest, total in sums.items()
        if digest not in timed_s and total > 0 and _hangs_together(lowerings[digest])
    }


def _sum(lowering: Lowering) -> float:
    """Zero where a kernel has no time."""
    if any(kernel.seconds is None for kernel in lowering.kernels):
        return 0.0
    return sum(kernel.seconds or 0.0 for kernel in lowering.kernels)


def _hangs_together(lowering: Lowering) -> bool:
    """Whether every kernel is connected with every other by what one makes and another reads."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = [(i, j) for i, kernel in enumerate(lowering.kernels) for j in kernel.reads if j >= 0]
    if not links:
        return len(lowering.kernels) == 1
    reader, maker = np.array(links).T
    count = len(lowering.kernels)
    return int(connected_components(coo_array((np.ones(len(links)), (reader, maker)), (count, count)))[0]) == 1
