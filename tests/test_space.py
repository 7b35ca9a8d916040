"""Every search space: pieces decide the graph, graph and module compute the same, and nothing needs torch to be drawn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwnas.spaces
from devices import Graph
from hwnas.space import SearchSpace

SHAPES = ((1, 28, 28), (1, 8, 8), (3, 20, 31))


@pytest.fixture(params=[(name, shape) for name in hwnas.spaces.names() for shape in SHAPES], ids=str)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    name, shape = request.param
    return hwnas.spaces.open(name, shape, 7)


@pytest.fixture(params=hwnas.spaces.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def by_place(graph: Graph) -> dict[str, list[object]]:
    """What stands at each place: operators, attributes, types, all that decides cost."""
    out: dict[str, list[object]] = {}
    for node in graph.nodes:
        types = [graph.tensors[t] for t in (*node.inputs, *node.outputs)]
        out.setdefault(node.name.partition("/")[0], []).append((node.op, dict(node.attributes), types))
    return out


def with_statistics(module: nn.Module, seed: int) -> nn.Module:
    """Every parameter and statistic as training could leave it, so that no term of the folding is 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                for tensor, low, high in (
                    (norm.running_mean, -0.5, 0.5), (norm.bias, -0.5, 0.5), (norm.running_var, 0.5, 2), (norm.weight, 0.5, 2)
                ):  # fmt: skip
                    tensor.uniform_(low, high, generator=generator)
    return module.eval()


def test_genotypes_are_canonical_and_within_their_options(space: SearchSpace) -> None:
    genotypes = space.sample(np.random.default_rng(0), 500)
    assert genotypes.shape == (500, len(space.genes))
    assert np.array_equal(space.canonical(genotypes), genotypes)
    for genotype in (space.smallest(), space.largest()):
        assert space.describe(genotype).keys() == {gene.name for gene in space.genes}
    for wrong in (genotypes[0], genotypes[:, :-1], genotypes - 1, genotypes + 99):
        with pytest.raises(ValueError, match=r"genotypes must have shape|has options 0"):
            space.canonical(wrong)


def test_pieces_decide_what_stands_at_a_place(space: SearchSpace) -> None:
    genotypes = space.sample(np.random.default_rng(1), 150)
    pieces = space.pieces(genotypes)
    assert pieces.shape == (150, len(space.places))
    assert pieces.min() >= -1
    assert pieces.max() < space.piece_count
    seen: dict[int, tuple[str, object]] = {}
    digests: dict[str, bytes] = {}
    for genotype, row in zip(genotypes, pieces, strict=True):
        graph = space.graph(genotype)
        parts = by_place(graph)
        assert list(parts) == [place for place, piece in zip(space.places, row, strict=True) if piece >= 0]
        for place, piece in zip(space.places, row.tolist(), strict=True):
            if piece >= 0:
                assert seen.setdefault(piece, (place, parts[place])) == (place, parts[place])
        assert digests.setdefault(graph.digest(), row.tobytes()) == row.tobytes()


def test_every_piece_is_reachable(space: SearchSpace) -> None:
    seen = np.unique(space.pieces(space.sample(np.random.default_rng(2), 50_000)))
    assert np.array_equal(seen[seen >= 0], np.arange(space.piece_count))


def test_graphs_are_valid_onnx(space: SearchSpace) -> None:
    for genotype in (space.smallest(), space.largest(), *space.sample(np.random.default_rng(3), 3)):
        graph, size = space.graph(genotype), space.image_size(genotype)
        onnx.checker.check_model(graph.to_onnx(), full_check=True)
        assert graph.tensors[graph.inputs[0]].shape == (1, space.input_shape[0], size, size)
        assert graph.tensors[graph.outputs[0]].shape == (1, space.classes)
        assert len({node.name for node in graph.nodes}) == len(graph.nodes)


def test_graph_and_module_compute_the_same(space: SearchSpace) -> None:
    genotypes = (space.smallest(), space.largest(), *space.sample(np.random.default_rng(4), 4))
    for seed, genotype in enumerate(genotypes):
        module = with_statistics(space.build(genotype), seed)
        graph, weights = space.graph(genotype), space.weights(module)
        assert weights.keys() == graph.weights
        assert graph.make_module is not None
        assert [p.shape for p in graph.make_module().parameters()] == [p.shape for p in module.parameters()]
        x = np.random.default_rng(seed).standard_normal(graph.tensors[graph.inputs[0]].shape, np.float32)
        session = onnxruntime.InferenceSession(
            graph.to_onnx(weights).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        found = session.run(None, {graph.inputs[0]: x})[0]
        with torch.no_grad():
            wanted = module(torch.from_numpy(x)).numpy()
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_modules_learn_from_batches_of_any_size(space: SearchSpace) -> None:
    genotype = space.smallest()
    size = space.image_size(genotype)
    out = space.build(genotype)(torch.randn(5, space.input_shape[0], size, size))
    assert out.shape == (5, space.classes)
    out.sum().backward()


def test_graphs_need_no_torch(name: str) -> None:
    code = (
        "import sys, hwnas.spaces\n"
        f"space = hwnas.spaces.open({name!r}, (1, 28, 28), 10)\n"
        "space.pieces(space.largest()[None]); space.graph(space.largest()).digest()\n"
        "print({'torch', 'onnx', 'onnxruntime'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_names_and_options_name_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown space '{name}x', did you mean '{name}'"):
        hwnas.spaces.open(f"{name}x", (1, 28, 28), 10)
    with pytest.raises(ValueError, match=f"space '{name}' has no option 'resolutoins'"):
        hwnas.spaces.open(name, (1, 28, 28), 10, resolutoins=[28])
    for shape, classes in (((1, 28), 10), ((1, 28, 0), 10), ((1, 28, 28), 1)):
        with pytest.raises(ValueError, match="must be"):
            hwnas.spaces.open(name, shape, classes)  # type: ignore[arg-type]  # that is the point


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_any_image_size_makes_networks(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(hwnas.spaces.names()))
    shape = data.draw(
        st.one_of(st.sampled_from([(1, 1, 1), (3, 33, 2), (2, 224, 224)]), st.tuples(*[st.integers(1, 100)] * 3))
    )
    space = hwnas.spaces.open(name, shape, data.draw(st.integers(2, 2000)))
    for genotype in (space.smallest(), space.largest()):
        onnx.checker.check_model(space.graph(genotype).to_onnx(), full_check=True)
