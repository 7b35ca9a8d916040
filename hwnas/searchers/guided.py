"""Evolution guided by a predictor: what was evaluated teaches a predictor, a large population evolves on what that expects, and
the most promising are evaluated (White et al. 2021, "BANANAS", algorithm 1; Cummings et al. 2022, "LINAS", section 3). A space
that is small enough is not evolved but looked at whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.candidates import Candidates
from hwnas.problem import Problem, keys
from hwnas.search import Searcher
from hwnas.searchers._acquisition import batch, by_gain
from hwnas.searchers._operators import cross, mutate_one

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_POPULATION = 500
_ROUNDS = 15
_PARENTS = 50  # of the networks evaluated, the best begin each evolution
_CROSSED = 0.5  # of the children have two parents


class Guided(Searcher):
    """Evaluates what is expected to add most to what is known, for any objective.

    Args:
        problem: what is searched.
        initial: how many networks are drawn at random before the first prediction.
        exploration: share of each later generation that is drawn at random too.

    Raises:
        ValueError: fewer than two networks to begin with, or not a share.
    """

    def __init__(self, problem: Problem, *, initial: int = 20, exploration: float = 0.0) -> None:
        if initial < 2:
            raise ValueError(f"initial must be at least 2, got {initial}")
        if not 0 <= exploration <= 1:
            raise ValueError(f"exploration must be between 0 and 1, got {exploration}")
        self._problem, self._initial, self._exploration = problem, initial, exploration
        self._rng = np.random.default_rng(problem.seed)
        self._seen: set[bytes] = set()
        self._told = Candidates.none(len(problem.space.genes))

    def ask(self, n: int) -> Genotypes:
        """The most promising networks; random ones to begin with, and to explore."""
        problem, rng = self._problem, self._rng
        missing = self._initial - len(self._told)
        if missing > 0:
            return problem.sample(rng, min(n, missing), self._seen)
        predictor = AccuracyPredictor(problem.space).fit(self._told.genotypes, self._told.accuracy)
        self.predictor_tau = predictor.tau_
        pool = self._evolved(predictor) if problem.listed is None else problem.listed
        new = pool[[key not in self._seen for key in keys(pool)]]
        promising = batch(problem, predictor, new, self._told, n - int(self._exploration * n))
        return np.concatenate([promising, problem.sample(rng, n - len(promising), self._seen)])

    def tell(self, candidates: Candidates) -> None:
        """Everything told is learned from."""
        self._seen.update(keys(candidates.genotypes))
        self._told = Candidates.joined([self._told, candidates])

    def _evolved(self, predictor: AccuracyPredictor) -> Genotypes:
        """``(m, G)``: a population that evolved on the gain expected."""
        problem, rng, told = self._problem, self._rng, self._told
        fittest = np.argsort(-problem.objective.fitness(told), kind="stable")[:_PARENTS]
        population = np.concatenate([told.genotypes[fittest], problem.sample(rng, _POPULATION)])
        for _ in range(_ROUNDS):
            first, second = population[rng.integers(0, len(population), (2, _POPULATION))]
            two = rng.random((_POPULATION, 1)) < _CROSSED
            children = mutate_one(problem.space, rng, np.where(two, cross(rng, first, second, "uniform"), first))
            together = problem.admit(np.concatenate([population, children]))
            population = by_gain(problem, predictor, together, told, _POPULATION)
        return population


PLUGIN = Guided
