"""Evolution guided by a predictor: what was evaluated teaches a predictor, a large population evolves on what that expects, and
the most promising are evaluated (White et al. 2021, "BANANAS", algorithm 1; Cummings et al. 2022, "LINAS", section 3). A space
that is small enough is not evolved but looked at whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.problem import Problem, keys
from hwnas.searchers._acquisition import batch, by_gain
from hwnas.searchers._model_based import ModelBased
from hwnas.searchers._operators import cross, mutate_one

if TYPE_CHECKING:
    from hwnas.accuracy_predictor import AccuracyPredictor
    from hwnas.space import Genotypes

_POPULATION = 500
_ROUNDS = 15
_PARENTS = 50  # of the networks evaluated, the best begin each evolution
_CROSSED = 0.5  # of the children have two parents


class Guided(ModelBased):
    """Evaluates what is expected to add most to what is known, for any objective.

    Args:
        problem: what is searched.
        initial: how many networks are drawn at random before the first prediction.
        exploration: share of each later generation that is drawn at random too.

    Raises:
        ValueError: fewer than two networks to begin with, or not a share.
    """

    def __init__(self, problem: Problem, *, initial: int = 20, exploration: float = 0.0) -> None:
        super().__init__(problem, initial=initial)
        if not 0 <= exploration <= 1:
            raise ValueError(f"exploration must be between 0 and 1, got {exploration}")
        self._exploration = exploration

    def choose(self, predictor: AccuracyPredictor, n: int) -> Genotypes:
        """The most promising networks; random ones to explore."""
        problem = self.problem
        pool = self._evolved(predictor) if problem.listed is None else problem.listed
        new = pool[[key not in self.seen for key in keys(pool)]]
        promising = batch(problem, predictor, new, self.told, n - int(self._exploration * n))
        return np.concatenate([promising, problem.sample(self.rng, n - len(promising), self.seen)])

    def _evolved(self, predictor: AccuracyPredictor) -> Genotypes:
        """``(m, G)``: a population that evolved on the gain expected."""
        problem, rng = self.problem, self.rng
        population = np.concatenate([self.fittest(_PARENTS), problem.sample(rng, _POPULATION)])
        for _ in range(_ROUNDS):
            first, second = population[rng.integers(0, len(population), (2, _POPULATION))]
            two = rng.random((_POPULATION, 1)) < _CROSSED
            children = mutate_one(problem.space, rng, np.where(two, cross(rng, first, second, "uniform"), first))
            together = problem.admit(np.concatenate([population, children]))
            population = by_gain(problem, predictor, together, self.told, _POPULATION)
        return population


PLUGIN = Guided
