"""Random search: networks drawn uniformly among those within the budget. The baseline that every searcher has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.problem import Problem, keys
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.space import Genotypes


class RandomSearch(Searcher):
    """Draws without replacement (Li & Talwalkar 2019, "Random search and reproducibility for NAS")."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(problem.seed)
        self._seen: set[bytes] = set()

    def ask(self, n: int) -> Genotypes:
        """``n`` new networks, fewer when the space runs out."""
        asked = self._problem.sample(self._rng, n, self._seen)
        self._seen.update(keys(asked))
        return asked

    def tell(self, candidates: Candidates) -> None:
        """Remembers only what not to draw again."""
        self._seen.update(keys(candidates.genotypes))


PLUGIN = RandomSearch
