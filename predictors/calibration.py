"""Intervals that hold: conformal prediction on networks that the predictor did not learn from.

Residuals are logarithms of measured over predicted. Their order statistics, with the finite-sample correction of split conformal
prediction (Vovk et al. 2005; Lei et al. 2018), bound the error on another network of the same kind with the wanted probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Factors on a predicted latency.

    Attributes:
        lower, upper: two-sided 90 % interval of the latency.
        p50: median over networks of ``p50_ms / latency_ms``.
        p50_upper: one-sided 95 % upper bound of ``p50_ms``.
        networks: how many held-out networks this rests on.
    """

    lower: float
    upper: float
    p50: float
    p50_upper: float
    networks: int

    @classmethod
    def fit(cls, predicted: Floats, latency: Floats, p50: Floats) -> Self:
        """Learn from ``(n,)`` held-out predictions, and measured latencies and medians in the same unit."""
        residuals = np.log(latency / predicted)
        ratio = float(np.median(p50 / latency))
        return cls(
            math.exp(-_quantile(-residuals, 0.95)),
            math.exp(_quantile(residuals, 0.95)),
            ratio,
            math.exp(_quantile(np.log(p50 / predicted), 0.95)),
            len(residuals),
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :meth:`from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(**value)


def _quantile(values: Floats, level: float) -> float:
    """The ⌈(n + 1) · level⌉-th smallest value. With too few values for that, the largest distance from their median, stretched
    by how many are missing."""
    n = len(values)
    rank = math.ceil((n + 1) * level)
    ordered = np.sort(values)
    if rank <= n:
        return float(ordered[rank - 1])
    middle = float(np.median(ordered))
    return middle + max(float(np.abs(ordered - middle).max()), 0.02) * rank / n
