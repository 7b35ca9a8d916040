"""NSGA-II (Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II"), whatever the problem's objective:
a population along the front of accuracy and a cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidates import Candidates
from hwnas.objectives import Pareto
from hwnas.problem import Problem
from hwnas.search import Searcher
from hwnas.searchers._operators import cross, mutate_each, select

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_SPARE = 2  # children per network wanted: some are over budget or not new


class Nsga2(Searcher):
    """Elitist selection by front, then by crowding.

    Constraint domination (section VI) decides among children, as no network over budget is evaluated: those within the budget
    come first, the others follow by how far they are over it and are repaired where they are needed.

    Args:
        problem: what is searched.
        population: how many survive; as many are drawn at random to begin with.

    Raises:
        ValueError: fewer than two survive.
    """

    def __init__(self, problem: Problem, *, population: int = 20) -> None:
        if population < 2:
            raise ValueError(f"population must be at least 2, got {population}")
        self._problem, self._size = problem, population
        self._objective = problem.objective if isinstance(problem.objective, Pareto) else Pareto()
        self._rng = np.random.default_rng(problem.seed)
        self._population = Candidates.none(len(problem.space.genes))

    def ask(self, n: int) -> Genotypes:
        """Children of winners of binary tournaments; random networks while the population is not full."""
        problem, rng = self._problem, self._rng
        missing = self._size - len(self._population)
        if missing > 0:
            return problem.sample(rng, min(n, missing))
        fitness = self._objective.fitness(self._population)
        first, second = (self._population.genotypes[select(rng, fitness, _SPARE * n, "tournament")] for _ in range(2))
        children = cross(rng, first, second, "uniform")
        children = problem.space.canonical(mutate_each(problem.space, rng, children, 1 / children.shape[1]))
        return children[np.argsort(problem.excess(children), kind="stable")]

    def tell(self, candidates: Candidates) -> None:
        """The best of parents and children survive."""
        together = Candidates.joined([self._population, candidates])
        self._population = together[np.argsort(-self._objective.fitness(together), kind="stable")[: self._size]]


PLUGIN = Nsga2
