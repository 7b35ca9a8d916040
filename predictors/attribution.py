"""Times of kernels where the runtime tells none: those that explain best how long whole networks take.

Some runtimes fuse a whole network into one launch, or launch kernels ahead of running them. A network's time is then modelled
as a sum over its kernels of ``scale of the family · (call + macs · a + bytes · b)``: first one law for all families, with no
negative term, then how far each family departs from it (ridge regression towards 1), both fitted to relative errors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from predictors.kernel_model import Executions

Floats = NDArray[np.float64]

_DEPARTURE = 0.5  # standard deviation that is expected of a family's scale, relative
_NOISE = 0.02  # of a network's time, relative
_LEAST = 0.05  # of the common law


def attributed(data: Executions, timed: Executions, measured: Floats) -> Executions:
    """``data`` with a time for each execution.

    Args:
        data: networks whose kernels have no times.
        timed: the n networks that were timed as a whole.
        measured: ``(n,)`` their seconds.
    """
    from scipy.optimize import nnls

    terms = _summed(_terms(timed)[timed.kernel], timed.network, len(measured)) / measured[:, None]
    size = terms.mean(axis=0) + 1e-300
    law = nnls(terms / size, np.ones(len(measured)))[0] / size
    lawful = _terms(timed) @ law
    names, family = np.unique(timed.table.family, return_inverse=True)
    shares = np.zeros((len(measured), len(names)))
    np.add.at(shares, (timed.network, family[timed.kernel]), lawful[timed.kernel])
    shares /= measured[:, None]
    weight = _NOISE / _DEPARTURE
    gram = shares.T @ shares + weight**2 * np.eye(len(names))
    departure = np.linalg.solve(gram, shares.T @ (1 - shares.sum(axis=1)))
    scales = dict(zip(names.tolist(), np.maximum(1 + departure, _LEAST).tolist(), strict=True))
    scale = np.array([scales.get(str(f), 1.0) for f in data.table.family])
    return replace(data, seconds=(scale * (_terms(data) @ law))[data.kernel])


def _terms(data: Executions) -> Floats:
    """``(K, 3)`` of each distinct kernel: once, its macs, its bytes."""
    return np.column_stack([np.ones(len(data.kernels)), data.table.macs, data.table.moved_bytes])


def _summed(values: Floats, network: NDArray[np.int64], count: int) -> Floats:
    """``(count, columns)``: values of executions added up by network."""
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, network, values)
    return total
