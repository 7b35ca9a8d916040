"""What a kernel costs: a law of physics for its family, trees on what the law leaves, and what was measured of that very kernel.

1. A *law* per family: seconds as a sum of what a call costs, of what it computes, moves and goes over
   (:data:`predictors.features.TERMS`), with no negative term, fitted to relative errors. It extrapolates, and it says what bounds
   a kernel. A family that was never profiled has the law of its sort of operator.
2. XGBoost (Chen and Guestrin 2016) on the logarithm of measured over lawful time. It sees the kernel and what the run touches
   before it, but nothing that tells networks apart: it would use that to learn how the machine was while each was measured. Trees
   do not extrapolate: of a kernel some factor larger than all of its family in the profile they are believed by that factor less.
3. For a kernel that the profile holds itself, the mean of what is left, shrunk by how much a mean of that many measurements can
   be trusted (empirical Bayes).

Times are those of single kernels, as far as the runtime tells them; :mod:`predictors.correction` sees what they do not add up to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from devices import Kernel, Lowering
from devices.kernels import kernel_from_json
from predictors.boosting import boosted, trees_from_json, trees_to_json
from predictors.errors import NotFitted
from predictors.features import CONTEXT_FEATURES, KERNEL_FEATURES, TERMS, KernelTable, context, kernel_table
from predictors.operators import SORTS

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOUNDS = ("overhead", "compute", "bytes")
_BOUND_BY = [[TERMS.index(t) for t in terms] for terms in (
    ("call", "runs"),
    ("macs", "blocked_macs", "padded_macs", "edge_macs"),
    ("read_bytes", "write_bytes", "weight_bytes", "gathered", "swept", "swept_far"),
)]  # fmt: skip
_TREES = {"max_depth": 7, "eta": 0.06, "subsample": 0.8, "colsample_bytree": 0.8, "min_child_weight": 3, "lambda": 2.0}
_ROUNDS = 300
_WEIGHT = 0.25  # exponent of a kernel's time: long ones decide what a network takes
_FEWEST = 5  # distinct kernels that a family needs for a law of its own
_OCTAVES = 7  # that footprints have to span for context to be learnt
_PASSES = 6
_GROSS = 0.3  # error of a logarithm from which on it counts less
_COLUMNS = [*TERMS, *KERNEL_FEATURES, *CONTEXT_FEATURES]
SHORTEST = 1e-7  # seconds; a runtime whose clock is coarse may report zero


@dataclass(frozen=True)
class Executions:
    """All kernels of several networks, one after the other.

    Attributes:
        kernels: the K distinct kernels.
        table: their features.
        kernel: ``(m,)`` which distinct kernel was executed.
        network: ``(m,)`` in which network.
        context: ``(m, C)`` the columns of :data:`predictors.features.CONTEXT_FEATURES`.
        seconds: ``(m,)`` its measured time, NaN where there is none.
    """

    kernels: tuple[Kernel, ...]
    table: KernelTable
    kernel: Ints
    network: Ints
    context: Floats
    seconds: Floats

    def of(self, networks: NDArray[np.bool_]) -> Executions:
        """Those of the networks where ``(n,)`` is true; they are numbered anew."""
        kept, number = networks[self.network], np.cumsum(networks) - 1
        return replace(
            self,
            kernel=self.kernel[kept],
            network=number[self.network[kept]],
            context=self.context[kept],
            seconds=self.seconds[kept],
        )


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
        np.concatenate([context(low.kernels) for low in lowerings]) if lowerings else context(()),
        np.array(seconds, np.float64),
    )


@dataclass(frozen=True)
class KernelModel:
    """A fitted model of kernels' times.

    Attributes:
        laws: family, or sort of operator, to ``(T,)`` seconds per unit of :data:`predictors.features.TERMS`; ``""`` is the law
            of everything together.
        families: names in the order of the trees' family feature.
        booster: the trees.
        measured: what the trees leave of kernels in the profile: logarithm of a factor.
        contextual: whether the trees see what is touched before a kernel. Networks of one space are too alike to learn it from;
            their kernels can then be predicted apart from each other.
        ranges: family to ``(2, 2)`` lowest and highest log macs and log bytes that were profiled.
    """

    laws: Mapping[str, Floats]
    families: tuple[str, ...]
    booster: xgboost.Booster
    measured: Mapping[Kernel, float]
    ranges: Mapping[str, Floats]
    contextual: bool

    @classmethod
    def fit(cls, data: Executions, *, seed: int) -> Self:
        """Learn from the executions that have a time. ``seed`` is for the trees' subsampling.

        Raises:
            ValueError: none has a time.
        """
        import xgboost

        timed = np.isfinite(data.seconds)
        if not timed.any():
            raise ValueError("no kernel in the profile has a time")
        kernel, seconds = data.kernel[timed], np.maximum(data.seconds[timed], SHORTEST)
        count = len(data.kernels)
        counts = np.bincount(kernel, minlength=count)
        seen = np.flatnonzero(counts)
        mean = np.bincount(kernel, seconds, count)[seen] / counts[seen]
        laws, ranges = _laws(data.table, seen, mean)
        families = tuple(sorted(ranges))
        base = _terms(data.table, laws).sum(axis=1)
        logs = np.log(seconds / base[kernel])

        # Twins in one network, which differ by nothing that is known, are one row.
        _, first, twin, twins = np.unique(
            np.stack([data.network[timed], kernel]), axis=1, return_index=True, return_inverse=True, return_counts=True
        )
        contextual = bool(np.ptp(data.context[timed, 0]) >= _OCTAVES)
        features = _features(data, families, base, contextual)[timed]
        target = np.bincount(twin, logs) / twins
        weight = seconds[first] ** _WEIGHT * twins**0.5
        booster = boosted(features[first], target, weight, trees=_TREES, rounds=_ROUNDS, seed=seed)
        shrunk = shrunk_means(logs - booster.predict(xgboost.DMatrix(features)), kernel, count)
        measured = {data.kernels[i]: float(shrunk[i]) for i in seen}
        return cls(laws, families, booster, measured, ranges, contextual)

    def seconds(self, data: Executions) -> Floats:
        """``(m,)`` what each execution takes, as single kernels are timed."""
        import xgboost

        if not data.kernels:
            return np.empty(0)
        base = _terms(data.table, self.laws).sum(axis=1)
        trees = self.booster.predict(xgboost.DMatrix(_features(data, self.families, base, self.contextual)))
        measured = np.array([self.measured.get(k, 0.0) for k in data.kernels])
        trust = np.where(self.profiled(data), np.exp(-self.beyond(data)), 0.0)[data.kernel]
        return np.asarray(base[data.kernel] * np.exp(trust * trees + measured[data.kernel]), np.float64)

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
        terms = _terms(data.table, self.laws)
        largest: Ints = np.argmax(np.stack([terms[:, of].sum(axis=1) for of in _BOUND_BY], axis=1), axis=1)
        return largest

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :meth:`from_json` is the inverse."""
        return {
            "columns": _COLUMNS,
            "laws": {f: law.tolist() for f, law in self.laws.items()},
            "families": list(self.families),
            "booster": trees_to_json(self.booster),
            "measured": [[k.to_json(), v] for k, v in self.measured.items()],
            "ranges": {f: r.tolist() for f, r in self.ranges.items()},
            "contextual": self.contextual,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`.

        Raises:
            NotFitted: another version learnt it, from other features.
        """
        laws = value["laws"]
        if value.get("columns") != _COLUMNS:
            raise NotFitted(
                "What is known of kernels was learnt by another version of hwnas, from other features.",
                hint="Make the profile that rests on a sibling anew, with --from and the sibling's profile.",
            )
        return cls(
            {f: np.array(law) for f, law in laws.items()},
            tuple(value["families"]),
            trees_from_json(value["booster"]),
            {kernel_from_json(k): v for k, v in value["measured"]},
            {f: np.array(r) for f, r in value["ranges"].items()},
            value["contextual"],
        )


def _laws(table: KernelTable, seen: Ints, seconds: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The law of each family, of each sort of operator and of all together, and the sizes seen; ``seconds`` are means of the
    kernels ``seen``. A family of few kernels has its sort's law, scaled."""
    family, sort, terms = table.family[seen], table.sort[seen], table.terms[seen]
    everyone = _law(terms, seconds)
    laws, ranges = {"": everyone}, {}
    for number in np.unique(sort):
        of = sort == number
        laws[SORTS[number]] = (
            _law(terms[of], seconds[of]) if of.sum() >= _FEWEST else _scaled(everyone, terms[of], seconds[of])
        )
    for name in np.unique(family):
        of = family == name
        general = laws[SORTS[sort[of][0]]]
        laws[str(name)] = (
            _law(terms[of], seconds[of]) if of.sum() >= _FEWEST else _scaled(general, terms[of], seconds[of])
        )
        logs = np.log(np.maximum(np.stack([table.macs[seen][of], table.moved_bytes[seen][of]], axis=1), 1))
        ranges[str(name)] = np.stack([logs.min(axis=0), logs.max(axis=0)])
    return laws, ranges


def _law(terms: Floats, seconds: Floats) -> Floats:
    """Non-negative coefficients with small errors of the logarithm, by least squares that are weighted again and again; gross
    errors count less (Huber 1964). At least the shortest time as overhead, so that no time is zero."""
    from scipy.optimize import nnls

    scale = np.maximum(terms.max(axis=0), 1e-30) / seconds.mean()
    columns, predicted = terms / scale, seconds
    for _ in range(_PASSES):
        error = np.abs(np.log(predicted / seconds))
        weight = np.minimum(1, _GROSS / np.maximum(error, 1e-12)) ** 0.5 / np.sqrt(seconds * predicted)
        solution, _ = nnls(columns * weight[:, None], seconds * weight)
        predicted = np.maximum(columns @ solution, SHORTEST)
    law = solution / scale
    law[0] = max(law[0], SHORTEST)
    return np.asarray(law, np.float64)


def _scaled(law: Floats, terms: Floats, seconds: Floats) -> Floats:
    return np.asarray(law * np.median(seconds / (terms @ law)), np.float64)


def _terms(table: KernelTable, laws: Mapping[str, Floats]) -> Floats:
    """``(K, T)`` what each distinct kernel's law adds up, in seconds; the law is the most particular one that is known."""
    found = [
        laws.get(str(family), laws.get(SORTS[sort], laws[""]))
        for family, sort in zip(table.family, table.sort, strict=True)
    ]
    return np.array(found).reshape(-1, len(TERMS)) * table.terms


def _features(data: Executions, families: tuple[str, ...], base: Floats, contextual: bool) -> Floats:
    """``(m, F)`` what the trees see of each execution; ``base`` is the ``(K,)`` lawful time in seconds."""
    codes = {f: float(i) for i, f in enumerate(families)}
    code = [codes.get(str(f), np.nan) for f in data.table.family]
    of_kernel = np.column_stack([data.table.matrix, data.table.sort, np.log(base), code])
    return np.column_stack([of_kernel[data.kernel], data.context] if contextual else [of_kernel[data.kernel]])


def shrunk_means(values: Floats, kernel: Ints, count: int) -> Floats:
    """``(count,)`` mean of each kernel's values times n / (n + within / between variance) (James and Stein 1961)."""
    n = np.bincount(kernel, minlength=count)
    mean = np.bincount(kernel, values, count) / np.maximum(n, 1)
    within = float(((values - mean[kernel]) ** 2).sum() / max(len(values) - np.count_nonzero(n), 1))
    between = max(float(np.var(mean[n > 0])) - within * float((1 / n[n > 0]).mean()), 1e-6)
    return np.asarray(mean * n / np.maximum(n + within / between, 1e-12), np.float64)
