"""Which decisions matter: the effect of each option on accuracy and on latency over the networks that a search evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 400
_MOST_NETWORKS = 2000
_FEWEST = 5  # networks with an option, and without it, before anything is said of it
_PRIOR = 0.01  # networks' worth of belief that an option has no effect: for resamples that lack one


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """What an option does in place of its gene's cheapest one, everything else equal.

    Attributes:
        gene: its name.
        option, instead_of: the two options.
        accuracy: difference, a fraction.
        latency: relative difference, a fraction.
        networks: how many had the option.
    """

    gene: str
    option: Any
    instead_of: Any
    accuracy: Interval
    latency: Interval
    networks: int


@dataclass(frozen=True)
class Effects:
    """All that can be said.

    Attributes:
        effects: of every option that enough networks had, in the order of the genes.
        accuracy_explained, latency_explained: share of the variance over the networks that the effects add up to (R²).
        networks: how many they were estimated from.
    """

    effects: tuple[Effect, ...]
    accuracy_explained: float
    latency_explained: float
    networks: int


def main_effects(
    genes: Sequence[tuple[str, Sequence[Any]]],
    genotypes: NDArray[np.int64],
    accuracy: Floats,
    latency_ms: Floats,
    seed: int = 0,
) -> Effects:
    """Main effects by ridge regression on one indicator per option, intervals by the bootstrap over networks (Efron 1979).

    A search prefers some options, and prefers them together; a regression on all at once is what tells their shares apart.
    Latency is regressed as its logarithm: its effects multiply.

    Args:
        genes: name and options of each of the G genes, the dearer options later.
        genotypes: ``(n, G)``.
        accuracy: ``(n,)`` fractions; networks with NaN are left out.
        latency_ms: ``(n,)``.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(np.isfinite(accuracy))
    if len(rows) > _MOST_NETWORKS:
        rows = np.sort(rng.choice(rows, _MOST_NETWORKS, replace=False))
    chosen, wanted = genotypes[rows], np.stack([accuracy[rows], np.log(latency_ms[rows])], axis=1)
    n = len(rows)
    columns: list[tuple[int, int, int]] = []  # gene, option, the option it is compared with
    for gene, (_, options) in enumerate(genes):
        counts = np.bincount(chosen[:, gene], minlength=len(options)) if n else np.zeros(len(options))
        known = [option for option in range(len(options)) if counts[option] >= _FEWEST]
        columns += [(gene, option, known[0]) for option in known[1:]]
    if not columns:
        return Effects((), 0.0, 0.0, n)
    design = np.column_stack([np.ones(n), *(chosen[:, gene] == option for gene, option, _ in columns)]).astype(float)
    weights = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)
    found = _ridge(design, wanted, np.concatenate([np.ones((1, n)), weights]))
    low, high = np.quantile(found[1:], [0.025, 0.975], axis=0)
    residual = wanted - design @ found[0]
    explained = 1 - residual.var(axis=0) / np.maximum(wanted.var(axis=0), 1e-30)

    def effect(i: int, gene: int, option: int, base: int) -> Effect:
        name, options = genes[gene]
        of_accuracy, of_latency = np.stack([found[0], low, high])[:, i].T
        return Effect(
            name,
            options[option],
            options[base],
            Interval(*of_accuracy.tolist()),
            Interval(*np.expm1(of_latency).tolist()),
            int((chosen[:, gene] == option).sum()),
        )

    return Effects(
        tuple(effect(i, *column) for i, column in enumerate(columns, 1)), float(explained[0]), float(explained[1]), n
    )


def strongest(effects: Effects) -> list[Effect]:
    """One of each gene, its dearest option against its cheapest, by falling size of its effect on accuracy."""
    last = {effect.gene: effect for effect in effects.effects}
    return sorted(last.values(), key=lambda effect: -abs(effect.accuracy.value))


def _ridge(design: Floats, wanted: Floats, weights: Floats) -> Floats:
    """``(b, p, k)`` coefficients of ``(n, p)`` columns for ``(n, k)`` values under each of ``(b, n)`` weightings; the first
    column, the intercept, is not held back."""
    n, p = design.shape
    squares = (weights @ (design[:, :, None] * design[:, None, :]).reshape(n, p * p)).reshape(-1, p, p)
    products = (weights @ (design[:, :, None] * wanted[:, None, :]).reshape(n, -1)).reshape(len(weights), p, -1)
    penalty = np.diag([0.0, *np.full(p - 1, _PRIOR)])
    return np.asarray(np.linalg.solve(squares + penalty, products), np.float64)
