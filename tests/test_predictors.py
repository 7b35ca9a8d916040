"""Predictors on made-up devices whose law is known, and memory beside what ONNX Runtime reports."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import devices
import hwnas.spaces
from devices import (
    DeviceInfo,
    ExecutedKernel,
    Graph,
    Kernel,
    Lowering,
    Memory,
    Node,
    Operand,
    Profile,
    TensorType,
    Timing,
)
from devices.errors import HwnasError
from devices.events import Note, Progress
from devices.kernels import Attribute
from devices.profile import ProfileWriter
from hwnas.proposals import FEWEST_TIMED, UntilKnown
from predictors import Agreement, LatencyPredictor, load_or_fit, predictor_path
from predictors.calibration import Calibration, difficulty
from predictors.errors import NotFitted
from predictors.features import KERNEL_FEATURES, kernel_table
from predictors.kernel_model import KernelModel
from predictors.onnxruntime_plan import activations_in_use, bytes_in_use
from predictors.operators import work
from predictors.provenance import sealed, unsealed
from profilers import Proposal

INFO = DeviceInfo("made-up:threads=1", {"cpu": "made up"}, {"made-up": "1"}, {"threads": 1})
PROFILER, CALL, RUN = 1.8e-6, 0.4e-6, 9e-6  # seconds that the made-up profiler, runtime and run add
NCHWC = "com.microsoft.nchwc:Conv"
SPACE = hwnas.spaces.open("mobile", (1, 28, 28), 10)


def f32(*shape: int) -> TensorType:
    return TensorType("float32", shape)


def conv(
    n: int,
    c: int,
    size: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    group: int = 1,
    sums: bool = False,
    kind: str = NCHWC,
) -> Kernel:
    out = f32(1, n, -(-size // stride), -(-size // stride))
    inputs = [Operand(f32(1, c, size, size)), Operand(f32(n, c // group, kernel, kernel), True), Operand(f32(n), True)]
    attributes: dict[str, Attribute] = {
        "group": group, "kernel_shape": (kernel, kernel), "pads": (kernel // 2,) * 4, "strides": (stride, stride),
    }  # fmt: skip
    return Kernel(
        kind,
        (*inputs, Operand(out)) if sums else tuple(inputs),
        (out,),
        tuple(sorted(attributes.items())),
    )


def relu(*shape: int, kind: str = "Relu") -> Kernel:
    return Kernel(kind, (Operand(f32(*shape)),), (f32(*shape),))


def chain(*kernels: Kernel, reads: dict[int, tuple[int, ...]] | None = None) -> tuple[ExecutedKernel, ...]:
    last = len(kernels) - 1
    return tuple(
        ExecutedKernel(k, (f"n{i}",), (reads or {}).get(i, (i - 1,)), i == last, None) for i, k in enumerate(kernels)
    )


def unfused(graph: Graph) -> Lowering:
    """What a runtime would do that runs node by node."""
    maker: dict[str, int] = {}
    kernels = []
    for i, node in enumerate(graph.nodes):
        kernel = Kernel(
            node.op,
            tuple(Operand(graph.tensors[t], t in graph.constants) for t in node.inputs),
            tuple(graph.tensors[t] for t in node.outputs),
            tuple(sorted(node.attributes.items())),
        )
        reads = tuple(maker.get(t, -1) for t in node.inputs if t not in graph.constants)
        kernels.append(ExecutedKernel(kernel, (node.name,), reads, node.outputs[0] in graph.outputs, None))
        maker |= dict.fromkeys(node.outputs, i)
    return Lowering(tuple(kernels))


def law(kernel: Kernel) -> float:
    """Seconds of a kernel on the made-up device: not quite what the predictor assumes."""
    table = kernel_table([kernel])
    aligned = 1.0 if kernel.outputs[0].shape[1] % 16 == 0 else 1.35
    depthwise = 3.0 if "depthwise" in str(table.family[0]) else 1.0
    work = table.macs[0] * depthwise * aligned / 40e9
    return CALL + max(float(work), float(table.moved_bytes[0]) / 30e9)


def measured(lowering: Lowering, rng: np.random.Generator) -> tuple[Lowering, Timing]:
    """Kernel times as a profiler with an overhead reports them, and the time of the whole network."""
    seconds = [law(k.kernel) for k in lowering.kernels]
    kernels = tuple(
        replace(k, seconds=(s + PROFILER) * math.exp(rng.normal(0, 0.03)))
        for k, s in zip(lowering.kernels, seconds, strict=True)
    )
    latency = (sum(seconds) + RUN) * 1e3 * math.exp(rng.normal(0, 0.003))
    p50 = latency * math.exp(abs(rng.normal(0.02, 0.01)))
    return replace(lowering, kernels=kernels), Timing(latency, p50, 1.2 * p50, p50, p50, 8, 200, True, 0.003)


def made_up(n: int, seed: int) -> list[tuple[Graph, Lowering, Timing]]:
    rng = np.random.default_rng(seed)
    graphs = [SPACE.graph(g) for g in SPACE.sample(rng, n)]
    return [(g, *measured(unfused(g), rng)) for g in graphs]


def write(path: Path, found: list[tuple[Graph, Lowering, Timing]]) -> Path:
    with ProfileWriter(path, INFO, {}) as writer:
        for graph, lowering, _ in found:
            writer.lowering(graph, lowering, {})
        writer.timings({graph.digest(): timing for graph, _, timing in found}, {})
    return path


@pytest.fixture(scope="module")
def profile_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("made-up") / "made-up.profile.jsonl", made_up(80, seed=1))


@pytest.fixture(scope="module")
def predictor(profile_path: Path) -> LatencyPredictor:
    return load_or_fit(profile_path)


@pytest.fixture(scope="module")
def held_out() -> list[tuple[Graph, Lowering, Timing]]:
    return made_up(100, seed=2)


@pytest.fixture(scope="module")
def onnxruntime() -> Iterator[devices.Device]:
    with devices.open("onnxruntime:threads=1") as device:
        yield device


# --- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride", "size"), list(itertools.product((1, 3, 5), (1, 2), (3, 7, 8))))
def test_macs_leave_padding_out(kernel: int, stride: int, size: int) -> None:
    pad, out = kernel // 2, -(-size // stride)
    real = sum(0 <= o * stride - pad + k < size for o in range(out) for k in range(kernel))
    for group, channels in ((1, 8 * 4), (4, 8)):
        table = kernel_table([conv(8, 4, size, kernel=kernel, stride=stride, group=group)])
        assert table.macs[0] == channels * real**2


@pytest.mark.parametrize(("kernel", "stride", "size"), list(itertools.product((1, 3, 5, 7), (1, 2), (1, 3, 8, 20))))
def test_positions_at_the_edge_are_told_from_those_inside(kernel: int, stride: int, size: int) -> None:
    pad, out = kernel // 2, -(-size // stride)
    starts = [o * stride - pad for o in range(out)]
    inside = sum(s >= 0 and s + kernel <= size for s in starts)
    down = sum(0 <= s + k < size for s in starts for k in range(kernel))
    _, found = work(conv(8, 4, size, kernel=kernel, stride=stride))
    assert found.edge_macs == 8 * 4 * down * (out - inside) * kernel
    assert found.run == (size**2 if kernel == stride == 1 else inside)


@pytest.mark.parametrize("states", [(), (f32(1, 2, 4), f32(1, 2, 4))])
def test_a_recurrence_reads_its_weights_at_every_step(states: tuple[TensorType, ...]) -> None:
    shapes = f32(6, 2, 5), f32(1, 16, 5), f32(1, 16, 4), f32(1, 32), *states
    operands = tuple(Operand(shape, i > 0) for i, shape in enumerate(shapes))
    lstm = Kernel("LSTM", operands, (f32(6, 1, 2, 4),), (("hidden_size", 4),))
    _, found = work(lstm)
    assert (found.macs, found.swept, found.swept_far) == (6 * 2 * 16 * (5 + 4), 6 * 16 * 4, 0)


def test_matrices_too_large_for_a_cache_are_swept_from_afar() -> None:
    def far(hidden: int) -> float:
        shapes = f32(6, 1, 5), f32(1, 4 * hidden, 5), f32(1, 4 * hidden, hidden)
        operands = tuple(Operand(shape, i > 0) for i, shape in enumerate(shapes))
        _, found = work(Kernel("LSTM", operands, (f32(6, 1, 1, hidden),), (("hidden_size", hidden),)))
        return found.swept_far / found.swept

    assert far(64) == 0 < far(256) < far(384) < far(1024) == 1


@pytest.mark.parametrize(
    ("order", "several"),
    [
        ((0, 2, 1), False),
        ((0, 3, 1, 2), False),
        ((0, 2, 1, 3, 4), False),
        ((0, 4, 3, 1, 2), True),
        ((2, 0, 1), False),
        ((2, 3, 0, 1), True),
    ],
)
def test_orders_that_move_more_than_one_axis_have_a_law_of_their_own(order: tuple[int, ...], several: bool) -> None:
    shape = (2, 3, 4, 5, 6)[: len(order)]
    out = f32(*(shape[i] for i in order))
    _, found = work(Kernel("Transpose", (Operand(f32(*shape)),), (out,), (("perm", order),)))
    assert (found.variant == "several") == several


def test_a_model_of_other_features_is_refused(predictor: LatencyPredictor) -> None:
    value = predictor.kernel_model_.to_json()
    with pytest.raises(NotFitted, match="another version"):
        KernelModel.from_json(value | {"columns": value["columns"][1:]})


def test_families_tell_the_variants_of_convolutions_apart() -> None:
    kernels = [
        conv(8, 8, 9), conv(8, 8, 9, kernel=1), conv(8, 8, 9, group=8), conv(8, 8, 9, group=2), conv(8, 8, 1, kernel=1),
    ]  # fmt: skip
    table = kernel_table(kernels)
    variants = ["dense", "pointwise", "depthwise", "grouped", "vector"]
    assert table.family.tolist() == [f"{NCHWC}/{v}" for v in variants]
    assert table.matrix.shape == (5, len(KERNEL_FEATURES))
    assert np.isfinite(table.matrix).all()
    pools = [
        Kernel("MaxPool", (Operand(TensorType(dtype, (1, 8, 4, 4))),), (TensorType(dtype, (1, 8, 2, 2)),))
        for dtype in ("float32", "uint8")
    ]
    assert kernel_table(pools).family.tolist() == ["MaxPool", "MaxPool/bytes"]


def test_a_sum_is_not_taken_for_the_weight() -> None:
    alone, summed = conv(8, 4, 64), conv(8, 4, 64, sums=True)
    table = kernel_table([alone, summed])
    assert table.macs[0] == table.macs[1]
    assert table.family[0] == table.family[1]


def test_products_are_as_deep_as_their_inner_axis() -> None:
    gemm = Kernel("Gemm", (Operand(f32(1, 64)), Operand(f32(10, 64), True)), (f32(1, 10),), (("transB", 1),))
    matmul = Kernel("MatMul", (Operand(f32(2, 7, 5)), Operand(f32(5, 3), True)), (f32(2, 7, 3),))
    assert kernel_table([gemm, matmul]).macs.tolist() == [640, 2 * 7 * 5 * 3]


def test_an_empty_batch_takes_no_workspace(onnxruntime: devices.Device) -> None:
    types = {"x": "uint8", "scale": "float32", "zero": "uint8", "w": "int8", "none": "int8", "y": "uint8"}
    shapes = {"x": (0, 4, 8, 8), "w": (8, 4, 3, 3), "y": (0, 8, 6, 6)}
    tensors = {name: TensorType(dtype, shapes.get(name, ())) for name, dtype in types.items()}
    inputs = ("x", "scale", "zero", "w", "scale", "none", "scale", "zero")
    node = Node("conv", "QLinearConv", inputs, ("y",))
    constants = {name: np.ones(tensors[name].shape, types[name]) for name in ("scale", "zero", "w", "none")}
    kernels = onnxruntime.kernels(Graph("empty", (node,), tensors, ("x",), ("y",), constants))
    assert "com.microsoft:QLinearConv" in [k.kernel.kind for k in kernels]
    assert bytes_in_use(kernels).max() == 0


@pytest.mark.parametrize(
    ("shapes", "axis", "rows", "run"),
    [([(1, 1), (1, 999)], 1, 2, 500), ([(6, 5, 1)] * 3, -1, 90, 1), ([(2, 4, 7)] * 2, 1, 4, 28)],
)
def test_a_concatenation_copies_runs_of_every_operand(
    shapes: list[tuple[int, ...]], axis: int, rows: int, run: int
) -> None:
    whole = list(shapes[0])
    whole[axis] = sum(shape[axis] for shape in shapes)
    operands = tuple(Operand(f32(*shape)) for shape in shapes)
    _, found = work(Kernel("Concat", operands, (f32(*whole),), (("axis", axis),)))
    assert (found.rows, found.run, found.macs) == (rows, run, math.prod(whole))


@pytest.mark.parametrize(("length", "operations"), [(512, 512 * 9), (400, 2 * 1024 * 10)])
def test_fourier_transforms_of_other_lengths_than_powers_of_two_are_two_longer_ones(
    length: int, operations: int
) -> None:
    signal, window = Operand(f32(1, 5 * length, 1)), Operand(f32(length), True)
    stft = Kernel("STFT", (signal, window), (f32(1, 9, length // 2 + 1, 2),))
    dft = Kernel("DFT", (Operand(f32(1, 9, length, 1)),), (f32(1, 9, length, 2),), (("axis", 2),))
    for kernel in (stft, dft):
        sort, found = work(kernel)
        assert (sort, found.rows, found.macs) == ("fourier", 9, 9 * operations)


@pytest.mark.parametrize(
    ("equation", "shapes", "result", "macs", "largest"),
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 2 * 3 * 4 * 5, (3, 5, 4, 2)),
        ("b h w c, h k c -> b h w k", [(2, 6, 7, 8), (6, 5, 8)], (2, 6, 7, 5), 2 * 6 * 7 * 8 * 5, (14, 5, 8, 6)),
        ("...ij,...jk", [(2, 3, 4), (1, 4, 5)], (2, 3, 5), 2 * 3 * 4 * 5, (3, 5, 4, 2)),
        ("ij,jk,kl->il", [(3, 4), (4, 5), (5, 6)], (3, 6), 3 * 4 * 5 + 3 * 5 * 6, (3, 6, 5, 1)),
        ("abc,abc->abc", [(2, 3, 4), (2, 3, 4)], (2, 3, 4), None, None),
        ("abc->cab", [(2, 3, 4)], (4, 2, 3), None, None),
    ],
)
def test_equations_are_the_products_that_they_say(
    onnxruntime: devices.Device,
    equation: str,
    shapes: list[tuple[int, ...]],
    result: tuple[int, ...],
    macs: float | None,
    largest: tuple[int, ...] | None,
) -> None:
    names = tuple("xyz"[: len(shapes)])
    tensors = dict(zip(names, (f32(*shape) for shape in shapes), strict=True)) | {"out": f32(*result)}
    node = Node("einsum", "Einsum", names, ("out",), {"equation": equation})
    (executed,) = onnxruntime.kernels(Graph("equation", (node,), tensors, names, ("out",), {}))
    sort, found = work(executed.kernel)
    if macs is None:
        assert sort == "elementwise"
    else:
        assert (sort, found.macs) == ("product", macs)
        assert (found.rows, found.columns, found.depth, found.batch) == largest


def test_no_kernels_have_no_features() -> None:
    assert len(kernel_table([]).macs) == 0


# --- memory ----------------------------------------------------------------------------------------------------------


def test_elementwise_kernels_overwrite_their_input() -> None:
    size = f32(1, 8, 4, 4).nbytes
    kernels = chain(conv(8, 8, 4), relu(1, 8, 4, 4), relu(1, 8, 4, 4), conv(8, 8, 4))
    assert activations_in_use(kernels).tolist() == [size, size, size, 2 * size]


def test_an_input_that_is_read_again_is_not_overwritten() -> None:
    size = f32(1, 8, 4, 4).nbytes
    kernels = chain(conv(8, 8, 4), relu(1, 8, 4, 4), conv(8, 8, 4, sums=True), reads={2: (1, 0)})
    assert activations_in_use(kernels).tolist() == [size, 2 * size, 3 * size]


def test_views_take_no_memory() -> None:
    flatten = Kernel("Flatten", (Operand(f32(1, 8, 4, 4)),), (f32(1, 128),))
    of_input = Kernel("Flatten", (Operand(f32(1, 128)),), (f32(1, 128),))
    gemm = Kernel("Gemm", (Operand(f32(1, 128)), Operand(f32(10, 128), True)), (f32(1, 10),))
    assert activations_in_use(chain(conv(8, 8, 4), flatten, gemm)).tolist() == [512, 512, 552]
    assert activations_in_use(chain(of_input, gemm)).tolist() == [0, 40]


def test_a_buffer_that_is_taken_over_stays_allocated_in_between() -> None:
    large, small = f32(1, 8, 8, 8).nbytes, f32(1, 8, 4, 4).nbytes
    kernels = chain(conv(8, 8, 8), conv(8, 8, 8, stride=2), conv(8, 8, 4), conv(8, 8, 4))
    grow = Kernel("Resize", (Operand(f32(1, 8, 4, 4)),), (f32(1, 8, 8, 8),))
    kernels = chain(*(k.kernel for k in kernels), grow, conv(8, 8, 8))
    assert activations_in_use(kernels).tolist() == [large] + [large + small] + [large + 2 * small] * 2 + [
        large + small,
        2 * large,
    ]


# --- latency ---------------------------------------------------------------------------------------------------------


def test_networks_that_the_profile_does_not_hold_are_predicted(
    predictor: LatencyPredictor, held_out: list[tuple[Graph, Lowering, Timing]]
) -> None:
    estimates = predictor.predict_lowerings([lowering for _, lowering, _ in held_out])
    truth = np.array([t.latency_ms for _, _, t in held_out])
    p50 = np.array([t.p50_ms for _, _, t in held_out])
    assert np.mean(np.abs(estimates.latency_ms / truth - 1) <= 0.05) >= 0.97
    assert np.abs(estimates.p50_ms / p50 - 1).max() <= 0.1
    assert 0.8 <= np.mean((estimates.lower_ms <= truth) & (truth <= estimates.upper_ms)) <= 1
    assert np.mean(p50 <= estimates.p50_upper_ms) >= 0.88
    assert np.median(estimates.upper_ms / estimates.lower_ms) <= 1.1


def test_a_latency_is_the_sum_of_its_kernels_and_the_run(
    predictor: LatencyPredictor, held_out: list[tuple[Graph, Lowering, Timing]]
) -> None:
    lowerings = [lowering for _, lowering, _ in held_out[:10]]
    estimates = predictor.predict_lowerings(lowerings)
    costs = predictor.kernel_costs(lowerings)
    sums = [c.latency_ms.sum() + predictor.run_overhead_ms for c in costs]
    assert np.allclose(sums, estimates.latency_ms, rtol=1e-12)
    for kernels, c, lowering in zip(estimates.kernels, costs, lowerings, strict=True):
        assert [k.latency_ms for k in kernels] == c.latency_ms.tolist()
        assert [k.nodes for k in kernels] == [k.nodes for k in lowering.kernels]
        assert all(k.profiled and k.bound in ("compute", "bytes", "overhead") for k in kernels)
        assert min(k.latency_ms for k in kernels) >= 0


def test_estimates_do_not_depend_on_what_is_asked_beside(
    predictor: LatencyPredictor, held_out: list[tuple[Graph, Lowering, Timing]]
) -> None:
    lowerings = [lowering for _, lowering, _ in held_out[:10]]
    together = predictor.predict_lowerings(lowerings)
    alone = [predictor.predict_lowerings([lowering]).latency_ms[0] for lowering in lowerings]
    assert np.allclose(together.latency_ms, alone, rtol=1e-12)
    assert len(predictor.predict_lowerings([]).latency_ms) == 0


def test_kinds_that_were_never_profiled_are_named_and_widen_the_interval(predictor: LatencyPredictor) -> None:
    shape = (1, 32, 28, 28)
    first = conv(32, 32, 28, kernel=1, kind="Conv")
    known = Lowering(chain(first, relu(*shape), relu(*shape)), Memory(0, 0, "estimated"))
    strange = Lowering(chain(first, relu(*shape), relu(*shape, kind="Erf")), Memory(0, 0, "estimated"))
    estimates = predictor.predict_lowerings([known, strange])
    assert [k.profiled for k in estimates.kernels[1]] == [True, True, False]
    width = estimates.upper_ms / estimates.lower_ms
    assert width[1] > 1.15 * width[0]
    assert estimates.kernels[1][2].latency_ms > 0


@pytest.mark.parametrize("kind", ["If", "ai.onnx:Loop", "Scan", "TensorIterator.unknown_i32:Elementwise"])
def test_what_bodies_take_has_no_upper_end(predictor: LatencyPredictor, kind: str) -> None:
    lowerings = [
        Lowering(chain(conv(8, 8, 8), k), Memory(0, 1, "estimated"))
        for k in (relu(1, 8, 8, 8), relu(1, 8, 8, 8, kind=kind))
    ]
    plain, unknown = (predictor.predict_lowerings([lowering]) for lowering in lowerings)
    assert np.isfinite([plain.upper_ms, plain.p50_upper_ms]).all()
    assert np.isinf([unknown.upper_ms, unknown.p50_upper_ms]).all()
    assert 0 <= unknown.lower_ms[0] <= unknown.latency_ms[0] < np.inf


def test_graphs_of_the_profile_are_exact_and_others_are_learned(
    predictor: LatencyPredictor, held_out: list[tuple[Graph, Lowering, Timing]]
) -> None:
    graphs = [graph for graph, _, _ in made_up(80, seed=1)[:3]]
    assert predictor.predict(graphs).lowering == ("exact",) * 3
    learned = predictor.lower([graph for graph, _, _ in held_out[:10]])
    assert predictor.predict_lowerings(learned).lowering == ("learned",) * 10
    for found, (_, truth, _) in zip(learned, held_out[:10], strict=True):
        assert [k.kernel for k in found.kernels] == [k.kernel for k in truth.kernels]


def test_a_sibling_is_known_from_few_networks(
    predictor: LatencyPredictor, held_out: list[tuple[Graph, Lowering, Timing]], tmp_path: Path
) -> None:
    """The sibling takes 0.6 of the time and 3 microseconds more for every kernel."""
    assert isinstance(predictor.kernel_model_, KernelModel)

    def there(lowering: Lowering, timing: Timing) -> tuple[Lowering, Timing]:
        kernels = tuple(replace(k, seconds=0.6 * (k.seconds or 0) + 3e-6) for k in lowering.kernels)
        latency = 0.6 * timing.latency_ms + 3e-3 * len(kernels)
        return replace(lowering, kernels=kernels), replace(timing, latency_ms=latency, p50_ms=1.02 * latency)

    path = tmp_path / "sibling.profile.jsonl"
    few = [(g, *there(low, t)) for g, low, t in held_out[:10]]
    with ProfileWriter(path, INFO, {}) as writer:
        writer.sibling(replace(predictor.kernel_model_, measured={}).to_json())
    write(path, few)
    others = [there(low, t) for _, low, t in held_out[10:]]
    found = load_or_fit(path)
    truth = np.array([t.latency_ms for _, t in others])
    predicted = found.predict_lowerings([low for low, _ in others]).latency_ms
    assert np.mean(np.abs(predicted / truth - 1) <= 0.1) >= 0.9
    kept = LatencyPredictor.load(predictor_path(path), path)
    assert np.array_equal(kept.predict_lowerings([low for low, _ in others]).latency_ms, predicted)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_kept_predictor_predicts_the_same(
    predictor: LatencyPredictor, profile_path: Path, held_out: list[tuple[Graph, Lowering, Timing]]
) -> None:
    lowerings = [lowering for _, lowering, _ in held_out]
    kept = LatencyPredictor.load(predictor_path(profile_path), profile_path)
    assert predictor_path(profile_path).name == "made-up.predictor.json"
    for name in ("latency_ms", "p50_ms", "lower_ms", "upper_ms", "p50_upper_ms"):
        before, after = (getattr(p.predict_lowerings(lowerings), name) for p in (predictor, kept))
        assert np.array_equal(before, after), name


def test_learning_twice_gives_the_same_file(predictor: LatencyPredictor, profile_path: Path, tmp_path: Path) -> None:
    again = LatencyPredictor().fit(devices.profile.load(profile_path))
    again.save(tmp_path / "again.json", profile_path)
    assert (tmp_path / "again.json").read_bytes() == predictor_path(profile_path).read_bytes()
    assert [f.name for f in tmp_path.iterdir()] == ["again.json"]


def test_a_predictor_of_another_state_of_the_profile_is_refused_and_learnt_again(
    profile_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "copy.profile.jsonl"
    path.write_bytes(profile_path.read_bytes())
    predictor_path(path).write_bytes(predictor_path(profile_path).read_bytes())
    first = len(load_or_fit(path).calibration_.residuals)
    with ProfileWriter(path, INFO, {}) as writer:
        for graph, lowering, timing in made_up(8, seed=5):
            writer.lowering(graph, lowering, {})
            writer.timings({graph.digest(): timing}, {})
    with pytest.raises(NotFitted, match="profile_sha256"):
        LatencyPredictor.load(predictor_path(path), path)
    assert len(load_or_fit(path).calibration_.residuals) == first + 8
    assert len(LatencyPredictor.load(predictor_path(path), path).calibration_.residuals) == first + 8


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"schema": 1}'])
def test_a_damaged_predictor_is_refused(profile_path: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged.predictor.json"
    path.write_text(damage)
    with pytest.raises(NotFitted, match="damaged"):
        LatencyPredictor.load(path, profile_path)


def test_a_predictor_whose_parts_are_damaged_is_refused_and_learnt_again(
    predictor: LatencyPredictor, profile_path: Path, tmp_path: Path
) -> None:
    """What damaged it has sealed it again, so that the parts have to notice."""
    path, whole = tmp_path / "copy.profile.jsonl", predictor_path(profile_path).read_bytes()
    path.write_bytes(profile_path.read_bytes())
    for part in ("kernel_model", "correction", "calibration", "lowering", "lowering_errors", "booster"):
        value = unsealed(whole.decode())
        (value["kernel_model"] if part == "booster" else value)[part] = {}
        predictor_path(path).write_text(sealed(value))
        with pytest.raises(NotFitted, match=r"damaged: (?!its checksum)"):
            LatencyPredictor.load(predictor_path(path), path)
    load_or_fit(path)
    assert predictor_path(path).read_bytes() == whole


def test_a_predictor_that_cannot_be_kept_is_learnt_all_the_same(
    predictor: LatencyPredictor, profile_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"{'n' * 240}.jsonl"  # a name that leaves no room for a temporary one
    path.write_bytes(profile_path.read_bytes())
    with pytest.raises(HwnasError, match="Could not write"):
        predictor.save(predictor_path(path), path)
    monkeypatch.setattr(LatencyPredictor, "fit", lambda self, profile: predictor)
    assert load_or_fit(path) is predictor
    assert list(tmp_path.iterdir()) == [path]


def test_a_profile_ends_when_enough_is_known(profile_path: Path) -> None:
    profile = devices.profile.load(profile_path)
    more = Proposal()
    told: list[Note | Progress] = []
    few = replace(profile, timings=dict(itertools.islice(profile.timings.items(), FEWEST_TIMED - 1)))
    assert UntilKnown(lambda _: more, 1.0, told.append)(few) is more
    assert not told, "too few to look"
    assert UntilKnown(lambda _: more, 1.0, told.append)(profile) is None
    (note,) = told
    assert isinstance(note, Note)
    within = float(re.findall(r"held out are predicted within ([\d.]+)%", note.message)[0]) / 100
    assert UntilKnown(lambda _: more, within + 1e-3)(profile) is None
    never = UntilKnown(lambda _: more, within - 1e-3, told.append)
    assert never(profile) is more
    assert never(profile) is more
    assert len(told) == 2, "nothing has been timed since"


def test_too_little_to_learn_from_is_an_error(tmp_path: Path) -> None:
    found = made_up(9, seed=3)
    few = Profile(INFO, {}, {g.digest(): low for g, low, _ in found}, {}, None, {})
    with pytest.raises(NotFitted, match="0 networks timed as a whole, at least 8"):
        LatencyPredictor().fit(few)
    timings = {g.digest(): t for g, _, t in found}
    assert issubclass(NotFitted, HwnasError)
    wide = LatencyPredictor().fit(replace(few, timings=timings)).calibration_
    low, high = wide.interval(wide.expected_error(np.array([0.02]), np.array([1.0])))
    assert low[0] < 0.99 < 1.01 < high[0]


def test_agreement_is_in_relative_errors() -> None:
    found = Agreement.of(np.array([1.0, 2.18, 2.94]), np.array([1.0, 2.0, 3.0]))
    assert (found.networks, found.within_5_percent, found.within_10_percent) == (3, 2 / 3, 1.0)
    assert found.rmspe == pytest.approx(((0.09**2 + 0.02**2) / 3) ** 0.5)
    assert (found.median, found.worst, found.tau) == pytest.approx((0.02, 0.09, 1))
    assert math.isnan(Agreement.of(np.ones(1), np.ones(1)).tau)


# --- calibration -----------------------------------------------------------------------------------------------------


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    inside, below = [], []
    for _ in range(200):
        difficult = rng.uniform(0.01, 0.1, 61)
        truth = np.exp(rng.standard_t(4, 61) * difficult)
        calibration = Calibration.fit(np.ones(60), truth[:60], 1.02 * truth[:60], difficult[:60])
        expected = calibration.expected_error(difficult[60:], np.ones(1))
        (low,), (high,) = calibration.interval(expected)
        inside.append(low <= truth[60] <= high)
        below.append(1.02 * truth[60] <= calibration.p50_upper(expected)[0])
        wider = calibration.p50_upper(expected, 0.98)
        assert wider[0] >= calibration.p50_upper(expected)[0]
    assert 0.85 <= np.mean(inside) <= 0.96
    assert 0.91 <= np.mean(below) <= 0.99


def test_what_errs_more_when_short_has_wider_intervals_when_short() -> None:
    rng = np.random.default_rng(0)
    predicted_ms, alike = np.exp(rng.uniform(-3, 3, 400)), np.full(400, 0.05)
    truth = predicted_ms * np.exp(0.05 * predicted_ms**-0.3 * rng.laplace(size=400))
    calibration = Calibration.fit(predicted_ms, truth, truth[:100], alike)
    low, high = calibration.interval(calibration.expected_error(np.full(2, 0.05), np.array([0.1, 10.0])))
    assert np.log(high[0] / low[0]) > 2 * np.log(high[1] / low[1])
    inside = [np.mean((low <= r) & (r <= high)) for part in (predicted_ms < 0.3, predicted_ms > 3)
              for low, high in [calibration.interval(calibration.expected_error(alike[part], predicted_ms[part]))]
              for r in [truth[part] / predicted_ms[part]]]  # fmt: skip
    assert all(0.82 < share < 0.97 for share in inside)


def test_errors_within_a_family_add_up_and_those_of_families_do_not() -> None:
    ones, network = np.ones(4), np.zeros(4, np.int64)
    alike = difficulty(ones, 0.1 * ones, np.zeros(4, np.int64), network)
    different = difficulty(ones, 0.1 * ones, np.arange(4), network)
    assert alike[0] == pytest.approx(0.1, rel=0.01)
    assert different[0] == pytest.approx(0.05, rel=0.03)


def test_importing_predictors_is_light() -> None:
    heavy = "xgboost scipy sklearn onnx onnxruntime torch pandas"
    code = f"import predictors, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_whole_networks_say_what_kernels_take_where_the_runtime_does_not() -> None:
    found, others = made_up(80, seed=4), made_up(40, seed=5)
    silent = {
        g.digest(): replace(low, kernels=tuple(replace(k, seconds=None) for k in low.kernels)) for g, low, _ in found
    }
    profile = Profile(INFO, {}, silent, {g.digest(): t for g, _, t in found}, None, {})
    estimates = LatencyPredictor(seed=0).fit(profile).predict_lowerings([low for _, low, _ in others])
    wanted = np.array([t.latency_ms for _, _, t in others])
    errors = np.abs(estimates.latency_ms / wanted - 1)
    assert np.median(errors) < 0.03
    assert errors.max() < 0.15
    inside = (estimates.lower_ms <= wanted) & (wanted <= estimates.upper_ms)
    assert inside.mean() > 0.75
    shares = sum((k.latency_ms for k in estimates.kernels[0]), 0.0)
    assert shares == pytest.approx(estimates.latency_ms[0], rel=0.2)
