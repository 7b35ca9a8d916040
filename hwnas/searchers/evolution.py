"""Regularised evolution: the oldest dies, not the worst (Real et al. 2019, "Regularized evolution for image classifier
architecture search", algorithm 1), several children per generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.problem import Problem, keys
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.space import Genotypes

_TRIES = 32


class Evolution(Searcher):
    """Aging evolution under hard constraints.

    Args:
        problem: what is searched.
        population: how many of the youngest networks may become parents; as many are drawn at random to begin with.
        sample: how many of them compete to become one parent.
    """

    def __init__(self, problem: Problem, *, population: int = 50, sample: int = 10) -> None:
        if not 1 <= sample <= population:
            raise ValueError(f"sample must be between 1 and population ({population}), got {sample}")
        self._problem = problem
        self._rng = np.random.default_rng(problem.seed)
        self._size = population
        self._sample = sample
        self._seen: set[bytes] = set()
        self._genotypes = problem.space.sample(self._rng, 0)
        self._accuracy = np.empty(0)

    def ask(self, n: int) -> Genotypes:
        """Children of tournament winners; random networks while the population is not full and where no child is new."""
        missing = self._size - len(self._genotypes)
        asked = self._children(n) if missing <= 0 else self._problem.sample(self._rng, min(n, missing), self._seen)
        self._seen.update(keys(asked))
        if missing <= 0 and len(asked) < n:
            more = self._problem.sample(self._rng, n - len(asked), self._seen)
            self._seen.update(keys(more))
            asked = np.concatenate([asked, more])
        return asked

    def tell(self, candidates: Candidates) -> None:
        """The youngest come in at the end, the oldest leave."""
        self._seen.update(keys(candidates.genotypes))
        self._genotypes = np.concatenate([self._genotypes, candidates.genotypes])[-self._size :]
        self._accuracy = np.concatenate([self._accuracy, candidates.accuracy])[-self._size :]

    def _children(self, n: int) -> Genotypes:
        competing = self._rng.permuted(np.tile(np.arange(self._size), (n, 1)), axis=1)[:, : self._sample]
        winners = competing[np.arange(n), self._accuracy[competing].argmax(axis=1)]
        mutants = mutate(self._problem, self._rng, np.tile(self._genotypes[winners], (_TRIES, 1)))
        return self._problem.admit(mutants, self._seen)[:n]


def mutate(problem: Problem, rng: np.random.Generator, genotypes: Genotypes) -> Genotypes:
    """``(n, G)``: each row with one gene, drawn at random, at another option."""
    counts = np.array([len(gene.options) for gene in problem.space.genes])
    gene = rng.choice(np.flatnonzero(counts > 1), len(genotypes))
    rows = np.arange(len(genotypes))
    mutants = genotypes.copy()
    mutants[rows, gene] = (genotypes[rows, gene] + rng.integers(1, counts[gene])) % counts[gene]
    return mutants


PLUGIN = Evolution
