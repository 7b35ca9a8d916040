"""From kernels' profiled times to a network's: what the profiler adds, what the run costs, and what does not add up.

A network's time is modelled as a sum over its kernels, so that it can be gathered and added in a search::

    time = run + Σ_k [ max(t_k − profiler, least) · (1 + scale + scale_family(k) + scale_k) + call + call_family(k) + call_k ]

``t_k`` is the kernel model's time. All coefficients have normal priors around zero, which makes this a ridge regression in
groups, solved in its dual form, n × n for n timed networks, on relative errors. How wide each group's prior is, how far
networks scatter, and what the profiler adds, is what makes the measurements most probable (Rasmussen and Williams 2006,
equation 2.30 and section 5.4.1), so that details are believed as far as the timed networks bear them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from devices import Kernel
from devices.kernels import kernel_from_json
from predictors.kernel_model import SHORTEST, Executions

Floats = NDArray[np.float64]

_LEAST = 0.05  # of the shortest kernel's profiled time: what a kernel takes at least
_RUN, _SCALE, _CALL = (
    10.0,
    0.3,
    0.1,
)  # widths of the priors that every device needs: times a mean kernel, 1, a mean kernel
_CHOICES: dict[str, tuple[float, ...]] = {
    "profiler": (0.0, 0.5, 0.8, 0.9, 0.95, 0.98),  # of the shortest kernel's profiled time
    # standard deviation of a timed network, as a fraction
    "noise": (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4),
    "scale_family": (0.0, 0.05, 0.1, 0.2, 0.4),  # widths of priors
    "call_family": (0.0, 0.02, 0.05, 0.1, 0.2),  # of a mean kernel's profiled time
    "scale_kernel": (0.0, 0.03, 0.05, 0.1, 0.2),
    "call_kernel": (0.0, 0.01, 0.02, 0.05),  # of a mean kernel's profiled time
}
_START = {
    "profiler": 0.9, "noise": 0.015, "scale_family": 0.1, "call_family": 0.05, "scale_kernel": 0.05, "call_kernel": 0.02,
}  # fmt: skip
_PASSES = 3


@dataclass(frozen=True)
class _Design:
    """A regression of relative errors: ``(n, ·)`` columns of each group of coefficients, their ``(n, n)`` products, the aims."""

    columns: list[Floats]
    grams: Floats
    target: Floats


@dataclass(frozen=True)
class Correction:
    """Fitted coefficients; times in seconds. ``families`` and ``kernels`` have (scale, call) of each.

    Attributes:
        profiler: taken off every kernel's profiled time.
        least: what is left of it at least.
        run, scale, call: what a run costs, and what every kernel costs relative to its time and beside it.
    """

    profiler: float
    least: float
    run: float
    scale: float
    call: float
    families: Mapping[str, tuple[float, float]]
    kernels: Mapping[Kernel, tuple[float, float]]

    @classmethod
    def fit(cls, data: Executions, seconds: Floats, measured: Floats) -> Self:
        """Learn from networks that were timed as a whole.

        Args:
            data: their n networks' executions.
            seconds: ``(m,)`` the kernel model's time of each execution.
            measured: ``(n,)`` seconds of each network.
        """
        from scipy.linalg import cho_factor, cho_solve

        shortest, mean = float(seconds.min()), float(seconds.mean())
        names, family = np.unique(data.table.family, return_inverse=True)
        member = np.eye(len(names))[family]
        shape = len(measured), len(data.kernels)
        calls = np.zeros(shape)
        np.add.at(calls, (data.network, data.kernel), 1)

        @cache
        def design(profiler: float) -> _Design:
            times = np.zeros(shape)
            np.add.at(times, (data.network, data.kernel), np.maximum(seconds - profiler * shortest, _LEAST * shortest))
            columns = [
                np.ones((len(measured), 1)),
                times.sum(axis=1, keepdims=True),
                calls.sum(axis=1, keepdims=True),
                times @ member,
                calls @ member,
                times,
                calls,
            ]
            relative = [c / measured[:, None] for c in columns]
            return _Design(relative, np.stack([r @ r.T for r in relative]), 1 - times.sum(axis=1) / measured)

        def widths(choice: Mapping[str, float]) -> Floats:
            of_groups = [choice[name] for name in ("scale_family", "call_family", "scale_kernel", "call_kernel")]
            return np.array([_RUN, _SCALE, _CALL, *of_groups]) * [mean, 1, mean, 1, mean, 1, mean]

        def solved(choice: Mapping[str, float]) -> tuple[float, Floats]:
            """Minus the logarithm of the measurements' probability, and the dual solution."""
            of = design(choice["profiler"])
            covariance = np.tensordot(widths(choice) ** 2, of.grams, 1) + choice["noise"] ** 2 * np.eye(len(measured))
            factor = cho_factor(covariance)
            dual = cho_solve(factor, of.target)
            return 0.5 * float(of.target @ dual) + float(np.log(np.diag(factor[0])).sum()), dual

        choice = dict(_START)
        for _ in range(_PASSES):
            before = dict(choice)
            for name, values in _CHOICES.items():
                found = [solved(choice | {name: value})[0] for value in values]
                choice[name] = values[int(np.argmin(found))]
            if choice == before:
                break
        dual, columns = solved(choice)[1], design(choice["profiler"]).columns
        coefficients = [w**2 * (c.T @ dual) for w, c in zip(widths(choice), columns, strict=True)]
        (run,), (scale,), (call,), *groups = (c.tolist() for c in coefficients)
        of_families, calls_of_families, of_kernels, calls_of_kernels = groups
        return cls(
            choice["profiler"] * shortest,
            _LEAST * shortest,
            run,
            scale,
            call,
            dict(zip(names.tolist(), zip(of_families, calls_of_families, strict=True), strict=True)),
            dict(zip(data.kernels, zip(of_kernels, calls_of_kernels, strict=True), strict=True)),
        )

    def seconds(self, data: Executions, seconds: Floats) -> Floats:
        """``(m,)`` what each execution adds to its network's time; never less than nothing."""
        none = (0.0, 0.0)
        families = np.array([self.families.get(str(f), none) for f in data.table.family]).reshape(-1, 2)
        kernels = np.array([self.kernels.get(k, none) for k in data.kernels]).reshape(-1, 2)
        scale, call = (np.array([1 + self.scale, self.call]) + families + kernels).T
        left = np.maximum(seconds - self.profiler, self.least)
        return np.asarray(np.maximum(left * scale[data.kernel] + call[data.kernel], 0), np.float64)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :meth:`from_json` is the inverse."""
        return {
            "profiler": self.profiler,
            "least": self.least,
            "run": self.run,
            "scale": self.scale,
            "call": self.call,
            "families": {f: list(v) for f, v in self.families.items()},
            "kernels": [[k.to_json(), list(v)] for k, v in self.kernels.items()],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(
            value["profiler"],
            value["least"],
            value["run"],
            value["scale"],
            value["call"],
            {f: (s, c) for f, (s, c) in value["families"].items()},
            {kernel_from_json(k): (s, c) for k, (s, c) in value["kernels"]},
        )


def held_out(
    data: Executions, latency: Floats, fold: NDArray[np.int64], apart: Floats, times: Sequence[Floats]
) -> tuple[Floats, Floats]:
    """Seconds of each execution, and of each network, as predicted without it: from its kernels' times ``apart`` ``(m,)``, and by
    a correction learnt from the other folds' networks and the ``times`` ``(m,)`` that there are for the fold."""
    costs, totals = np.empty(len(data.kernel)), np.empty(len(latency))
    for f, seconds in enumerate(times):
        out, within = fold == f, fold[data.network] == f
        correction = Correction.fit(data.of(~out), seconds[~within], latency[~out])
        costs = np.where(within, correction.seconds(data, apart), costs)
        totals[out] = np.bincount(data.network, costs, len(latency))[out] + correction.run
    return costs, np.maximum(totals, SHORTEST)
