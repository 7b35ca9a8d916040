"""The budget: hard limits that a network must keep."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hwnas.costs import Costs

_ROUNDING = 1e-12
_UNITS = {"latency_ms": "milliseconds", "memory_bytes": "bytes", "model_bytes": "bytes"}


@dataclass(frozen=True)
class Budget:
    """Upper limits; None where there is none.

    Attributes:
        latency_ms: on the median latency (p50), and more strictly on the upper end of its 95 % interval.
        memory_bytes: weights and activations in a steady run.
        model_bytes: the exported file on disk.

    Raises:
        ValueError: a limit is not a positive, finite number.
    """

    latency_ms: float | None = None
    memory_bytes: float | None = None
    model_bytes: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self.given().items():
            if isinstance(limit, bool) or not isinstance(limit, int | float):
                raise ValueError(f"{name} must be a number of {_UNITS[name]}, got {limit!r}.")
            if not (math.isfinite(limit) and limit > 0):
                raise ValueError(f"{name} must be a positive, finite number of {_UNITS[name]}, got {limit}.")

    def given(self) -> dict[str, float]:
        """The limits that there are, by name."""
        return {name: limit for name, limit in asdict(self).items() if limit is not None}

    def shares(self, costs: Costs) -> NDArray[np.float64]:
        """``(n, L)`` each cost as a multiple of its limit, for the L limits given; infinite where it is not known."""
        limited = (
            (self.latency_ms, costs.upper_ms),
            (self.memory_bytes, costs.memory_bytes),
            (self.model_bytes, costs.model_bytes),
        )
        columns = [np.nan_to_num(cost / limit, nan=np.inf) for limit, cost in limited if limit is not None]
        return np.stack(columns, axis=1) if columns else np.zeros((len(costs.latency_ms), 0))

    def excess(self, costs: Costs) -> NDArray[np.float64]:
        """``(n,)`` largest relative excess over any limit: 0 within the budget, 0.5 at one and a half times a limit. What is
        over by no more than sums in another order differ is within. A cost that is not known (NaN) is infinitely over."""
        largest = self.shares(costs).max(axis=1, initial=0) - 1
        return np.where(largest > _ROUNDING, largest, 0.0)

    def feasible(self, costs: Costs) -> NDArray[np.bool_]:
        """``(n,)`` whether each network is within all limits."""
        within: NDArray[np.bool_] = self.excess(costs) == 0
        return within
