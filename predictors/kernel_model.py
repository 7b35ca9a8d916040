"""What a kernel costs: a law of physics for its family, trees on what the law leaves, and what was measured of that very kernel.

1. A *law* per family (:mod:`predictors.features`): ``seconds = overhead + macs · a + bytes · b`` with no negative term, fitted to
   relative errors. It extrapolates, and it says what bounds a kernel.
2. XGBoost (Chen and Guestrin 2016) on the logarithm of measured over lawful time. It sees the kernel alone: what tells networks
   apart, such as how much memory they touch, it would use to learn how the machine was while each was measured.
3. For a kernel that the profile holds itself, the mean of what is left, shrunk by how much a mean of that many measurements can
   be trusted (empirical Bayes).

Times are the profiler's, its overhead included; :mod:`predictors.correction` takes that out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from devices import Kernel, Lowering
from devices.kernels import kernel_from_json
from predictors.features import KernelTable, kernel_table

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOUNDS = ("overhead", "compute", "bytes")
_TREES = {"max_depth": 5, "eta": 0.08, "subsample": 0.8, "colsample_bytree": 0.8, "min_child_weight": 3, "lambda": 2.0}
_ROUNDS = 200
_FEWEST = 5  # distinct kernels that a family needs for a law of its own
_SHORTEST = 1e-7  # seconds; a runtime whose clock is coarse may report zero


@dataclass(frozen=True)
class Executions:
    """All kernels of several networks, one after the other.

    Attributes:
        kernels: the K distinct kernels.
        table: their features.
        kernel: ``(m,)`` which distinct kernel was executed.
        network: ``(m,)`` in which network.
        seconds: ``(m,)`` its measured time, NaN where there is none.
    """

    kernels: tuple[Kernel, ...]
    table: KernelTable
    kernel: Ints
    network: Ints
    seconds: Floats


def executions(lowerings: Sequence[Lowering]) -> Executions:
    """Flatten networks into one table."""
    ids: dict[Kernel, int] = {}
    kernel = [ids.setdefault(k.kernel, len(ids)) for low in lowerings for k in low.kernels]
    lengths = [len(low.kernels) for low in lowerings]
    seconds = [np.nan if k.seconds is None else k.seconds for low in lowerings for k in low.kernels]
    return Executions(
        tuple(ids),
        kernel_table(tuple(ids)),
        np.array(kernel, np.int64),
        np.repeat(np.arange(len(lowerings)), lengths),
        np.array(seconds, np.float64),
    )


@dataclass(frozen=True)
class KernelModel:
    """A fitted model of kernels' times.

    Attributes:
        laws: family to ``(overhead, seconds per mac, seconds per byte)``; ``""`` is the law of all families together.
        families: names in the order of the trees' family feature.
        booster: the trees.
        measured: what the trees leave of kernels in the profile: logarithm of a factor.
        ranges: family to ``(2, 2)`` lowest and highest log macs and log bytes that were profiled.
    """

    laws: Mapping[str, Floats]
    families: tuple[str, ...]
    booster: xgboost.Booster
    measured: Mapping[Kernel, float]
    ranges: Mapping[str, Floats]

    @classmethod
    def fit(cls, data: Executions, *, seed: int) -> Self:
        """Learn from the executions that have a time. ``seed`` is for the trees' subsampling.

        Raises:
            ValueError: none has a time.
        """
        import xgboost

        rows = np.flatnonzero(np.isfinite(data.seconds))
        if not len(rows):
            raise ValueError("no kernel in the profile has a time")
        seconds = np.maximum(data.seconds[rows], _SHORTEST)
        kernel, counts = data.kernel[rows], np.bincount(data.kernel[rows], minlength=len(data.kernels))
        seen = np.flatnonzero(counts)
        mean = np.bincount(kernel, seconds, len(data.kernels))[seen] / counts[seen]
        laws, ranges = _laws(data.table, seen, mean)
        families = tuple(sorted(laws.keys() - {""}))
        base = _terms(data.table, laws).sum(axis=1)

        features = _features(data.table, families)
        logs = np.log(seconds / base[kernel])
        target = np.bincount(kernel, logs, len(data.kernels))[seen] / counts[seen]
        weight = counts[seen] * mean**0.5
        booster = xgboost.train(
            {
                **_TREES,
                "objective": "reg:squarederror",
                "tree_method": "hist",
                "nthread": 1,
                "seed": seed,
                "base_score": 0.0,
            },
            xgboost.DMatrix(features[seen], target, weight=weight / weight.mean()),
            _ROUNDS,
        )
        shrunk = _shrunk_means(logs - booster.predict(xgboost.DMatrix(features))[kernel], kernel, len(data.kernels))
        measured = {data.kernels[i]: float(shrunk[i]) for i in seen}
        return cls(laws, families, booster, measured, ranges)

    def seconds(self, data: Executions) -> Floats:
        """``(m,)`` what the runtime's profiler would report for each execution."""
        import xgboost

        if not data.kernels:
            return np.empty(0)
        base = _terms(data.table, self.laws).sum(axis=1)
        trees = self.booster.predict(xgboost.DMatrix(_features(data.table, self.families)))
        measured = np.array([self.measured.get(k, 0.0) for k in data.kernels])
        of_kernel = base * np.exp(np.where(self.profiled(data), trees, 0.0) + measured)
        return np.asarray(of_kernel[data.kernel], np.float64)

    def profiled(self, data: Executions) -> NDArray[np.bool_]:
        """``(K,)`` whether the profile has kernels of the family."""
        return np.isin(data.table.family, self.families)

    def beyond(self, data: Executions) -> Floats:
        """``(K,)`` how far a kernel lies outside the sizes profiled for its family, as the logarithm of a factor; 0 inside."""
        sizes = np.log(np.maximum(np.stack([data.table.macs, data.table.moved_bytes], axis=1), 1))
        everything = np.array([[-np.inf, -np.inf], [np.inf, np.inf]])
        low, high = np.moveaxis(
            np.array([self.ranges.get(f, everything) for f in data.table.family]).reshape(-1, 2, 2), 1, 0
        )
        outside: Floats = np.maximum(np.maximum(low - sizes, sizes - high), 0).max(axis=1, initial=0)
        return outside

    def bounds(self, data: Executions) -> Ints:
        """``(K,)`` position in :data:`BOUNDS` of each distinct kernel's largest term."""
        largest: Ints = np.argmax(_terms(data.table, self.laws), axis=1)
        return largest

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :meth:`from_json` is the inverse."""
        return {
            "laws": {f: law.tolist() for f, law in self.laws.items()},
            "families": list(self.families),
            "booster": json.loads(self.booster.save_raw("json")),
            "measured": [[k.to_json(), v] for k, v in self.measured.items()],
            "ranges": {f: r.tolist() for f, r in self.ranges.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        import xgboost

        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(json.dumps(value["booster"]).encode()))
        return cls(
            {f: np.array(law) for f, law in value["laws"].items()},
            tuple(value["families"]),
            booster,
            {kernel_from_json(k): v for k, v in value["measured"]},
            {f: np.array(r) for f, r in value["ranges"].items()},
        )


def _laws(table: KernelTable, seen: Ints, seconds: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The law of each family and of all together, and the sizes seen; ``seconds`` are means of the kernels ``seen``."""
    family, sizes = table.family[seen], np.stack([table.macs[seen], table.moved_bytes[seen]], axis=1)
    everyone = _law(sizes, seconds)
    laws, ranges = {"": everyone}, {}
    for name in np.unique(family):
        of = family == name
        laws[str(name)] = (
            _law(sizes[of], seconds[of]) if of.sum() >= _FEWEST else _scaled(everyone, sizes[of], seconds[of])
        )
        logs = np.log(np.maximum(sizes[of], 1))
        ranges[str(name)] = np.stack([logs.min(axis=0), logs.max(axis=0)])
    return laws, ranges


