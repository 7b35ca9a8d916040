"""A genetic algorithm with (μ+λ) survival: parents and children compete, the fittest stay (Beyer & Schwefel 2002, "Evolution
strategies: a comprehensive introduction"; Xie & Yuille 2017, "Genetic CNN", section 3.2, selects by roulette)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidates import Candidates
from hwnas.problem import Problem
from hwnas.search import Searcher
from hwnas.searchers._operators import CROSSOVERS, SELECTIONS, chosen, cross, mutate_each, select

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_SPARE = 2  # children per network wanted: some are over budget or not new


class Genetic(Searcher):
    """(μ+λ) evolution with selection, crossover and mutation.

    Args:
        problem: what is searched.
        population: μ: how many survive; as many are drawn at random to begin with.
        selection: how parents are chosen: ``"tournament"`` of two, ``"rank"`` or ``"roulette"``.
        crossover: ``"uniform"`` or ``"one_point"``.
        crossed: share of the children that have two parents.
        mutations: how many genes of a child change on average.

    Raises:
        ValueError: a setting that cannot be.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        population: int = 20,
        selection: str = "tournament",
        crossover: str = "uniform",
        crossed: float = 0.8,
        mutations: float = 1.0,
    ) -> None:
        if population < 2:
            raise ValueError(f"population must be at least 2, got {population}")
        if not 0 <= crossed <= 1:
            raise ValueError(f"crossed must be between 0 and 1, got {crossed}")
        if mutations < 0:
            raise ValueError(f"mutations must be at least 0, got {mutations}")
        self._problem, self._size, self._crossed, self._mutations = problem, population, crossed, mutations
        self._selection = chosen("selection", selection, SELECTIONS)
        self._crossover = chosen("crossover", crossover, CROSSOVERS)
        self._rng = np.random.default_rng(problem.seed)
        self._population = Candidates.none(len(problem.space.genes))

    def ask(self, n: int) -> Genotypes:
        """Children; random networks while the population is not full."""
        missing = self._size - len(self._population)
        if missing > 0:
            return self._problem.sample(self._rng, min(n, missing))
        fitness = self._problem.objective.fitness(self._population)
        first, second = (
            self._population.genotypes[select(self._rng, fitness, _SPARE * n, self._selection)] for _ in range(2)
        )
        two = self._rng.random((len(first), 1)) < self._crossed
        children = np.where(two, cross(self._rng, first, second, self._crossover), first)
        return mutate_each(self._problem.space, self._rng, children, self._mutations / children.shape[1])

    def tell(self, candidates: Candidates) -> None:
        """The fittest of parents and children survive, in the order told."""
        together = Candidates.joined([self._population, candidates])
        order = np.argsort(-self._problem.objective.fitness(together), kind="stable")
        self._population = together[np.sort(order[: self._size])]


PLUGIN = Genetic
