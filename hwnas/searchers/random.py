"""Random search: networks drawn uniformly among those within the budget. The baseline that every searcher has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.problem import Problem
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.space import Genotypes


class RandomSearch(Searcher):
    """Draws and never learns (Li & Talwalkar 2019, "Random search and reproducibility for NAS")."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(problem.seed)

    def ask(self, n: int) -> Genotypes:
        """``n`` networks at random."""
        return self._problem.sample(self._rng, n)

    def tell(self, candidates: Candidates) -> None:
        """Nothing to learn."""


PLUGIN = RandomSearch
