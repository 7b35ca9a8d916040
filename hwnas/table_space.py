"""Spaces of the networks that a table has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, final

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import SearchError
from hwnas.rows import Rows
from hwnas.space import Gene, Genotypes, SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from devices import Graph
    from hwnas.training.supernet import Supernet


@final
class TableSpace(SearchSpace):
    """A table's rows, each a network of its own: it was trained and measured for itself, even where another computes the same.

    Args:
        space: of which they are; everything but which networks there are is as there.
        genotypes: ``(n, G)`` the rows.
    """

    def __init__(self, space: SearchSpace, genotypes: Genotypes) -> None:
        self.genes, self.places = space.genes, space.places
        self.input_shape, self.classes = space.input_shape, space.classes
        self.underlying: SearchSpace = space
        self.rows: Rows = Rows(np.unique(genotypes, axis=0))

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """``(n, G)``: rows as they stand; of what is none, the canonical form, which may be one."""
        return np.where(self.has(genotypes)[:, None], genotypes, self.underlying.canonical(genotypes))

    def pieces(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """``(n, P)``: those of the canonical forms."""
        return self.underlying.pieces(self.underlying.canonical(genotypes))

    @property
    def piece_count(self) -> int:
        """See the space."""
        return self.underlying.piece_count

    def graph(self, genotype: NDArray[np.int64]) -> Graph:
        """That of the canonical form."""
        return self.underlying.graph(self._canonical(genotype))

    def build(self, genotype: NDArray[np.int64]) -> nn.Module:
        """That of the canonical form."""
        return self.underlying.build(self._canonical(genotype))

    def supernet(self) -> Supernet:
        """See the space."""
        return self.underlying.supernet()

    def smallest(self) -> NDArray[np.int64]:
        """See the space; it need not be in the table."""
        return self.underlying.smallest()

    def largest(self) -> NDArray[np.int64]:
        """See the space; it need not be in the table."""
        return self.underlying.largest()

    def image_size(self, genotype: NDArray[np.int64]) -> int:
        """See the space."""
        return self.underlying.image_size(self._canonical(genotype))

    def weights(self, module: nn.Module) -> Mapping[str, NDArray[Any]]:
        """See the space."""
        return self.underlying.weights(module)

    def _canonical(self, genotype: NDArray[np.int64]) -> NDArray[np.int64]:
        (canonical,) = self.underlying.canonical(genotype[None])
        return np.asarray(canonical, np.int64)


@final
class NamesOnly(SearchSpace):
    """A space of which nothing is known but the genes: its networks can be looked up in a table, and not be built.

    Args:
        genes: the decisions.
    """

    def __init__(self, genes: Sequence[Gene]) -> None:
        self.genes, self.places = tuple(genes), ()
        self.input_shape, self.classes = (0, 0, 0), 0

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """As they stand: nothing says which genes have no effect."""
        return np.array(genotypes, np.int64)

    def pieces(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """None are known."""
        self._refuse()

    @property
    def piece_count(self) -> int:
        """None are known."""
        self._refuse()

    def graph(self, genotype: NDArray[np.int64]) -> Graph:
        """None is known."""
        self._refuse()

    def build(self, genotype: NDArray[np.int64]) -> nn.Module:
        """None is known."""
        self._refuse()

    def supernet(self) -> Supernet:
        """None is known."""
        self._refuse()

    def smallest(self) -> NDArray[np.int64]:
        """Not known."""
        self._refuse()

    def largest(self) -> NDArray[np.int64]:
        """Not known."""
        self._refuse()

    def image_size(self, genotype: NDArray[np.int64]) -> int:
        """Not known."""
        self._refuse()

    def weights(self, module: nn.Module) -> Mapping[str, NDArray[Any]]:
        """None are known."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise SearchError(
            "These networks are known by their table alone: they can be searched, not built, measured or trained.",
            hint="Load the table with the space that its networks are of: tabulated.load(path, space).",
        )
