"""Intervals that hold: conformal prediction on networks that the predictor did not learn from, scaled by how difficult each is.

A residual is the logarithm of measured over predicted, divided by the error that is expected of such a network: it grows with the
errors that kernels like its own are predicted with (:func:`difficulty`), and falls with its length, as far as the residuals bear
that out. Their order statistics, with the finite-sample correction of split conformal prediction (Vovk et al. 2005; Lei et al.
2018, section 5.2), bound the error on another network with the wanted probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.9
"""Of the interval of a latency."""
GUARANTEE = 0.95
"""Of the upper bound of a median latency."""
FLOOR = 0.01
"""Difficulty of a network whose kernels are all predicted perfectly."""
_LARGEST_ERROR = 1.0  # of a kernel, as the logarithm of a factor
_SHRINK = 5  # kernels
_PRIOR = 10.0, 0.3, 0.1  # widths, of the logarithm of a factor and of the exponents


@dataclass(frozen=True)
class Calibration:
    """Residuals of networks held out.

    Attributes:
        residuals: of ``latency_ms``.
        p50_residuals: of ``p50_ms`` to the predicted ``latency_ms``.
        p50: median over networks of ``p50_ms / latency_ms``.
        by_difficulty, by_latency: exponents of the expected error.
        shortest_ms, longest_ms: predicted latencies of the networks held out; beyond them the error is that of the nearest.
    """

    residuals: tuple[float, ...]
    p50_residuals: tuple[float, ...]
    p50: float
    by_difficulty: float
    by_latency: float
    shortest_ms: float
    longest_ms: float

    @classmethod
    def fit(cls, predicted_ms: Floats, latency_ms: Floats, p50_ms: Floats, difficulty: Floats) -> Self:
        """Learn from ``(n,)`` held-out predictions, measured latencies, and the ``(m,)`` measured medians of the first m."""
        timed, errors = slice(len(p50_ms)), np.log(latency_ms / predicted_ms)
        learnt = cls(
            (),
            (),
            float(np.median(p50_ms / latency_ms[timed])),
            *_exponents(np.abs(errors), difficulty, predicted_ms),
            float(predicted_ms.min()),
            float(predicted_ms.max()),
        )
        expected = learnt.expected_error(difficulty, predicted_ms)
        p50_errors = np.log(p50_ms / predicted_ms[timed])
        return replace(
            learnt,
            residuals=tuple(np.sort(errors / expected).tolist()),
            p50_residuals=tuple(np.sort(p50_errors / expected[timed]).tolist()),
        )

    def expected_error(self, difficulty: Floats, predicted_ms: Floats) -> Floats:
        """``(n,)`` relative errors, up to a factor that residuals have as well."""
        within = np.clip(predicted_ms, self.shortest_ms, self.longest_ms)
        return np.asarray(difficulty**self.by_difficulty * within**self.by_latency, np.float64)

    def interval(self, expected: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
        """``(n,)`` factors on predicted latencies: both ends of the interval that holds with probability ``level``."""
        tail = (1 + level) / 2
        residuals = np.array(self.residuals)
        lowest, highest = -conformal_quantile(-residuals, tail), conformal_quantile(residuals, tail)
        return np.exp(lowest * expected), np.exp(highest * expected)

    def p50_upper(self, expected: Floats, guarantee: float = GUARANTEE) -> Floats:
        """``(n,)`` factors from predicted latencies to what medians stay below with probability ``guarantee``."""
        return np.asarray(np.exp(conformal_quantile(np.array(self.p50_residuals), guarantee) * expected), np.float64)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :meth:`from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(**{**value, "residuals": tuple(value["residuals"]), "p50_residuals": tuple(value["p50_residuals"])})


def widened(bounds: Floats, off: Floats) -> Floats:
    """``(n,)`` upper bounds of an error, as factors, when there is another, independent one of at most ``off`` ``(n,)``, the
    logarithm of a factor."""
    logs = np.log(bounds)
    return np.asarray(bounds * np.exp(np.hypot(logs, off) - np.abs(logs)), np.float64)


def _exponents(errors: Floats, difficulty: Floats, predicted_ms: Floats) -> tuple[float, float]:
    """Those of difficulty and latency that make ``(n,)`` absolute errors most probable, if they are distributed exponentially;
    with normal priors around 1 and 0."""
    from scipy.optimize import minimize

    logs = np.column_stack([np.ones(len(errors)), np.log(difficulty), np.log(predicted_ms)])
    middle, width = np.array([0.0, 1.0, 0.0]), np.array(_PRIOR)

    def improbable(coefficients: Floats) -> float:
        expected = logs @ coefficients
        prior = (((coefficients - middle) / width) ** 2).sum() / 2
        return float((expected + errors * np.exp(-expected)).sum() + prior)

    _, by_difficulty, by_latency = minimize(improbable, middle, method="Nelder-Mead").x.tolist()
    return by_difficulty, by_latency


def difficulty(seconds: Floats, spread: Floats, family: Ints, network: Ints) -> Floats:
    """``(n,)`` expected relative error of n networks. Errors within a family of kernels are taken to go the same way, those of
    different families not.

    Args:
        seconds: ``(m,)`` time of each execution.
        spread: ``(m,)`` relative error that executions like it are predicted with.
        family: ``(m,)`` number of its family.
        network: ``(m,)`` in which network.
    """
    count, families = int(network.max(initial=-1)) + 1, int(family.max(initial=-1)) + 1
    of_family = np.bincount(network * families + family, seconds * spread, count * families).reshape(count, families)
    total = np.maximum(np.bincount(network, seconds, count), 1e-12)
    return np.asarray(np.sqrt((of_family**2).sum(axis=1) / total**2 + FLOOR**2), np.float64)


def spread_of(family: NDArray[np.str_], errors: Floats) -> dict[str, float]:
    """Each family's mean relative error of kernels in networks held out; of few kernels, shrunk to what all families have.

    Args:
        family: ``(m,)`` name of each execution's.
        errors: ``(m,)`` with which they are predicted; NaN where that is not known.
    """
    error = np.minimum(errors, _LARGEST_ERROR)
    known = np.isfinite(error)
    names, member = np.unique(family[known], return_inverse=True)
    usual = float(error[known].mean()) if known.any() else _LARGEST_ERROR
    count = np.bincount(member, minlength=len(names))
    sums = np.bincount(member, error[known], len(names))
    return dict(zip(names.tolist(), ((sums + _SHRINK * usual) / (count + _SHRINK)).tolist(), strict=True))


def conformal_quantile(values: Floats, level: float) -> float:
    """The ⌈(n + 1) · level⌉-th smallest value. With too few values for that, the largest distance from their median, stretched
    by how many are missing."""
    n = len(values)
    rank = math.ceil((n + 1) * level)
    ordered = np.sort(values)
    if rank <= n:
        return float(ordered[rank - 1])
    middle = float(np.median(ordered))
    return middle + max(float(np.abs(ordered - middle).max()), 1.0) * rank / n
