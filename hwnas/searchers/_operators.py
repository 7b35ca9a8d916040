"""What evolutionary searchers have in common: selection, crossover, mutation. All of them work on arrays.

Goldberg & Deb 1991, "A comparative analysis of selection schemes used in genetic algorithms"; Eiben & Smith 2015,
"Introduction to evolutionary computing", chapters 4 and 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hwnas.space import Genotypes, SearchSpace

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

SELECTIONS = ("tournament", "rank", "roulette")
CROSSOVERS = ("uniform", "one_point")


def select(rng: np.random.Generator, fitness: Floats, n: int, kind: str, *, competitors: int = 2) -> Positions:
    """``(n,)`` positions of parents.

    ``"tournament"``: the fittest of ``competitors`` drawn evenly. ``"rank"``: with a probability that falls linearly from the
    fittest to the least fit, to 0. ``"roulette"``: in proportion to how far the fitness is above the lowest.
    """
    size = len(fitness)
    if kind == "tournament":
        drawn = rng.integers(0, size, (n, competitors))
        return np.asarray(drawn[np.arange(n), fitness[drawn].argmax(axis=1)])
    weights = fitness - fitness.min() if kind == "roulette" else fitness.argsort().argsort().astype(np.float64)
    total = weights.sum()
    return rng.choice(size, n, p=weights / total if total > 0 else None)


def cross(rng: np.random.Generator, first: Genotypes, second: Genotypes, kind: str) -> Genotypes:
    """``(n, G)`` children of two parents each: every gene from either (``"uniform"``), or the genes up to a place drawn at
    random from the first and the others from the second (``"one_point"``)."""
    n, genes = first.shape
    if kind == "uniform":
        return np.where(rng.random((n, genes)) < 0.5, second, first)
    return np.where(np.arange(genes) < rng.integers(1, max(genes, 2), (n, 1)), first, second)


def mutate_one(space: SearchSpace, rng: np.random.Generator, genotypes: Genotypes) -> Genotypes:
    """``(n, G)``: each row with one gene, drawn at random, at another option; as it stands where no gene has another."""
    counts, mutants = _counts(space), genotypes.copy()
    if (counts == 1).all():
        return mutants
    gene = rng.choice(np.flatnonzero(counts > 1), len(genotypes))
    rows = np.arange(len(genotypes))
    mutants[rows, gene] = (genotypes[rows, gene] + rng.integers(1, counts[gene])) % counts[gene]
    return mutants


def mutate_each(space: SearchSpace, rng: np.random.Generator, genotypes: Genotypes, rate: float) -> Genotypes:
    """``(n, G)``: every gene, with probability ``rate``, at another option."""
    counts = _counts(space)
    others = (genotypes + rng.integers(1, np.maximum(counts, 2), genotypes.shape)) % counts
    return np.where(rng.random(genotypes.shape) < rate, others, genotypes)


def chosen(name: str, value: str, known: tuple[str, ...]) -> str:
    """A setting that is one of the ``known`` words.

    Raises:
        ValueError: it is not.
    """
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return value


def _counts(space: SearchSpace) -> NDArray[np.int64]:
    return np.array([len(gene.options) for gene in space.genes])
