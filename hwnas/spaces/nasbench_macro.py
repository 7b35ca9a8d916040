"""NAS-Bench-Macro (Su et al. 2021, "Prioritized architecture sampling with Monte-Carlo tree search", section 5): eight layers of
a small MobileNetV2, each with one of three blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hwnas.space import Gene, checked_task
from hwnas.spaces._blocks import INPUT, Conv
from hwnas.spaces._choice import LayerSpace
from hwnas.spaces._steps import Step, classifier, convolution, inverted_residual

_BLOCKS = {"identity": None, "k3_e3": (3, 3), "k5_e6": (5, 6)}  # kernel and expansion
_STAGES, _STEM, _HEAD = (2, 3, 3), 32, 1280


class NasBenchMacro(LayerSpace):
    """The blocks stand in the published order. The first layer of each stage halves the image and doubles the channels; there
    the identity is a 1×1 convolution.

    Args:
        input_shape: ``(C, H, W)`` of one example as the task gives it, resized to a square; published for CIFAR's 3×32×32.
        classes: number of classes, at least 2.

    Raises:
        ValueError: not the shape of an image, or too few classes.
    """

    blocks = tuple(_BLOCKS)

    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        self.input_shape, self.classes = checked_task(input_shape, classes), classes
        shapes: list[tuple[int, int, int]] = []
        for stage, layers in enumerate(_STAGES, start=1):
            width = _STEM * 2**stage
            shapes += [(width // 2, width, 2)] + [(width, width, 1)] * (layers - 1)
        self.shapes = tuple(shapes)
        self.genes = tuple(Gene(f"layer{i + 1}", self.blocks) for i in range(len(shapes)))
        self.places = ("stem", *(gene.name for gene in self.genes), "head")

    def smallest(self) -> NDArray[np.int64]:
        """Identities."""
        return np.zeros(len(self.genes), np.int64)

    def largest(self) -> NDArray[np.int64]:
        """5×5 kernels, six times as many channels."""
        return np.full(len(self.genes), len(self.blocks) - 1)

    def stem(self) -> Sequence[Step]:
        """A 3×3 convolution."""
        return (convolution("stem", Conv("conv", self.input_shape[0], _STEM, 3, activation="relu"), INPUT),)

    def layer(self, number: int, block: str, x: str) -> Sequence[Step]:
        """An inverted residual, or an identity."""
        return _layer(number, block, *self.shapes[number], x)

    def head(self, x: str) -> Sequence[Step]:
        """A 1×1 convolution, pooling, a linear classifier."""
        conv = convolution("head", Conv("conv", self.shapes[-1][1], _HEAD, activation="relu"), x)
        return conv, classifier("head", _HEAD, self.classes, conv.output)


@cache
def _layer(number: int, block: str, in_width: int, width: int, stride: int, x: str) -> tuple[Step, ...]:
    place, shape = f"layer{number + 1}", _BLOCKS[block]
    if shape is None:
        same = stride == 1 and in_width == width
        return () if same else (convolution(place, Conv(block, in_width, width, stride=stride), x),)
    kernel, expansion = shape
    return inverted_residual(place, block, in_width, width, x, kernel=kernel, expansion=expansion, stride=stride)


PLUGIN = NasBenchMacro
