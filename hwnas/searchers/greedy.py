"""Greedy search, gene by gene: all options of one gene, the best is kept, then the next gene, in an order drawn at random; anew
from another network when a whole round brought nothing (Den Ottelander et al. 2021, "Local search is a remarkably strong
baseline for neural architecture search", section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidates import Candidates
from hwnas.problem import Problem, keys
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.space import Genotypes


class Greedy(Searcher):
    """Coordinate ascent with restarts."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(problem.seed)
        self._seen: set[bytes] = set()
        self._climb = Candidates.none(len(problem.space.genes))  # since the last start
        self._order = np.empty(0, np.int64)  # of the genes that are left in this round
        self._before: bytes | None = None  # the network at the beginning of the round

    def ask(self, n: int) -> Genotypes:
        """New networks that differ from the best since the last start in the gene whose turn it is; or the next start."""
        problem = self._problem
        while len(self._climb):
            best = self._climb.genotypes[problem.best(self._climb)]
            if not len(self._order):
                if self._before == best.tobytes():
                    break
                self._before, self._order = best.tobytes(), self._rng.permutation(len(best))
            gene = self._order[0]
            options = np.tile(best, (len(problem.space.genes[gene].options), 1))
            options[:, gene] = np.arange(len(options))
            asked = problem.admit(options, self._seen)
            if len(asked):
                return asked
            self._order = self._order[1:]
        self._climb, self._order, self._before = self._climb[:0], self._order[:0], None
        return problem.sample(self._rng, 1, self._seen)

    def tell(self, candidates: Candidates) -> None:
        """The best is kept."""
        self._seen.update(keys(candidates.genotypes))
        self._climb = Candidates.joined([self._climb, candidates])


PLUGIN = Greedy
