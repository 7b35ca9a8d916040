"""How well predictions agree with measurements: the figures that reports and benchmarks give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of predictions of several networks. An error is relative to the measurement; all but ``tau`` are fractions.

    Attributes:
        networks: how many.
        within_5_percent, within_10_percent: share of those predicted within so much.
        rmspe: root of the mean squared error.
        median, worst: of the absolute errors.
        tau: Kendall's τ (Kendall 1938); NaN of fewer than two networks.
    """

    networks: int
    within_5_percent: float
    within_10_percent: float
    rmspe: float
    median: float
    worst: float
    tau: float

    @classmethod
    def of(cls, predicted: Floats, measured: Floats) -> Self:
        """Compare the predictions of at least one network with its measurement: ``(n,)`` each, in the same unit."""
        from scipy.stats import kendalltau

        error = np.abs(predicted / measured - 1)
        return cls(
            len(error),
            float(np.mean(error <= 0.05)),
            float(np.mean(error <= 0.1)),
            float(np.sqrt(np.mean(error**2))),
            float(np.median(error)),
            float(error.max()),
            float(kendalltau(predicted, measured).statistic) if len(error) > 1 else np.nan,
        )
