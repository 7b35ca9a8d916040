"""The random networks of a generic profile: they run, they cover the operators, and they repeat."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import devices
from devices import DeviceInfo, Graph, Lowering, Memory, Profile, Timing
from hwnas.proposals import BATCH, FEW, TIMED, Proposer, few, least_seen
from profilers import sampling
from profilers.sampling import convolutional, layers, pieces, quantized, recurrent, tokens
from profilers.sampling.builder import Builder

INFO = DeviceInfo("made-up:threads=1", {}, {}, {})
WANTED = {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "LayerNormalization", "BatchNormalization", "Softmax", "Erf",
    "HardSwish", "Sigmoid", "Add", "Mul", "MaxPool", "AveragePool", "ReduceMean", "Resize", "Concat", "Split", "Slice", "Gather",
    "Transpose", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "Pad", "GlobalAveragePool",
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn() -> list[Graph]:
    return list(itertools.islice(sampling.networks(seed=1), 200))


def test_the_operators_of_published_models_are_covered(drawn: list[Graph]) -> None:
    found = Counter(node.op for graph in drawn for node in graph.nodes)
    missing = WANTED - found.keys()
    assert not missing


def test_networks_repeat_and_differ(drawn: list[Graph]) -> None:
    assert sampling.network(1, 7).digest() == drawn[7].digest()
    assert len({graph.digest() for graph in drawn}) == len(drawn)


def test_networks_are_of_all_lengths(drawn: list[Graph]) -> None:
    seconds = [sampling.nominal_seconds(g) for g in drawn if not sampling.is_soup(g)]
    assert min(seconds) < 2e-4
    assert max(seconds) > 1e-2
    assert max(seconds) < 1


def test_proposals_go_on_from_what_the_profile_has_and_prefer_what_it_lacks(drawn: list[Graph]) -> None:
    propose = Proposer(seed=1)
    nothing = Profile(INFO, {}, {}, {}, None, {})
    first = propose(nothing)
    assert 0 < len(first.timed) <= TIMED
    assert not first.graphs
    assert not first.soups
    known = {g.digest(): g for g in first.timed}
    lowering, timing = Lowering((), Memory(0, 0, "estimated")), Timing(1.0, 1.0, 1.0, 1.0, 1.0, 8, 80, True)
    some = replace(
        nothing, lowerings=dict.fromkeys(known, lowering), timings=dict.fromkeys(known, timing), graphs=known
    )
    second = propose(some)
    assert len(second.graphs) + len(second.soups) == BATCH
    assert {g.digest() for g in first.timed} < {g.digest() for g in second.timed}
    assert [g.digest() for g in propose(some).graphs] == [g.digest() for g in second.graphs]
    seen = drawn[0]
    unseen = next(g for g in drawn if not {n.op for n in g.nodes} <= {n.op for n in seen.nodes})
    assert least_seen([seen, unseen], [seen] * 9)[0] is unseen


def test_few_networks_tell_siblings_apart_by_every_recipe() -> None:
    found = few(seed=0)
    assert len(found) == FEW
    assert len({g.name.partition("-")[0] for g in found}) >= 4
    assert {g.name.endswith("int8") for g in found} == {True, False}


@pytest.mark.parametrize("recipe", ["images", "sound", "tokens", "recurrent", "perceptron", "layers", "pieces"])
def test_what_is_drawn_runs_in_floats_and_integers(recipe: str) -> None:
    with devices.open("onnxruntime:threads=1") as device:
        for seed in range(2):
            b = Builder(np.random.default_rng([seed, len(recipe)]))
            match recipe:
                case "images" | "sound":
                    convolutional.network(b, 2 if recipe == "images" else 1, 1, small=True)
                case "tokens":
                    tokens.network(b, 2, small=True)
                case "recurrent":
                    recurrent.network(b, 1, small=True)
                case "perceptron":
                    recurrent.perceptron(b, 4, small=True)
                case "layers":
                    layers.network(b, 1)
                case _:
                    pieces.network(b, 1, small=True)
            graph = b.graph(recipe)
            for version in (
                graph,
                quantized.quantized(graph, quantized.draw_scheme(np.random.default_rng(seed))),
                quantized.dynamic(graph),
            ):
                kernels = device.lower(version, memory=False).kernels
                assert kernels
                assert all(k.seconds is not None and math.isfinite(k.seconds) for k in kernels)
