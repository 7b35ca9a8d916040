"""Exhaustive search: every network within the budget, for small spaces; the truth that others are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.errors import SearchError
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.problem import Problem
    from hwnas.space import Genotypes


class Exhaustive(Searcher):
    """All of them, in the order of genotypes.

    Raises:
        SearchError: the space is too large to list.
    """

    def __init__(self, problem: Problem) -> None:
        if problem.listed is None:
            raise SearchError(
                "The searcher 'exhaustive' looks at every network, and this space has too many to list.",
                hint="Search with 'guided'; where accuracy and costs are sums over the genes, hwnas.exact.solve has the best.",
            )
        self._left = problem.listed

    def ask(self, n: int) -> Genotypes:
        """The next ``n``."""
        asked, self._left = self._left[:n], self._left[n:]
        return asked

    def tell(self, candidates: Candidates) -> None:
        """The order is fixed."""


PLUGIN = Exhaustive
