"""Local search: all neighbours of a network, then those of the best of them, from a new start at every local optimum (White et
al. 2021, "Exploring the loss landscape in neural architecture search", algorithm 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidates import Candidates
from hwnas.problem import Problem, keys
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.space import Genotypes


class LocalSearch(Searcher):
    """Hill climbing with restarts; neighbours differ in one gene, and come in an order drawn at random.

    Args:
        problem: what is searched.
        initial: how many networks are drawn at random for every start; the best of them is where it climbs.

    Raises:
        ValueError: a start without a network.
    """

    def __init__(self, problem: Problem, *, initial: int = 10) -> None:
        if initial < 1:
            raise ValueError(f"initial must be at least 1, got {initial}")
        self._problem, self._initial = problem, initial
        self._rng = np.random.default_rng(problem.seed)
        self._seen: set[bytes] = set()
        self._climb = Candidates.none(len(problem.space.genes))  # since the last start

    def ask(self, n: int) -> Genotypes:
        """New neighbours of the best network since the last start; where there are none, the next start."""
        if len(self._climb) >= self._initial:
            top = self._climb.genotypes[[self._problem.best(self._climb)]]
            around = self._problem.admit(self._rng.permutation(self._problem.neighbours(top)[0]), self._seen)
            if len(around):
                return around
            self._climb = self._climb[:0]
        return self._problem.sample(self._rng, min(n, self._initial - len(self._climb)), self._seen)

    def tell(self, candidates: Candidates) -> None:
        """The climb goes on from the best."""
        self._seen.update(keys(candidates.genotypes))
        self._climb = Candidates.joined([self._climb, candidates])


PLUGIN = LocalSearch
