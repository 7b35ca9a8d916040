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
from devices.kernels import Attribute
from hwnas.proposals import BATCH, FEW, TIMED, Proposer, few, least_known, shares
from profilers import sampling
from profilers.sampling import convolutional, layers, pieces, quantized, recurrent, tokens
from profilers.sampling.builder import Builder

INFO = DeviceInfo("made-up:threads=1", {}, {}, {})
WANTED = {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "LayerNormalization", "BatchNormalization", "Softmax", "Erf",
    "HardSwish", "Sigmoid", "Add", "Mul", "MaxPool", "AveragePool", "ReduceMean", "Resize", "Concat", "Split", "Slice", "Gather",
    "Transpose", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "Pad", "GlobalAveragePool",
    "STFT", "GatherElements", "ScatterElements",
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
    known = {g.digest(): g for g in first.timed}
    lowering, timing = Lowering((), Memory(0, 0, "estimated")), Timing(1.0, 1.0, 1.0, 1.0, 1.0, 8, 80, True)
    some = replace(
        nothing, lowerings=dict.fromkeys(known, lowering), timings=dict.fromkeys(known, timing), graphs=known
    )
    second = propose(some)
    assert len(second.graphs) == BATCH
    assert {g.digest() for g in first.timed} < {g.digest() for g in second.timed}
    assert [g.digest() for g in propose(some).graphs] == [g.digest() for g in second.graphs]
    seen = drawn[0]
    unseen = next(g for g in drawn if not {n.op for n in g.nodes} <= {n.op for n in seen.nodes})
    assert least_known([seen, unseen], [shares(seen)] * 9)[0] is unseen
    assert least_known([seen, seen, unseen], []).index(unseen) <= 1, "what was chosen counts as seen"


def test_a_device_that_refuses_quantised_networks_gets_floats() -> None:
    propose = Proposer(seed=1)
    nothing = Profile(INFO, {}, {}, {}, None, {})
    first = propose(nothing).timed
    integers, floats = (
        [g for g in first if sampling.is_int8(g)],
        {g.digest(): g for g in first if not sampling.is_int8(g)},
    )
    assert integers
    lowering, timing = Lowering((), Memory(0, 0, "estimated")), Timing(1.0, 1.0, 1.0, 1.0, 1.0, 8, 80, True)
    known = replace(
        nothing, lowerings=dict.fromkeys(floats, lowering), timings=dict.fromkeys(floats, timing), graphs=floats
    )
    refused = propose(replace(known, failed={g.digest(): "refused" for g in integers}))
    assert not any(sampling.is_int8(g) for g in (*refused.graphs, *refused.timed))
    integers_run = {g.digest(): g for g in integers}
    both = replace(
        known,
        lowerings={**known.lowerings, **dict.fromkeys(integers_run, lowering)},
        timings={**known.timings, **dict.fromkeys(integers_run, timing)},
        graphs={**floats, **integers_run},
    )
    assert any(sampling.is_int8(g) for g in propose(both).graphs)


def test_work_of_the_same_size_that_runs_in_another_way_is_new() -> None:
    def convolution(group: int, *kernel: int) -> Graph:
        b = Builder(np.random.default_rng(0))
        pads = tuple(k // 2 for k in kernel) * 2
        weight = b.weight(32, 32 // group, *kernel)
        attributes: dict[str, Attribute] = {"kernel_shape": kernel, "pads": pads, "group": group}
        b.op("Conv", b.input(1, 32, 2, 2), weight, attributes=attributes)
        return b.graph("convolution")

    dense, grouped, padded = convolution(1, 1, 1), convolution(2, 1, 1), convolution(1, 5, 5)
    (known,) = shares(dense)
    assert {known} == set(shares(convolution(1, 1, 1)))
    for other in (grouped, padded, quantized.quantized(dense, quantized.Scheme("uint8", "int8", True, True, True))):
        assert known not in shares(other)


def test_what_models_have_and_random_networks_seldom_show_is_drawn() -> None:
    found: Counter[str] = Counter()
    for graph in (g for g in itertools.islice(sampling.networks(seed=0), 250) if g.name.startswith("layers")):
        makers = {o: node for node in graph.nodes for o in node.outputs}
        for node in graph.nodes:
            shapes = [graph.tensors[i].shape for i in node.inputs if i]
            made = [makers[i].op for i in node.inputs if i in makers]
            if node.op == "Conv":
                (_, channels, *spatial), (_, depth, *window) = shapes[:2]
                group = channels // depth
                found["grouped, pointwise"] += 1 < group < channels and max(window) == 1
                found["depthwise, on padding"] += group == channels > 1 and max(window) > 2 * max(spatial)
                found["long windows over one axis"] += len(window) == 1 and window[0] > 12
            found["sums of two convolutions"] += node.op == "Add" and made == ["Conv", "Conv"]
            found["several sequences"] += node.op in ("LSTM", "GRU") and shapes[0][1] > 1
            found["single rows"] += node.op == "Gemm" and shapes[0][0] == 1
            found[node.op] += 1
    wanted = (
        "grouped, pointwise", "depthwise, on padding", "long windows over one axis", "sums of two convolutions",
        "several sequences", "single rows", "AveragePool", "Resize",
    )  # fmt: skip
    assert all(found[name] >= 3 for name in wanted), found


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
