"""Bayesian optimisation: expected improvement under a Gaussian process, sought among random networks and around the best known
(Kandasamy et al. 2018, "Neural architecture search with Bayesian optimisation and optimal transport"; Ru et al. 2021, "NAS-BOWL",
section 3, seek it likewise). Hard constraints are known, so that the improvement counts only within the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.candidates import Candidates
from hwnas.problem import Problem, keys
from hwnas.search import Searcher
from hwnas.searchers._acquisition import batch

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_DRAWN = 1000
_AROUND = 10  # best networks whose neighbours are looked at too


class Bayesian(Searcher):
    """A Gaussian process with expected improvement.

    Args:
        problem: what is searched.
        initial: how many networks are drawn at random before the first prediction.

    Raises:
        ValueError: fewer than two networks to begin with.
    """

    def __init__(self, problem: Problem, *, initial: int = 20) -> None:
        if initial < 2:
            raise ValueError(f"initial must be at least 2, got {initial}")
        self._problem, self._initial = problem, initial
        self._rng = np.random.default_rng(problem.seed)
        self._seen: set[bytes] = set()
        self._told = Candidates.none(len(problem.space.genes))

    def ask(self, n: int) -> Genotypes:
        """Where the process expects the largest improvement."""
        problem, told = self._problem, self._told
        missing = self._initial - len(told)
        if missing > 0:
            return problem.sample(self._rng, min(n, missing), self._seen)
        predictor = AccuracyPredictor(problem.space).fit(told.genotypes, told.accuracy)
        self.predictor_tau = predictor.tau_
        best = told.genotypes[np.argsort(-problem.objective.fitness(told), kind="stable")[:_AROUND]]
        around = problem.neighbours(best).reshape(-1, best.shape[1])
        pool = problem.admit(np.concatenate([around, problem.sample(self._rng, _DRAWN, self._seen)]), self._seen)
        return batch(problem, predictor, pool, told, n)

    def tell(self, candidates: Candidates) -> None:
        """The process learns from everything told."""
        self._seen.update(keys(candidates.genotypes))
        self._told = Candidates.joined([self._told, candidates])


PLUGIN = Bayesian
