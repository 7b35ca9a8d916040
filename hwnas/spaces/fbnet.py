"""FBNet (Wu et al. 2019, "FBNet: hardware-aware efficient ConvNet design via differentiable neural architecture search", tables 1
and 2): 22 layers of a mobile network, each with one of nine blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hwnas.space import Gene, checked_task
from hwnas.spaces._blocks import INPUT, Conv
from hwnas.spaces._choice import LayerSpace
from hwnas.spaces._steps import Step, classifier, convolution, inverted_residual

_SKIP = "skip"
_BLOCKS = {  # kernel, expansion, groups of the 1×1 convolutions
    "k3_e1": (3, 1, 1), "k3_e1_g2": (3, 1, 2), "k3_e3": (3, 3, 1), "k3_e6": (3, 6, 1),
    "k5_e1": (5, 1, 1), "k5_e1_g2": (5, 1, 2), "k5_e3": (5, 3, 1), "k5_e6": (5, 6, 1), _SKIP: None,
}  # fmt: skip
_STAGES = ((16, 1), (24, 4), (32, 4), (64, 4), (112, 4), (184, 4), (352, 1))  # channels, layers
_STEM, _SMALL_IMAGE = 16, 64
_SMALL, _LARGE = (1, (1, 1, 2, 2, 1, 2, 1), 1504), (2, (1, 2, 2, 2, 1, 2, 1), 1984)  # strides of stem and stages, head


class FBNet(LayerSpace):
    """The blocks stand in the order of the published latency tables. Where shapes differ, a skip is a 1×1 convolution.

    Args:
        input_shape: ``(C, H, W)`` of one example as the task gives it, resized to a square. Images of more than 64 pixels are
            halved five times, as ImageNet's; smaller ones three times, with a narrower head, as CIFAR's are for the tables
            (Li et al. 2021, "HW-NAS-Bench", appendix).
        classes: number of classes, at least 2.

    Raises:
        ValueError: not the shape of an image, or too few classes.
    """

    blocks = tuple(_BLOCKS)

    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        self.input_shape, self.classes = checked_task(input_shape, classes), classes
        large = max(input_shape[1:]) > _SMALL_IMAGE
        self._stem_stride, strides, self._head_width = _LARGE if large else _SMALL
        shapes: list[tuple[int, int, int]] = []
        before = _STEM
        for (width, layers), stride in zip(_STAGES, strides, strict=True):
            shapes += [(before, width, stride)] + [(width, width, 1)] * (layers - 1)
            before = width
        self.shapes = tuple(shapes)
        self.genes = tuple(Gene(f"layer{i + 1}", self.blocks) for i in range(len(self.shapes)))
        self.places = ("stem", *(gene.name for gene in self.genes), "head")

    def smallest(self) -> NDArray[np.int64]:
        """Skips."""
        return np.full(len(self.genes), self.blocks.index(_SKIP))

    def largest(self) -> NDArray[np.int64]:
        """5×5 kernels, six times as many channels."""
        return np.full(len(self.genes), self.blocks.index("k5_e6"))

    def stem(self) -> Sequence[Step]:
        """A 3×3 convolution."""
        conv = Conv("conv", self.input_shape[0], _STEM, 3, self._stem_stride, activation="relu")
        return (convolution("stem", conv, INPUT),)

    def layer(self, number: int, block: str, x: str) -> Sequence[Step]:
        """An inverted residual, or a skip."""
        return _layer(number, block, *self.shapes[number], x)

    def head(self, x: str) -> Sequence[Step]:
        """A 1×1 convolution, pooling, a linear classifier."""
        conv = convolution("head", Conv("conv", self.shapes[-1][1], self._head_width, activation="relu"), x)
        return conv, classifier("head", self._head_width, self.classes, conv.output)


@cache
def _layer(number: int, block: str, in_width: int, width: int, stride: int, x: str) -> tuple[Step, ...]:
    place, shape = f"layer{number + 1}", _BLOCKS[block]
    if shape is None:
        same = stride == 1 and in_width == width
        conv = Conv(block, in_width, width, stride=stride, activation="relu")
        return () if same else (convolution(place, conv, x),)
    kernel, expansion, groups = shape
    return inverted_residual(
        place, block, in_width, width, x, kernel=kernel, expansion=expansion, stride=stride, groups=groups
    )


PLUGIN = FBNet
