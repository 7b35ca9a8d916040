"""Searching for the best INT8 network: costs are those of INT8 files, accuracies those of quantised networks.

Both stand in for what they wrap, so that profiling, prediction, search and measurement need not know.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

import devices
from hwnas.accuracy import SharedWeights
from hwnas.int8.flavours import CPU, Flavour
from hwnas.int8.quantize import Quantizer, like_int8
from hwnas.one_by_one import OneByOne
from hwnas.onnx_inference import logits
from hwnas.space import Genotypes, SearchSpace
from hwnas.task import Task, calibration_images, normalize, ranking_split

if TYPE_CHECKING:
    from torch import nn

    from devices import Graph
    from hwnas.training.supernet import Supernet

CALIBRATION_IMAGES = 64


@final
class Int8Space(SearchSpace):
    """A space whose graphs are those of its networks' INT8 files, with made-up weights and ranges; the rest is the space's."""

    def __init__(self, space: SearchSpace, flavour: Flavour = CPU) -> None:
        self.genes, self.places = space.genes, space.places
        self.input_shape, self.classes = space.input_shape, space.classes
        self.rows, self.underlying = space.rows, space.underlying
        self._space, self._flavour = space, flavour
        self._graphs: dict[bytes, Graph] = {}

    def graph(self, genotype: NDArray[np.int64]) -> Graph:
        """The INT8 file's graph; made once, as that takes a tenth of a second."""
        key = np.asarray(genotype, np.int64).tobytes()
        if key not in self._graphs:
            source = self._space.graph(genotype)
            model = like_int8(source.to_onnx(), self._flavour)
            with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
                path = Path(folder, "int8.onnx")
                path.write_bytes(model.SerializeToString())
                self._graphs[key] = replace(devices.load_onnx(path), name=f"{source.name}-int8", model=model)
        return self._graphs[key]

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """See the space."""
        return self._space.canonical(genotypes)

    def pieces(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """See the space."""
        return self._space.pieces(genotypes)

    @property
    def piece_count(self) -> int:
        """See the space."""
        return self._space.piece_count

    def build(self, genotype: NDArray[np.int64]) -> nn.Module:
        """See the space."""
        return self._space.build(genotype)

    def supernet(self) -> Supernet:
        """See the space."""
        return self._space.supernet()

    def smallest(self) -> NDArray[np.int64]:
        """See the space."""
        return self._space.smallest()

    def largest(self) -> NDArray[np.int64]:
        """See the space."""
        return self._space.largest()

    def image_size(self, genotype: NDArray[np.int64]) -> int:
        """See the space."""
        return self._space.image_size(genotype)

    def weights(self, module: nn.Module) -> Mapping[str, NDArray[Any]]:
        """See the space."""
        return self._space.weights(module)


@final
class Int8Accuracy(OneByOne):
    """Accuracy after quantisation: each network inherits its weights, is quantised as simply as can be, and evaluated.

    Args:
        model: gives the weights.
        space: of the networks, in float32.
        task: its training images calibrate, its validation images judge.
        validation_images: how many of them.
        seed: draws the images.
        flavour: of the INT8 files.
    """

    source = "supernet, INT8"

    def __init__(
        self,
        model: SharedWeights,
        space: SearchSpace,
        task: Task,
        *,
        validation_images: int,
        seed: int,
        flavour: Flavour = CPU,
    ) -> None:
        self._flavour = flavour
        self._model, self._space, self._task = model, space, task
        self._calibration = calibration_images(task, CALIBRATION_IMAGES, seed)
        self._validation = ranking_split(task, validation_images, seed)

    def prepare(self) -> Sequence[Path]:
        """What the weights need."""
        return self._model.prepare()

    def evaluate(self, asked: NDArray[np.int64]) -> float:
        """Fraction of the validation images that network ``(G,)`` classifies correctly."""
        size = self._space.image_size(asked)
        model = self._space.graph(asked).to_onnx(self._space.weights(self._model.inherit(asked)))
        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
            path = Path(folder, "model.onnx")
            path.write_bytes(model.SerializeToString())
            int8 = Quantizer(path, normalize(self._calibration, self._task, size), self._flavour).int8()
        found = logits(int8, normalize(self._validation.images, self._task, size))
        return float((found.argmax(1) == self._validation.labels).mean())
