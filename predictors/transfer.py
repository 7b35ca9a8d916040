"""Kernels' times on a device from what is known of its sibling: another number of threads, another version, another machine.

What a kernel takes here is what the sibling's model says, times a factor and plus an overhead that its sort of operator has, and
XGBoost on what is left. A few networks are enough to learn that; the sibling knows the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from devices import Kernel
from devices.kernels import kernel_from_json
from predictors.boosting import boosted, trees_from_json, trees_to_json
from predictors.kernel_model import SHORTEST, Executions, KernelModel, shrunk_means
from predictors.operators import SORTS

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TREES = {"max_depth": 4, "eta": 0.05, "subsample": 0.8, "min_child_weight": 5, "lambda": 5.0}
_ROUNDS = 100
_FEWEST = 20  # executions that a sort needs for a law of its own


@dataclass(frozen=True)
class TransferredModel:
    """A kernel model that knows its device from a few networks; for the rest see :class:`predictors.kernel_model.KernelModel`.

    Attributes:
        source: the sibling's model.
        laws: sort of operator to (overhead in seconds, factor); ``""`` is the law of all together.
        booster: the trees.
        measured: what the trees leave of kernels that were measured here: logarithm of a factor.
    """

    source: KernelModel
    laws: Mapping[str, tuple[float, float]]
    booster: xgboost.Booster
    measured: Mapping[Kernel, float]

    @classmethod
    def fit(cls, source: KernelModel, data: Executions, *, seed: int) -> Self:
        """Learn from the executions that have a time.

        Raises:
            ValueError: none has a time.
        """
        import xgboost

        timed = np.isfinite(data.seconds)
        if not timed.any():
            raise ValueError("no kernel in the profile has a time")
        seconds, kernel = np.maximum(data.seconds[timed], SHORTEST), data.kernel[timed]
        sibling = source.seconds(data)
        sort = data.table.sort[data.kernel]
        laws = {"": _law(sibling[timed], seconds)}
        for number in np.unique(sort[timed]):
            of = sort[timed] == number
            if of.sum() >= _FEWEST:
                laws[SORTS[number]] = _law(sibling[timed][of], seconds[of])
        base = _lawful(laws, sort, sibling)
        features = _features(data, sibling, base)
        logs = np.log(seconds / base[timed])
        booster = boosted(features[timed], logs, seconds**0.25, trees=_TREES, rounds=_ROUNDS, seed=seed)
        left = logs - booster.predict(xgboost.DMatrix(features[timed]))
        shrunk = shrunk_means(left, kernel, len(data.kernels))
        return cls(source, laws, booster, {data.kernels[i]: float(shrunk[i]) for i in np.unique(kernel)})

    def seconds(self, data: Executions) -> Floats:
        """``(m,)`` what each execution takes, as single kernels are timed."""
        import xgboost

        if not data.kernels:
            return np.empty(0)
        sibling = self.source.seconds(data)
        base = _lawful(self.laws, data.table.sort[data.kernel], sibling)
        trees = self.booster.predict(xgboost.DMatrix(_features(data, sibling, base)))
        measured = np.array([self.measured.get(k, 0.0) for k in data.kernels])[data.kernel]
        return np.asarray(base * np.exp(trees + measured), np.float64)

    def profiled(self, data: Executions) -> NDArray[np.bool_]:
        """``(K,)`` whether the sibling's profile has kernels of the family."""
        return self.source.profiled(data)

    def beyond(self, data: Executions) -> Floats:
        """``(K,)`` how far a kernel lies outside the sizes profiled on the sibling, as the logarithm of a factor."""
        return self.source.beyond(data)

    def bounds(self, data: Executions) -> Ints:
        """``(K,)`` position in :data:`predictors.kernel_model.BOUNDS`, as on the sibling."""
        return self.source.bounds(data)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :meth:`from_json` is the inverse."""
        return {
            "source": self.source.to_json(),
            "laws": {sort: list(law) for sort, law in self.laws.items()},
            "booster": trees_to_json(self.booster),
            "measured": [[k.to_json(), v] for k, v in self.measured.items()],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(
            KernelModel.from_json(value["source"]),
            {sort: (overhead, factor) for sort, (overhead, factor) in value["laws"].items()},
            trees_from_json(value["booster"]),
            {kernel_from_json(k): v for k, v in value["measured"]},
        )


def _law(sibling: Floats, seconds: Floats) -> tuple[float, float]:
    """Non-negative least squares of relative errors."""
    from scipy.optimize import nnls

    columns = np.column_stack([np.ones(len(sibling)), sibling])
    scale = columns.max(axis=0) / seconds.mean()
    solution, _ = nnls(columns / scale / seconds[:, None], np.ones(len(seconds)))
    overhead, factor = solution / scale
    return float(overhead), max(float(factor), 1e-6)


def _lawful(laws: Mapping[str, tuple[float, float]], sort: Ints, sibling: Floats) -> Floats:
    overhead, factor = np.array([laws.get(SORTS[s], laws[""]) for s in sort]).reshape(-1, 2).T
    return np.asarray(np.maximum(overhead + factor * sibling, SHORTEST), np.float64)


def _features(data: Executions, sibling: Floats, base: Floats) -> Floats:
    """``(m, F)`` what the trees see of each execution."""
    of_kernel = np.column_stack([data.table.matrix, data.table.sort])
    return np.column_stack([of_kernel[data.kernel], data.context, np.log(sibling), np.log(base)])
