"""Inverted residuals for small devices, after MobileNetV2 and V3, ProxylessNAS and Once-for-All.

A 3×3 stem, then stages of inverted residual blocks, then a 1×1 convolution, pooling and a linear classifier. Chosen per
stage: depth, width, kernel size, expansion, squeeze-and-excitation; for the whole network: activation and input resolution.
How far the image is shrunk, and how many stages there are, follows from its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices import Graph
from devices.plugins import require_known
from hwnas.space import Gene, Genotypes, SearchSpace, checked, checked_task
from hwnas.spaces import _blocks as blocks

if TYPE_CHECKING:
    from torch import nn

    from hwnas.training.supernet import Supernet

_SMALLEST_MAP = 4  # the image is halved while what is left is at least so many pixels
_WIDTHS = ((16, 24), (32, 48), (64, 80, 96), (96, 128, 160), (160, 192, 224))
_GLOBAL = ("resolution", "activation")
_STAGE = ("depth", "width", "kernel", "expansion", "squeeze_excite")


class MobileSpace(SearchSpace):
    """Networks of inverted residuals.

    Args:
        input_shape: ``(C, H, W)`` of one example as the task gives it; networks see it resized to a square.
        classes: number of classes, at least 2.
        resolutions: sides of the square input; by default the longer side of the image and about 6/7 of it.
        activations: of ``relu``, ``hardswish``.
        widths: for each stage the output channels to choose from, multiples of 8.
        depths: numbers of blocks in a stage.
        kernels: odd sizes of the depthwise convolution.
        expansions: ratios of hidden to input channels.
        squeeze_excite: whether blocks may, must or must not have it.
        stem_width, head_width: channels of the first and of the last convolution.

    Raises:
        ValueError: an option that makes no network; says which and why.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: int,
        *,
        resolutions: Sequence[int] | None = None,
        activations: Sequence[str] = blocks.ACTIVATIONS,
        widths: Sequence[Sequence[int]] | None = None,
        depths: Sequence[int] = (1, 2, 3),
        kernels: Sequence[int] = (3, 5),
        expansions: Sequence[int] = (3, 4),
        squeeze_excite: Sequence[bool] = (False, True),
        stem_width: int = 16,
        head_width: int | None = None,
    ) -> None:
        self.input_shape = checked_task(input_shape, classes)
        self.classes = classes
        side = max(input_shape[1:])
        halvings = max(0, math.ceil(math.log2(side / _SMALLEST_MAP)))
        stages = min(max(3, halvings), len(_WIDTHS))
        self._widths = [_options(f"widths[{i}]", w, 8, step=8) for i, w in enumerate(widths or _WIDTHS[:stages])]
        # The stem halves first if the image is large; the first stage keeps the size.
        self._stem_stride = 2 if halvings >= 3 else 1
        later = halvings - (self._stem_stride == 2)
        self._strides = [2 if 1 <= i <= later else 1 for i in range(len(self._widths))]
        self._stem_width = _options("stem_width", [stem_width], 8, step=8)[0]
        head_width = 128 * 2 ** max(0, len(self._widths) - 3) if head_width is None else head_width
        self._head_width = _options("head_width", [head_width], 8, step=8)[0]
        self._depths = _options("depths", depths, 1)
        chosen: dict[str, tuple[Any, ...]] = {
            "resolution": _options(
                "resolutions", resolutions or {min(side, round(side * 6 / 28) * 4 or side), side}, 1
            ),
            "activation": _activations(activations),
            "depth": self._depths,
            "kernel": _options("kernels", kernels, 1, step=2, offset=1),
            "expansion": _options("expansions", expansions, 1),
            "squeeze_excite": tuple(sorted({bool(s) for s in squeeze_excite})),
        }
        for name, options in (*chosen.items(), *((f"widths[{i}]", w) for i, w in enumerate(self._widths))):
            if not options:
                raise ValueError(f"{name} needs at least one option.")
        genes = [Gene(name, chosen[name]) for name in _GLOBAL]
        for i, stage_widths in enumerate(self._widths):
            of_stage = chosen | {"width": stage_widths}
            genes += [Gene(f"stage{i + 1}.{name}", of_stage[name]) for name in _STAGE]
        self.genes = tuple(genes)
        self._columns = {g.name: i for i, g in enumerate(genes)}
        self._place_columns = self._columns_of_places()
        self.places = tuple(self._place_columns)
        radices = [math.prod(len(genes[c].options) for c in columns) for columns in self._place_columns.values()]
        self._offsets = np.concatenate([[0], np.cumsum(radices)])

    def _columns_of_places(self) -> dict[str, tuple[int, ...]]:
        """For each place the genes that decide its piece."""
        shared = tuple(self._columns[name] for name in _GLOBAL)
        before: tuple[int, ...] = ()
        places = {"stem": shared}
        for i in range(1, len(self._widths) + 1):
            stage = tuple(self._columns[f"stage{i}.{name}"] for name in _STAGE if name != "depth")
            width = (self._columns[f"stage{i}.width"],)
            for block in range(max(self._depths)):
                places[f"stage{i}.{block}"] = (*shared, *stage, *(before if block == 0 else ()))
            before = width
        return places | {"head": (*shared, *before)}

    @property
    def piece_count(self) -> int:
        """How many distinct pieces the space has."""
        return int(self._offsets[-1])

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """``(n, G)``: every gene has an effect here, so this is a copy.

        Raises:
            ValueError: wrong shape, or an option out of range.
        """
        return checked(self, genotypes)

    def pieces(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """``(n, P)`` ids of the pieces, -1 where a stage is not as deep as that."""
        out = np.empty((len(genotypes), len(self.places)), np.int64)
        depths = np.array(self._depths)
        for i, (place, columns) in enumerate(self._place_columns.items()):
            code = np.zeros(len(genotypes), np.int64)
            for column in columns:
                code = code * len(self.genes[column].options) + genotypes[:, column]
            code += self._offsets[i]
            stage, _, block = place.partition(".")
            if block:
                code[depths[genotypes[:, self._columns[f"{stage}.depth"]]] <= int(block)] = -1
            out[:, i] = code
        return out

    def smallest(self) -> NDArray[np.int64]:
        """``(G,)``: the first, cheapest option of every gene."""
        return np.zeros(len(self.genes), np.int64)

    def largest(self) -> NDArray[np.int64]:
        """``(G,)``: the last, dearest option of every gene."""
        return np.array([len(gene.options) - 1 for gene in self.genes])

    def parts(self, genotype: NDArray[np.int64]) -> tuple[blocks.Part, ...]:
        """The one definition of a network: what stands at each place that is not empty."""
        chosen = self.describe(genotype)
        activation, size = chosen["activation"], chosen["resolution"]
        parts = [blocks.stem("stem", size, self.input_shape[0], self._stem_width, self._stem_stride, activation)]
        for i, stride in enumerate(self._strides, start=1):
            for block in range(chosen[f"stage{i}.depth"]):
                parts.append(
                    blocks.inverted_residual(
                        f"stage{i}.{block}",
                        parts[-1].out_size,
                        parts[-1].convs[-1].width,
                        chosen[f"stage{i}.width"],
                        kernel=chosen[f"stage{i}.kernel"],
                        expansion=chosen[f"stage{i}.expansion"],
                        stride=stride if block == 0 else 1,
                        squeeze_excite=chosen[f"stage{i}.squeeze_excite"],
                        activation=activation,
                    )
                )
        last = parts[-1]
        parts.append(
            blocks.head("head", last.out_size, last.convs[-1].width, self._head_width, self.classes, activation)
        )
        return tuple(parts)

    def image_size(self, genotype: NDArray[np.int64]) -> int:
        """Side of the square input, in pixels."""
        return int(self.genes[0].options[genotype[0]])

    def macs(self, genotype: NDArray[np.int64]) -> int:
        """Multiply-accumulates for one example."""
        return sum(p.macs for p in self.parts(genotype))

    def parameters(self, genotype: NDArray[np.int64]) -> int:
        """Weights and biases of the inference graph."""
        return sum(p.parameters for p in self.parts(genotype))

    def graph(self, genotype: NDArray[np.int64]) -> Graph:
        """The inference graph: input ``input`` (1, C, size, size), output ``logits`` (1, classes)."""
        name = "mobile-" + "".join(str(int(g)) for g in genotype)
        made = blocks.graph(name, self.input_shape[0], self.parts(genotype))
        return replace(made, make_module=partial(self.build, genotype))

    def build(self, genotype: NDArray[np.int64]) -> nn.Module:
        """The trainable torch module."""
        from hwnas.spaces._modules import Network

        return Network(self.parts(genotype))

    def supernet(self) -> Supernet:
        """One network with shared weights that contains every network of the space."""
        from hwnas.spaces._elastic import ElasticNetwork

        return ElasticNetwork(self)

    def weights(self, module: nn.Module) -> Mapping[str, NDArray[Any]]:
        """The constants of :meth:`graph` from a trained :meth:`build`, batch norm folded."""
        from hwnas.spaces._modules import folded_weights

        return folded_weights(module)


def _options(name: str, values: Iterable[int], least: int, *, step: int = 1, offset: int = 0) -> tuple[int, ...]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < least or (value - offset) % step:
            kind = {1: "integers", 2: "odd integers"}.get(step, f"multiples of {step}")
            raise ValueError(f"{name} must be {kind} of at least {least}, got {value!r}.")
    return tuple(sorted(set(values)))


def _activations(values: Sequence[str]) -> tuple[str, ...]:
    known = list(blocks.ACTIVATIONS)
    require_known("unknown activation", values, known)
    return tuple(name for name in known if name in values)


PLUGIN = MobileSpace
