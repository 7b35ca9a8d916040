"""The contract of a search space."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices import Graph
from hwnas.rows import Rows

if TYPE_CHECKING:
    from torch import nn

    from hwnas.training.supernet import Supernet

Genotypes = NDArray[np.int64]

_LISTED = 2**16  # genotypes of a space whose networks are listed


@dataclass(frozen=True, slots=True)
class Gene:
    """One decision: its name and its options. A genotype holds the option's position."""

    name: str
    options: tuple[Any, ...]


class SearchSpace(ABC):
    """A family of networks. A genotype ``(G,)`` of small ints names one; ``(n, G)`` many.

    A network is a row of P places (stem, blocks, head). What stands at a place, with everything that decides its cost, is a
    *piece*; networks are made of few distinct pieces, so costs are worked out once per piece. Every node of :meth:`graph` is
    named ``PLACE/…`` after the place it belongs to.

    Attributes:
        genes: the G decisions, in order.
        places: names of the P places, in the order of execution.
        input_shape: ``(C, H, W)`` of one example as the task gives it.
        classes: number of classes.
        rows: the only networks there are; None where every genotype names one.
        underlying: the space whose canonical forms say which networks compute the same, where this one's own do not.
    """

    genes: tuple[Gene, ...]
    places: tuple[str, ...]
    input_shape: tuple[int, int, int]
    classes: int
    rows: Rows | None = None
    underlying: SearchSpace | None = None

    @abstractmethod
    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """``(n, G)``: genes that have no effect set to 0, so that equal rows are equal networks."""

    @abstractmethod
    def pieces(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """``(n, P)`` ids of the pieces of canonical genotypes, -1 where a place is empty. Ids are unique over places and count
        from 0."""

    @property
    @abstractmethod
    def piece_count(self) -> int:
        """How many distinct pieces the space has; ids are below it."""

    @abstractmethod
    def graph(self, genotype: NDArray[np.int64]) -> Graph:
        """The inference graph (batch 1, batch norm folded), without weights and without torch."""

    @abstractmethod
    def build(self, genotype: NDArray[np.int64]) -> nn.Module:
        """The trainable torch module, ``(B, C, size, size)`` floats in, ``(B, classes)`` logits out."""

    @abstractmethod
    def supernet(self) -> Supernet:
        """One network with shared weights that contains every network of the space, freshly initialised."""

    @abstractmethod
    def smallest(self) -> NDArray[np.int64]:
        """``(G,)``: the network that computes least and still sees its input."""

    @abstractmethod
    def largest(self) -> NDArray[np.int64]:
        """``(G,)``: the network that computes most."""

    @abstractmethod
    def image_size(self, genotype: NDArray[np.int64]) -> int:
        """Side, in pixels, of the square input that the network takes."""

    @abstractmethod
    def weights(self, module: nn.Module) -> Mapping[str, NDArray[Any]]:
        """The constants of :meth:`graph` from a trained :meth:`build`, batch norm folded."""

    def genes_to_json(self) -> list[list[Any]]:
        """Names and options of the genes: what says in a file which space it is of."""
        return [[gene.name, list(gene.options)] for gene in self.genes]

    def describe(self, genotype: NDArray[np.int64]) -> dict[str, Any]:
        """Gene names with the options chosen."""
        return {gene.name: gene.options[int(i)] for gene, i in zip(self.genes, genotype, strict=True)}

    def sample(self, rng: np.random.Generator, n: int) -> Genotypes:
        """``(n, G)`` canonical genotypes, each gene uniform over its options; of a space of rows, rows drawn evenly."""
        if self.rows is not None:
            return self.rows.genotypes[rng.integers(0, len(self.rows.genotypes), n)]
        return self.canonical(np.stack([rng.integers(0, len(g.options), n) for g in self.genes], axis=1))

    def networks(self) -> Genotypes | None:
        """``(m, G)``: all networks, canonical, each once; None where they are too many to list."""
        if self.rows is not None:
            return self.rows.genotypes
        sizes = [len(gene.options) for gene in self.genes]
        if math.prod(sizes) > _LISTED:
            return None
        every = np.stack([column.ravel() for column in np.indices(sizes)], axis=1)
        return np.unique(self.canonical(every), axis=0)

    def has(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """``(n,)`` whether each canonical genotype is a network of the space."""
        return np.ones(len(genotypes), bool) if self.rows is None else self.rows.find(genotypes) >= 0

    def features(self, genotypes: Genotypes) -> Genotypes:
        """``(n, G)``: what predictors know networks by; rows are equal where networks compute the same."""
        return (self.underlying or self).canonical(genotypes)


def checked(space: SearchSpace, genotypes: Genotypes) -> Genotypes:
    """A copy of ``(n, G)`` genotypes.

    Raises:
        ValueError: wrong shape, or an option out of range.
    """
    genotypes = np.array(genotypes, np.int64)
    limits = np.array([len(g.options) for g in space.genes])
    if genotypes.ndim != 2 or genotypes.shape[1] != len(limits):
        raise ValueError(f"genotypes must have shape (n, {len(limits)}), got {genotypes.shape}.")
    if np.any((genotypes < 0) | (genotypes >= limits)):
        row, column = np.argwhere((genotypes < 0) | (genotypes >= limits))[0]
        raise ValueError(
            f"gene {space.genes[column].name!r} has options 0 … {limits[column] - 1}, got {genotypes[row, column]}."
        )
    return genotypes


def checked_task(input_shape: tuple[int, int, int], classes: int) -> tuple[int, int, int]:
    """The shape of one example.

    Raises:
        ValueError: not three positive numbers, or fewer than two classes.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"input_shape must be (channels, height, width), all positive, got {tuple(input_shape)}.")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}.")
    return (input_shape[0], input_shape[1], input_shape[2])
