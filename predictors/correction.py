"""From kernels' profiled times to a network's: what the profiler adds, what the run costs, and what does not add up.

A network's latency is modelled as a sum over its kernels, so that it can be gathered and added in a search::

    latency = run + Σ_k [ t_k · (1 + scale + scale_family(k) + scale_k) + call + call_family(k) ]

``t_k`` is the kernel model's time. All coefficients have normal priors around zero (``run``, ``call`` and ``scale`` wide ones,
the others as wide as leave-one-out errors of the timed networks say), which makes this a ridge regression in groups. It is
solved in its dual form, n × n for n timed networks (Rasmussen and Williams 2006, sections 2.1 and 5.4.2), on relative errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from devices import Kernel
from devices.kernels import kernel_from_json
from predictors.kernel_model import Executions

Floats = NDArray[np.float64]

_SHORTEST = 5e-8  # seconds that a kernel takes at least
_NOISE = 0.01  # standard deviation of a timed network, as a fraction
_SCALE = 0.3  # prior standard deviations: of the scale,
_CALL = 2e-6  # of the seconds for each kernel
_RUN = 50e-6  # and for each run
_FAMILY_SCALES = (0.0, 0.02, 0.05, 0.1, 0.2)
_FAMILY_CALLS = (0.0, 0.25e-6, 1e-6)
_KERNEL_SCALES = (0.0, 0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Correction:
    """Fitted coefficients. ``families`` has (scale, call) of each family, ``kernels`` the scale of each kernel."""

    run: float
    scale: float
    call: float
    families: Mapping[str, tuple[float, float]]
    kernels: Mapping[Kernel, float]

    @classmethod
    def fit(cls, data: Executions, seconds: Floats, latency: Floats) -> Self:
        """Learn from networks that were timed as a whole.

        Args:
            data: their n networks' executions.
            seconds: ``(m,)`` the kernel model's time of each execution.
            latency: ``(n,)`` measured seconds of each network.
        """
        n = len(latency)
        family_names, family = np.unique(data.table.family, return_inverse=True)
        times = np.zeros((n, len(data.kernels)))
        np.add.at(times, (data.network, data.kernel), seconds)
        calls = np.zeros((n, len(data.kernels)))
        np.add.at(calls, (data.network, data.kernel), 1)
        member = np.zeros((len(data.kernels), len(family_names)))
        member[np.arange(len(family)), family] = 1
        blocks = [np.ones((n, 1)), times.sum(axis=1, keepdims=True), calls.sum(axis=1, keepdims=True)]
        blocks += [times @ member, calls @ member, times]
        relative = [b / latency[:, None] for b in blocks]
        grams = [b @ b.T for b in relative]
        target = (latency - times.sum(axis=1)) / latency
        best, chosen = np.inf, (_RUN, _SCALE, _CALL, 0.0, 0.0, 0.0)
        for family_scale, family_call, kernel_scale in product(_FAMILY_SCALES, _FAMILY_CALLS, _KERNEL_SCALES):
            widths = (_RUN, _SCALE, _CALL, family_scale, family_call, kernel_scale)
            error = _leave_one_out(grams, widths, target)
            if error < best * 0.995:  # a wider prior must earn it
                best, chosen = error, widths
        dual = np.linalg.solve(_covariance(grams, chosen), target)
        run, scale, call, *rest = (w**2 * (b.T @ dual) for w, b in zip(chosen, relative, strict=True))
        of_family, calls_of_family, of_kernel = rest
        return cls(
            float(run[0]),
            float(scale[0]),
            float(call[0]),
            {str(f): (float(s), float(c)) for f, s, c in zip(family_names, of_family, calls_of_family, strict=True)},
            dict(zip(data.kernels, of_kernel.tolist(), strict=True)),
        )

    def seconds(self, data: Executions, seconds: Floats) -> Floats:
        """``(m,)`` what each execution adds to its network's latency."""
        none = (0.0, 0.0)
        families = np.array([self.families.get(str(f), none) for f in data.table.family]).reshape(-1, 2)
        factor = 1 + self.scale + families[:, 0] + np.array([self.kernels.get(k, 0.0) for k in data.kernels])
        added = seconds * factor[data.kernel] + (self.call + families[:, 1])[data.kernel]
        return np.maximum(np.asarray(added, np.float64), _SHORTEST)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :meth:`from_json` is the inverse."""
        return {
            "run": self.run,
            "scale": self.scale,
            "call": self.call,
            "families": {f: list(v) for f, v in self.families.items()},
            "kernels": [[k.to_json(), v] for k, v in self.kernels.items()],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(
            value["run"],
            value["scale"],
            value["call"],
            {f: (s, c) for f, (s, c) in value["families"].items()},
            {kernel_from_json(k): v for k, v in value["kernels"]},
        )


def _covariance(grams: list[Floats], widths: tuple[float, ...]) -> Floats:
    total = sum((w**2 * g for w, g in zip(widths, grams, strict=True)), start=np.zeros_like(grams[0]))
    return np.asarray(total + _NOISE**2 * np.eye(len(total)), np.float64)


def _leave_one_out(grams: list[Floats], widths: tuple[float, ...], target: Floats) -> float:
    """Root mean square of the relative errors with each network left out in turn (Rasmussen and Williams 2006, eq. 5.12),
    each counted as at most 10 %, so that one disturbed measurement decides nothing."""
    inverse = np.linalg.inv(_covariance(grams, widths))
    errors = inverse @ target / np.diag(inverse)
    return float(np.sqrt(np.mean(np.minimum(np.abs(errors), 0.1) ** 2)))
