"""What the search takes for an INT8 file costs what the file does, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import devices
import hwnas.spaces
import hwnas.tasks
from hwnas.config import load
from hwnas.errors import InvalidConfig
from hwnas.int8.quantize import Quantizer
from hwnas.int8.search import Int8Accuracy, Int8Space
from hwnas.places import kernel_places
from hwnas.run import run
from hwnas.space import SearchSpace
from hwnas.task import normalize


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.spaces.open("mobile", (1, 8, 8), 10, resolutions=[8], stem_width=8, head_width=32)


@pytest.mark.parametrize("seed", range(3))
def test_made_up_ranges_have_the_kernels_and_bytes_of_the_file(space: SearchSpace, tmp_path: Path, seed: int) -> None:
    task, genotype = hwnas.tasks.open("digits"), space.sample(np.random.default_rng(seed), 1)[0]
    model = space.graph(genotype).to_onnx()
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    made = Quantizer(tmp_path / "model.onnx", normalize(task.train.images[:4], task, 8)).int8()
    (tmp_path / "int8.onnx").write_bytes(made.SerializeToString())
    graph = Int8Space(space).graph(genotype)
    with devices.open("onnxruntime:threads=1") as device:
        ours, theirs = device.lower(graph), device.lower(devices.load_onnx(tmp_path / "int8.onnx"))
    assert [k.kernel for k in ours.kernels] == [k.kernel for k in theirs.kernels]
    assert ours.memory is not None
    assert theirs.memory is not None
    bytes_kept = theirs.memory.memory_bytes
    assert ours.memory.memory_bytes == pytest.approx(bytes_kept, rel=0.005)  # equal scales are kept once
    assert graph.to_onnx().ByteSize() == pytest.approx(made.ByteSize(), rel=0.005)
    places = [space.places.index(place) for place in kernel_places(ours.kernels, space.places)]
    assert places == sorted(places)


def test_graphs_are_the_same_in_every_process_and_made_once(space: SearchSpace) -> None:
    int8 = Int8Space(space)
    assert int8.graph(space.smallest()) is int8.graph(space.smallest())
    assert int8.graph(space.smallest()).digest() == Int8Space(space).graph(space.smallest()).digest()
    assert int8.pieces(space.smallest()[None]).tolist() == space.pieces(space.smallest()[None]).tolist()


class Drawn:
    """Weights as they are drawn; real ones are the supernet's."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def prepare(self) -> tuple[Path, ...]:
        return ()

    def inherit(self, genotype: NDArray[np.int64]) -> Any:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self._space.build(genotype).eval()

    def teacher(self) -> Any:
        return self.inherit(self._space.largest())


def test_accuracy_is_that_of_the_quantised_network(space: SearchSpace) -> None:
    from hwnas.training.train import evaluate

    task, weights = hwnas.tasks.open("digits"), Drawn(space)
    model = Int8Accuracy(weights, space, task, validation_images=200, seed=0)
    genotypes = space.sample(np.random.default_rng(0), 2)
    found = model.accuracy(genotypes)
    exact = [evaluate(weights.inherit(g), task.validation, task, 8) for g in genotypes]
    assert found == pytest.approx(exact, abs=0.1)
    assert (found * 200 == np.rint(found * 200)).all()
    assert (model.accuracy(genotypes) == found).all()


def test_without_weights_nothing_can_be_quantised(tmp_path: Path) -> None:
    text = (
        '[budget]\nlatency_ms = 1.0\n[search]\nprecision = "int8"\n'
        '[accuracy]\nmodel = "short_training"\n[train]\nstart = "scratch"\n'
    )
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InvalidConfig, match="cannot quantise what it looks at"):
        run(load(tmp_path / "config.toml"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
