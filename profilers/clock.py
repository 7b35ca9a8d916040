"""Taking a machine's changing speed out of what was measured on it.

The clock of a machine that others use too changes by up to 15 % within seconds, and for all networks alike. So blocks that ran
one after the other tell each other's speed: where a network *and its neighbours in time* were slow, the machine was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NEIGHBOURS = 9  # blocks that tell the speed at a block; it is the same over about so many
_PASSES = 4


def even_out(lows: Floats, order: NDArray[np.int64]) -> Floats:
    """``(networks, rounds)`` what each block would have taken had the machine been as fast as networks at their best met it.

    A two-way fit by medians (Tukey 1977, chapter 11) of logarithms: a network's own time, and the machine's speed, which is a
    running median over the blocks in the order in which they ran.

    Args:
        lows: ``(networks, rounds)`` time of each block.
        order: ``(rounds, networks)`` which network ran first, second, … in each round.
    """
    from scipy.ndimage import median_filter

    logs = np.log(lows)
    ran = order.T, np.broadcast_to(np.arange(lows.shape[1]), order.T.shape)
    own, speed = np.median(logs, axis=1), np.zeros_like(logs)
    for _ in range(_PASSES):
        left = (logs - own[:, None])[ran]  # (position, round)
        speed[ran] = median_filter(left.T.ravel(), _NEIGHBOURS, mode="nearest").reshape(left.T.shape).T
        own = np.median(logs - speed, axis=1)
    best = np.median(logs.min(axis=1) - own)
    return np.asarray(np.exp(logs - speed + best), np.float64)
