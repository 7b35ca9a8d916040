"""Costs of a space in arrays, beside what the predictor says of each network alone, on the real ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import devices
import hwnas.spaces
import profilers
from devices import ExecutedKernel, Kernel, TensorType
from hwnas.costs import CompiledCosts, Costs, compile_costs, cover
from hwnas.places import kernel_places
from hwnas.space import SearchSpace
from predictors import LatencyPredictor, load_or_fit


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    """Three thousand networks of few pieces."""
    options = {"activations": ["hardswish"], "depths": [1, 2], "kernels": [3], "widths": [[16, 24], [32, 48], [64]]}
    return hwnas.spaces.open("mobile", (1, 12, 12), 10, **options)


@pytest.fixture(scope="module")
def device() -> Iterator[devices.Device]:
    with devices.open("onnxruntime:threads=1") as device:
        yield device


@pytest.fixture(scope="module")
def predictor(space: SearchSpace, device: devices.Device, tmp_path_factory: pytest.TempPathFactory) -> LatencyPredictor:
    path = tmp_path_factory.mktemp("costs") / "costs.profile.jsonl"
    graphs = [space.graph(g) for g in cover(space)]
    timed = [space.graph(g) for g in space.sample(np.random.default_rng(0), 12)]
    profilers.profile(device, graphs, timed=timed, path=path, time_limit_s=90)
    return load_or_fit(path)


@pytest.fixture(scope="module")
def compiled(space: SearchSpace, predictor: LatencyPredictor) -> CompiledCosts:
    """Needs no device: the profile holds the space's cover."""
    return compile_costs(space, predictor)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64)])
def test_a_cover_contains_every_piece(shape: tuple[int, int, int]) -> None:
    space = hwnas.spaces.open("mobile", shape, 10)
    chosen = cover(space)
    pieces = space.pieces(chosen)
    assert np.unique(pieces[pieces >= 0]).size == space.piece_count
    most = max(
        np.unique(column[column >= 0]).size for column in space.pieces(space.sample(np.random.default_rng(1), 20_000)).T
    )
    assert len(chosen) <= 1.1 * most
    assert np.array_equal(chosen, cover(space))
    assert not np.array_equal(chosen, cover(space, seed=1))


def test_compiled_costs_are_what_is_predicted_for_each_network(
    space: SearchSpace, device: devices.Device, predictor: LatencyPredictor, compiled: CompiledCosts
) -> None:
    genotypes = space.sample(np.random.default_rng(7), 200)
    graphs = [space.graph(g) for g in genotypes]
    lowerings = predictor.lower(graphs, device)
    estimates, costs = predictor.predict_lowerings(lowerings), compiled.costs(genotypes)
    for ours, theirs in ((costs.latency_ms, estimates.latency_ms), (costs.p50_ms, estimates.p50_ms)):
        apart = np.abs(ours / theirs - 1)
        assert np.median(apart) <= 0.01
        assert apart.max() <= 0.04
    width = (
        estimates.p50_upper_ms / estimates.p50_ms - 1
    )  # compiled, all networks are as difficult as the cover's median one
    assert np.all(np.abs(costs.upper_ms / estimates.p50_upper_ms - 1) <= 0.03 + 0.4 * width)
    assert np.all(costs.p50_ms <= costs.upper_ms)
    memory = np.array([m.memory_bytes for m in estimates.memory])
    apart = np.abs(costs.memory_bytes / memory - 1)
    assert np.median(apart) <= 0.05
    assert np.quantile(apart, 0.95) <= 0.1
    sizes = np.array([len(graph.to_onnx().SerializeToString()) for graph in graphs[:20]])
    assert np.abs(costs.model_bytes[:20] - sizes).max() <= 16  # lengths of lengths, and of names


def test_costs_do_not_depend_on_what_is_asked_beside(space: SearchSpace, compiled: CompiledCosts) -> None:
    genotypes = space.sample(np.random.default_rng(3), 20_000)
    together, alone = compiled.costs(genotypes), [compiled.costs(genotypes[i : i + 1]) for i in (0, 9_000, 19_999)]
    for name in ("latency_ms", "p50_ms", "upper_ms", "memory_bytes", "model_bytes"):
        found = getattr(together, name)
        assert found.shape == (20_000,)
        assert np.isfinite(found).all()
        assert (found > 0).all()
        assert [getattr(costs, name)[0] for costs in alone] == found[[0, 9_000, 19_999]].tolist()
    assert len(compiled.costs(genotypes[:0]).latency_ms) == 0


def test_costs_are_selected_and_joined_by_rows() -> None:
    costs = Costs(*(np.arange(4.0) + i for i in range(5)))
    assert costs[costs.latency_ms > 1].p50_ms.tolist() == [3, 4]
    assert Costs.joined([costs[:1], costs[2:]]).latency_ms.tolist() == [0, 2, 3]


def test_a_cover_that_was_not_profiled_needs_no_device(predictor: LatencyPredictor, device: devices.Device) -> None:
    other = hwnas.spaces.open("mobile", (1, 16, 16), 10)
    genotypes = other.sample(np.random.default_rng(0), 50)
    learned, exact = (compile_costs(other, predictor, asked).costs(genotypes) for asked in (None, device))
    for name in ("latency_ms", "p50_ms", "memory_bytes"):
        apart = np.abs(getattr(learned, name) / getattr(exact, name) - 1)
        assert np.quantile(apart, 0.9) < 0.05, name


def test_inserted_kernels_belong_to_who_reads_them() -> None:
    kernel = Kernel("Relu", (), (TensorType("float32", (1,)),))
    nodes_and_reads: list[tuple[tuple[str, ...], tuple[int, ...]]] = [
        ((), (-1,)), (("stem/conv",), (0,)), ((), (1,)), ((), (2,)), (("stem/odd", "head/pool"), (3,)), ((), (4,)),
    ]  # fmt: skip
    executed = [ExecutedKernel(kernel, nodes, reads, False, None) for nodes, reads in nodes_and_reads]
    assert kernel_places(executed, ["stem", "head"]) == ["stem", "stem", "head", "head", "head", "head"]
    assert kernel_places(executed[:1], ["stem", "head"]) == ["stem"]
