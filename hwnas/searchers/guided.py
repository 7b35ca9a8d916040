"""Evolution guided by a predictor: what was evaluated teaches a predictor, a large population evolves on what that predicts, and
its best are evaluated (White et al. 2021, "BANANAS", algorithm 1; Cummings et al. 2022, "LINAS", section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.problem import Problem, keys
from hwnas.search import Searcher
from hwnas.searchers.evolution import mutate

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.space import Genotypes

_POPULATION = 500
_ROUNDS = 15
_PARENTS = 50  # of the networks evaluated, the best begin each evolution
_CROSSED = 0.5  # of the children have two parents


class Guided(Searcher):
    """Predictor-guided evolution under hard constraints.

    Args:
        problem: what is searched.
        initial: how many networks are drawn at random before the first prediction.
        exploration: share of each later generation that is drawn at random too.
    """

    def __init__(self, problem: Problem, *, initial: int = 40, exploration: float = 0.1) -> None:
        if initial < 2:
            raise ValueError(f"initial must be at least 2, got {initial}")
        if not 0 <= exploration <= 1:
            raise ValueError(f"exploration must be between 0 and 1, got {exploration}")
        self._problem = problem
        self._rng = np.random.default_rng(problem.seed)
        self._initial = initial
        self._exploration = exploration
        self._seen: set[bytes] = set()
        self._genotypes = problem.space.sample(self._rng, 0)
        self._accuracy = np.empty(0)

    def ask(self, n: int) -> Genotypes:
        """The networks that are predicted to be the best; random ones to begin with, to explore, and where no more evolve."""
        missing = self._initial - len(self._genotypes)
        if missing > 0:
            n = min(n, missing)
            asked = self._genotypes[:0]
        else:
            predictor = AccuracyPredictor(self._problem.space).fit(self._genotypes, self._accuracy)
            self.predictor_tau = predictor.tau_
            asked = self._evolved(predictor)[: n - int(self._exploration * n)]
            self._seen.update(keys(asked))
        drawn = self._problem.sample(self._rng, n - len(asked), self._seen)
        self._seen.update(keys(drawn))
        return np.concatenate([asked, drawn])

    def tell(self, candidates: Candidates) -> None:
        """Everything told is learned from."""
        self._seen.update(keys(candidates.genotypes))
        self._genotypes = np.concatenate([self._genotypes, candidates.genotypes])
        self._accuracy = np.concatenate([self._accuracy, candidates.accuracy])

    def _evolved(self, predictor: AccuracyPredictor) -> Genotypes:
        """New networks, by falling prediction."""
        problem, rng = self._problem, self._rng
        best = self._genotypes[np.argsort(-self._accuracy, kind="stable")[:_PARENTS]]
        population = np.concatenate([best, problem.sample(rng, _POPULATION - len(best))])
        for _ in range(_ROUNDS):
            parents = population[rng.integers(0, len(population), (2, _POPULATION))]
            crossed = rng.random((_POPULATION, 1)) < _CROSSED
            from_second = crossed & (rng.random(parents[0].shape) < 0.5)
            children = mutate(problem, rng, np.where(from_second, parents[1], parents[0]))
            population = problem.admit(np.concatenate([population, children]))
            order = np.argsort(-predictor.accuracy(population), kind="stable")
            population = population[order[:_POPULATION]]
        return problem.admit(population, self._seen)


PLUGIN = Guided