def _law(sizes: Floats, seconds: Floats) -> Floats:
    """Non-negative least squares of relative errors; at least the shortest time as overhead, so that no time is zero."""
    from scipy.optimize import nnls

    columns = np.column_stack([np.ones(len(sizes)), sizes])
    scale = np.maximum(columns.max(axis=0), 1e-30) / seconds.mean()
    solution, _ = nnls(columns / scale / seconds[:, None], np.ones(len(seconds)))
    law = solution / scale
    law[0] = max(law[0], _SHORTEST)
    return np.asarray(law, np.float64)


def _scaled(law: Floats, sizes: Floats, seconds: Floats) -> Floats:
    return np.asarray(law * np.median(seconds / (law[0] + sizes @ law[1:])), np.float64)


def _terms(table: KernelTable, laws: Mapping[str, Floats]) -> Floats:
    """``(K, 3)`` overhead, compute and bytes of each distinct kernel in seconds."""
    law = np.array([laws.get(str(f), laws[""]) for f in table.family]).reshape(-1, 3)
    return law * np.column_stack([np.ones(len(table.macs)), table.macs, table.moved_bytes])


def _features(table: KernelTable, families: tuple[str, ...]) -> Floats:
    """``(K, F)`` what the trees see of each distinct kernel."""
    codes = {f: float(i) for i, f in enumerate(families)}
    return np.column_stack([table.matrix, [codes.get(str(f), np.nan) for f in table.family]])


def _shrunk_means(values: Floats, kernel: Ints, count: int) -> Floats:
    """``(count,)`` mean of each kernel's values times n / (n + within / between variance) (James and Stein 1961)."""
    n = np.bincount(kernel, minlength=count)
    mean = np.bincount(kernel, values, count) / np.maximum(n, 1)
    within = float(((values - mean[kernel]) ** 2).sum() / max(len(values) - np.count_nonzero(n), 1))
    between = max(float(np.var(mean[n > 0])) - within * float((1 / n[n > 0]).mean()), 1e-6)
    return np.asarray(mean * n / np.maximum(n + within / between, 1e-12), np.float64)
