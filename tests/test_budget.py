"""Budgets: limits that cannot be are refused; excess and feasibility agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hwnas.budget import Budget
from hwnas.costs import Costs


def costs(upper_ms: list[float], memory: list[float], size: list[float]) -> Costs:
    upper = np.array(upper_ms)
    return Costs(upper * 0.9, upper * 0.95, upper, np.array(memory), np.array(size))


@pytest.mark.parametrize("name", ["latency_ms", "memory_bytes", "model_bytes"])
@pytest.mark.parametrize("limit", [0, -1.0, math.nan, math.inf, -math.inf])
def test_impossible_limit_is_refused(name: str, limit: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a positive, finite number of"):
        Budget(**{name: limit})


@pytest.mark.parametrize("limit", ["8 ms", True, [1]])
def test_limit_that_is_no_number_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match="latency_ms must be a number of milliseconds, got"):
        Budget(latency_ms=limit)


def test_largest_relative_excess_counts() -> None:
    budget = Budget(latency_ms=2.0, memory_bytes=100, model_bytes=10)
    c = costs([2.0, 3.0, 1.0, 1.0], [100, 100, 300, 50], [10, 10, 12, math.nan])
    np.testing.assert_allclose(budget.excess(c), [0, 0.5, 2, math.inf])
    assert budget.feasible(c).tolist() == [True, False, False, False]


def test_latency_budget_is_on_the_upper_bound() -> None:
    assert not Budget(latency_ms=0.97).feasible(costs([1.0], [1], [1]))[0]


def test_no_limits_let_everything_pass() -> None:
    assert Budget().feasible(costs([1e9], [1e12], [math.nan]))[0]
