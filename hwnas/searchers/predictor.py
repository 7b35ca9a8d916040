"""Predictor-guided search without evolution: of many random networks the best by prediction are evaluated, half of them drawn
from the wider circle of the good, and all teach the next predictor (Dudziak et al. 2020, "BRP-NAS", section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidates import Candidates
from hwnas.problem import Problem
from hwnas.searchers._model_based import ModelBased

if TYPE_CHECKING:
    from hwnas.accuracy_predictor import AccuracyPredictor
    from hwnas.space import Genotypes

_DRAWN = 4096
_CIRCLE = 8  # times as many networks as are wanted: the wider circle


class PredictorGuided(ModelBased):
    """Iterative data selection by predicted fitness.

    Args:
        problem: what is searched.
        initial: how many networks are drawn at random before the first prediction.
        top: share of each generation that is the very best by prediction; the others are drawn from the wider circle.

    Raises:
        ValueError: fewer than two networks to begin with, or not a share.
    """

    def __init__(self, problem: Problem, *, initial: int = 20, top: float = 0.5) -> None:
        super().__init__(problem, initial=initial)
        if not 0 <= top <= 1:
            raise ValueError(f"top must be between 0 and 1, got {top}")
        self._top = top

    def choose(self, predictor: AccuracyPredictor, n: int) -> Genotypes:
        """The best by prediction, and some of the good ones."""
        problem = self.problem
        pool = problem.sample(self.rng, _DRAWN, self.seen)
        predicted = Candidates.of(pool, predictor.accuracy(pool), problem.costs.costs(pool), predictor.source, "")
        order = np.argsort(-problem.objective.fitness(predicted), kind="stable")
        best = int(np.ceil(self._top * n))
        circle = self.rng.permutation(order[best : _CIRCLE * n])
        chosen: Genotypes = pool[np.concatenate([order[:best], circle[: n - best]])]
        return chosen


PLUGIN = PredictorGuided
