"""What all searchers share that learn to predict accuracy from the networks evaluated, and ask for the next by that."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.candidates import Candidates
from hwnas.problem import Problem, keys
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_LEARNT = 500  # networks that a predictor learns from; what it takes grows with their cube


class ModelBased(Searcher):
    """Random networks to begin with; then a predictor is fitted to what was told, and chooses. Of more than 500 networks it
    learns from the best 250 and an even spread of the others, so that a generation never costs more than some seconds.

    Args:
        problem: what is searched.
        initial: how many networks are drawn at random before the first prediction.

    Raises:
        ValueError: fewer than two networks to begin with.
    """

    def __init__(self, problem: Problem, *, initial: int = 20) -> None:
        if initial < 2:
            raise ValueError(f"initial must be at least 2, got {initial}")
        self.problem, self.rng = problem, np.random.default_rng(problem.seed)
        self.seen: set[bytes] = set()
        self.told = Candidates.none(len(problem.space.genes))
        self._initial = initial

    def ask(self, n: int) -> Genotypes:
        """The most promising networks; random ones to begin with."""
        missing = self._initial - len(self.told)
        if missing > 0:
            return self.problem.sample(self.rng, min(n, missing), self.seen)
        known = self.told[_telling(self.told.accuracy, _LEARNT)]
        predictor = AccuracyPredictor(self.problem.space).fit(known.genotypes, known.accuracy)
        self.predictor_tau = predictor.tau_
        return self.choose(predictor, n)

    @abstractmethod
    def choose(self, predictor: AccuracyPredictor, n: int) -> Genotypes:
        """``(n, G)``: what to evaluate next, by a predictor that learnt from what was told."""

    def tell(self, candidates: Candidates) -> None:
        """It is remembered."""
        self.seen.update(keys(candidates.genotypes))
        self.told = Candidates.joined([self.told, candidates])

    def fittest(self, n: int) -> Genotypes:
        """``(≤ n, G)``: the best networks told, the best first."""
        order = np.argsort(-self.problem.objective.fitness(self.told), kind="stable")
        return self.told.genotypes[order[:n]]


def _telling(accuracy: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Positions of up to ``most`` networks ``(n,)``, in their order: the best, and as many that are evenly spread over the ranks
    of the others."""
    if len(accuracy) <= most:
        return np.arange(len(accuracy))
    order, best = np.argsort(-accuracy, kind="stable"), most // 2
    spread = np.linspace(best, len(order) - 1, most - best).round().astype(np.int64)
    return np.sort(order[np.concatenate([np.arange(best), spread])])
