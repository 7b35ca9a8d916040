"""The contract of a search space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices import Graph

if TYPE_CHECKING:
    from torch import nn

    from hwnas.supernet import Supernet

Genotypes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gene:
    """One decision: its name and its options, the dearer ones later. A genotype holds the option's position."""

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
    """

    genes: tuple[Gene, ...]
    places: tuple[str, ...]
    input_shape: tuple[int, int, int]
    classes: int

    @abstractmethod
    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """``(n, G)``: genes that have no effect set to 0, so that equal rows are equal networks."""

    @abstractmethod
    def pieces(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """``(n, P)`` ids of the pieces, -1 where a place is empty. Ids are unique over places and count from 0."""

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
    def image_size(self, genotype: NDArray[np.int64]) -> int:
        """Side, in pixels, of the square input that the network takes."""

    @abstractmethod
    def weights(self, module: nn.Module) -> Mapping[str, NDArray[Any]]:
        """The constants of :meth:`graph` from a trained :meth:`build`, batch norm folded."""

    def smallest(self) -> NDArray[np.int64]:
        """``(G,)``: the first option of every gene."""
        return self.canonical(np.zeros((1, len(self.genes)), np.int64)).reshape(-1)

    def largest(self) -> NDArray[np.int64]:
        """``(G,)``: the last option of every gene."""
        return self.canonical(np.array([[len(g.options) - 1 for g in self.genes]])).reshape(-1)

    def describe(self, genotype: NDArray[np.int64]) -> dict[str, Any]:
        """Gene names with the options chosen."""
        return {gene.name: gene.options[int(i)] for gene, i in zip(self.genes, genotype, strict=True)}

    def sample(self, rng: np.random.Generator, n: int) -> Genotypes:
        """``(n, G)`` canonical genotypes, each gene uniform over its options."""
        return self.canonical(np.stack([rng.integers(0, len(g.options), n) for g in self.genes], axis=1))
