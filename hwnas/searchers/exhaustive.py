"""Exhaustive search: every network within the budget, for small spaces; the truth that others are held against."""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np

from hwnas.problem import Problem, keys
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.space import Genotypes

_BLOCK = 4096  # genotypes looked at at a time


class Exhaustive(Searcher):
    """All of them, in the order of genotypes."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._left = product(*(range(len(gene.options)) for gene in problem.space.genes))
        self._found = problem.space.sample(np.random.default_rng(0), 0)
        self._seen: set[bytes] = set()

    def ask(self, n: int) -> Genotypes:
        """The next ``n``."""
        while len(self._found) < n and (block := list(islice(self._left, _BLOCK))):
            new = self._problem.admit(np.array(block), self._seen)
            self._seen.update(keys(new))
            self._found = np.concatenate([self._found, new])
        asked, self._found = self._found[:n], self._found[n:]
        return asked

    def tell(self, candidates: Candidates) -> None:
        """The order is fixed."""


PLUGIN = Exhaustive
