"""Predictor-guided search without evolution: of many random networks the best by prediction are evaluated, half of them drawn
from the wider circle of the good, and all teach the next predictor (Dudziak et al. 2020, "BRP-NAS", section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.candidates import Candidates
from hwnas.problem import Problem, keys
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_DRAWN = 4096
_CIRCLE = 8  # times as many networks as are wanted: the wider circle


class PredictorGuided(Searcher):
    """Iterative data selection by predicted fitness.

    Args:
        problem: what is searched.
        initial: how many networks are drawn at random before the first prediction.
        top: share of each generation that is the very best by prediction; the others are drawn from the wider circle.

    Raises:
        ValueError: fewer than two networks to begin with, or not a share.
    """

    def __init__(self, problem: Problem, *, initial: int = 20, top: float = 0.5) -> None:
        if initial < 2:
            raise ValueError(f"initial must be at least 2, got {initial}")
        if not 0 <= top <= 1:
            raise ValueError(f"top must be between 0 and 1, got {top}")
        self._problem, self._initial, self._top = problem, initial, top
        self._rng = np.random.default_rng(problem.seed)
        self._seen: set[bytes] = set()
        self._told = Candidates.none(len(problem.space.genes))

    def ask(self, n: int) -> Genotypes:
        """The best by prediction, and some of the good ones."""
        problem, told = self._problem, self._told
        missing = self._initial - len(told)
        if missing > 0:
            return problem.sample(self._rng, min(n, missing), self._seen)
        predictor = AccuracyPredictor(problem.space).fit(told.genotypes, told.accuracy)
        self.predictor_tau = predictor.tau_
        pool = problem.sample(self._rng, _DRAWN, self._seen)
        predicted = Candidates.of(pool, predictor.accuracy(pool), problem.costs.costs(pool), predictor.source, "")
        order = np.argsort(-problem.objective.fitness(predicted), kind="stable")
        best = int(np.ceil(self._top * n))
        circle = self._rng.permutation(order[best : _CIRCLE * n])
        asked: Genotypes = pool[np.concatenate([order[:best], circle[: n - best]])]
        return asked

    def tell(self, candidates: Candidates) -> None:
        """The predictor learns from everything told."""
        self._seen.update(keys(candidates.genotypes))
        self._told = Candidates.joined([self._told, candidates])


PLUGIN = PredictorGuided
