"""Regularised evolution: the oldest dies, not the worst (Real et al. 2019, "Regularized evolution for image classifier
architecture search", algorithm 1), several children per generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidates import Candidates
from hwnas.problem import Problem
from hwnas.search import Searcher
from hwnas.searchers._operators import mutate_one, select

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_SPARE = 2  # children per network wanted: some are over budget or not new


class Evolution(Searcher):
    """Aging evolution.

    Args:
        problem: what is searched.
        population: how many of the youngest networks may become parents; as many are drawn at random to begin with.
        sample: how many of them compete to become one parent.

    Raises:
        ValueError: ``sample`` is not between 1 and ``population``.
    """

    def __init__(self, problem: Problem, *, population: int = 50, sample: int = 10) -> None:
        if not 1 <= sample <= population:
            raise ValueError(f"sample must be between 1 and population ({population}), got {sample}")
        self._problem, self._size, self._sample = problem, population, sample
        self._rng = np.random.default_rng(problem.seed)
        self._population = Candidates.none(len(problem.space.genes))

    def ask(self, n: int) -> Genotypes:
        """Children of tournament winners; random networks while the population is not full."""
        missing = self._size - len(self._population)
        if missing > 0:
            return self._problem.sample(self._rng, min(n, missing))
        fitness = self._problem.objective.fitness(self._population)
        parents = select(self._rng, fitness, _SPARE * n, "tournament", competitors=self._sample)
        return mutate_one(self._problem.space, self._rng, self._population.genotypes[parents])

    def tell(self, candidates: Candidates) -> None:
        """The youngest come in at the end, the oldest leave."""
        self._population = Candidates.joined([self._population, candidates])[-self._size :]


PLUGIN = Evolution
