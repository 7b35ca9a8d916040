"""Spaces in which every gene chooses one of a few operations, for an edge or for a layer of a chain."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices import Graph
from hwnas.space import Genotypes, SearchSpace, checked
from hwnas.spaces import _steps
from hwnas.spaces._blocks import INPUT
from hwnas.spaces._steps import Step

if TYPE_CHECKING:
    from torch import nn

    from hwnas.training.supernet import Supernet


class ChoiceSpace(SearchSpace):
    """A space that says what it is by :meth:`steps`; the rest follows."""

    @abstractmethod
    def steps(self, genotype: NDArray[np.int64]) -> Sequence[Step]:
        """The one definition of a network, in the order of execution."""

    def image_size(self, genotype: NDArray[np.int64]) -> int:
        """The longer side of the image, in pixels, for every network."""
        return max(self.input_shape[1:])

    def graph(self, genotype: NDArray[np.int64]) -> Graph:
        """The inference graph: input ``input`` (1, C, size, size), output ``logits`` (1, classes)."""
        name = "-".join([type(self).__name__.lower(), "".join(str(int(g)) for g in genotype)])
        made = _steps.graph(name, self.input_shape[0], self.image_size(genotype), self.steps(genotype))
        return replace(made, make_module=partial(self.build, genotype))

    def build(self, genotype: NDArray[np.int64]) -> nn.Module:
        """The trainable torch module."""
        from hwnas.spaces._step_modules import StepNetwork

        return StepNetwork(self.steps(genotype))

    def supernet(self) -> Supernet:
        """One network with shared weights that contains every network of the space: a set of weights for every option."""
        from hwnas.spaces._step_modules import ChoiceNetwork

        return ChoiceNetwork(self)

    def weights(self, module: nn.Module) -> Mapping[str, NDArray[Any]]:
        """The weights of :meth:`graph` from a trained :meth:`build`, batch norm folded."""
        from hwnas.spaces._step_modules import weights

        return weights(module)


class LayerSpace(ChoiceSpace):
    """A chain of layers, each with one of the same blocks: a gene and a place for every layer, between ``stem`` and ``head``.

    A block that passes its input on leaves its place empty. Among layers of the same shape it does not matter where that is:
    in the canonical form such layers are the last ones.

    Attributes:
        blocks: names of the blocks.
        shapes: of each layer the channels that go in and come out, and the stride.
    """

    blocks: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]

    @abstractmethod
    def layer(self, number: int, block: str, x: str) -> Sequence[Step]:
        """Block ``block`` as the layer at place ``layer{number + 1}``, reading ``x``."""

    @abstractmethod
    def stem(self) -> Sequence[Step]:
        """What is before the layers."""

    @abstractmethod
    def head(self, x: str) -> Sequence[Step]:
        """What is behind them."""

    @property
    def piece_count(self) -> int:
        """How many distinct pieces the space has."""
        return int(self._table.max()) + 2

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """``(n, G)``: within a run of layers of the same shape, those that compute something come first.

        Raises:
            ValueError: wrong shape, or an option out of range.
        """
        genotypes = checked(self, genotypes)
        idle = self._table[np.arange(len(self.genes)), genotypes] < 0
        for run in self._runs:
            order = np.argsort(idle[:, run], axis=1, kind="stable")
            genotypes[:, run] = np.take_along_axis(genotypes[:, run], order, axis=1)
        return genotypes

    def pieces(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """``(n, P)`` ids of the pieces, -1 for a layer that passes its input on."""
        ends = np.zeros((len(genotypes), 1), np.int64)
        return np.concatenate(
            [ends, self._table[np.arange(len(self.genes)), genotypes], ends + self.piece_count - 1], 1
        )

    @cached_property
    def _runs(self) -> list[slice]:
        """Layers in a row that have the same shape."""
        starts = [i for i, shape in enumerate(self.shapes) if i == 0 or shape != self.shapes[i - 1]]
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(self.shapes)], strict=True)]

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """``(G, blocks)`` the piece that every block is in every layer."""
        layers = range(len(self.genes))
        present = np.array([[bool(self.layer(i, block, INPUT)) for block in self.blocks] for i in layers])
        return np.where(present, np.cumsum(present).reshape(present.shape), -1)

    def steps(self, genotype: NDArray[np.int64]) -> Sequence[Step]:
        """The one definition of a network."""
        steps = [*self.stem()]
        for number, option in enumerate(genotype.tolist()):
            steps += self.layer(number, self.blocks[option], steps[-1].output)
        return (*steps, *self.head(steps[-1].output))
