"""Kernels of ONNX Runtime: every node is found again, in the order of execution, with the memory that was really requested."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

import devices
from devices import ExecutedKernel, Graph, Node, TensorType
from devices.remote import WorkerDevice, WorkerSession
from devices.runtimes._onnxruntime_kernels import _without_profiler
from devices.runtimes._onnxruntime_mapping import NodeMap, map_nodes

INSERTED = {"ReorderInput", "ReorderOutput", "Reshape", "Transpose"}
HEAVY = {"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM"}


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        nn.Module.__init__(self)
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = torch.relu(self.down(nn.functional.adaptive_avg_pool2d(x, 1)))
        result: torch.Tensor = x * nn.functional.hardsigmoid(self.up(squeezed))
        return result


class Inverted(nn.Module):
    def __init__(self, width: int, act: type[nn.Module]) -> None:
        nn.Module.__init__(self)
        hidden = 3 * width
        self.layers = nn.Sequential(
            nn.Conv2d(width, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            act(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            act(),
            SqueezeExcite(hidden),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x + self.layers(x)
        return result


class Residual(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        nn.Module.__init__(self)
        self.main = nn.Sequential(nn.Conv2d(width, out, 3, stride, 1), nn.ReLU(), nn.Conv2d(out, out, 3, 1, 1))
        self.short = nn.Conv2d(width, out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.main(x) + self.short(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        nn.Module.__init__(self)
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, n, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(1, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q @ k.transpose(-2, -1) / 4.0).softmax(-1)
        x = x + self.out((attention @ v).transpose(1, 2).reshape(1, n, width))
        result: torch.Tensor = x + self.mlp(self.norm2(x))
        return result


class Recurrent(nn.Module):
    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.lstm, self.head = nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.lstm(x)[0][:, -1])
        return result


def mobile() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        Inverted(16, nn.ReLU),
        Inverted(16, nn.Hardswish),
        Inverted(16, nn.SiLU),
        Inverted(16, nn.ReLU6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 32),
        nn.Hardswish(),
        nn.Dropout(),
        nn.Linear(32, 10),
    )


def residual() -> nn.Module:
    stem = (nn.Conv2d(3, 32, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return nn.Sequential(*stem, Residual(32, 32, 1), Residual(32, 64, 2), Residual(64, 64, 1), *tail)


def upscaling() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.LeakyReLU(),
        nn.ConvTranspose2d(16, 16, 2, 2),
        nn.Conv2d(16, 8, 3, 1, 1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(8, 2, 1),
        nn.Sigmoid(),
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mobile": (mobile, (1, 3, 32, 32)),
    "residual": (residual, (1, 3, 48, 48)),
    "transformer": (
        lambda: nn.Sequential(Block(64, 4), Block(64, 4), nn.LayerNorm(64), nn.Linear(64, 10)),
        (1, 12, 64),
    ),
    "upscaling": (upscaling, (1, 3, 32, 32)),
    "recurrent": (Recurrent, (1, 7, 16)),
}


@pytest.fixture(scope="module")
def device() -> Iterator[WorkerDevice]:
    with devices.open("onnxruntime") as opened:
        yield opened


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("exported")

    def export(name: str) -> Path:
        path = folder / f"{name}.onnx"
        if not path.exists():
            make, shape = NETWORKS[name]
            with torch.random.fork_rng():
                torch.manual_seed(0)
                module = make().eval()
                for layer in module.modules():
                    if isinstance(layer, nn.BatchNorm2d):
                        nn.init.uniform_(layer.weight, 0.5, 1.5)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's exporter warns of its own ways
                torch.onnx.export(
                    module,
                    (torch.zeros(shape),),
                    path,
                    input_names=["x"],
                    output_names=["y"],
                    dynamo=False,
                    opset_version=17,
                )
        return path

    return export


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, shape: Sequence[int]) -> None:
        rng = np.random.default_rng(0)
        self._rest = [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(3)]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return self._rest.pop() if self._rest else None


def lowered(session: WorkerSession, graph: Graph, device: WorkerDevice) -> NodeMap:
    optimised, _ = session._ask_with_model("trace", device.runtime.trace_model(graph), {"timed": False})[1]
    return map_nodes(graph, onnx.ModelProto.FromString(optimised).graph)


def check_mapping(graph: Graph, found: NodeMap, kernels: Sequence[ExecutedKernel]) -> None:
    operators = {node.name: node.op for node in graph.nodes}
    inside = [name for k in found.kernels for name in k]
    assert found.unmapped == ()
    assert {*inside, *found.removed} == set(operators)
    assert {*inside}.isdisjoint(found.removed)
    for name, operator in operators.items():
        if operator in HEAVY:
            assert inside.count(name) == 1, name
    maker = {output: node.name for node in graph.nodes for output in node.outputs}
    where = {name: i for i, k in reversed([*enumerate(kernels)]) for name in k.nodes}  # the first, if there are several
    for node in graph.nodes:  # what a node reads is computed before it or with it
        for name in node.inputs:
            constant = operators.get(maker.get(name, "")) == "DequantizeLinear"  # the runtime doubles them
            if not constant and maker.get(name) in where and node.name in where:
                assert where[maker[name]] <= where[node.name], (maker[name], node.name)
    for i, k in enumerate(kernels):
        assert k.nodes or k.kernel.kind.rpartition(":")[2] in INSERTED, k
        heavy = [operators[n] for n in k.nodes if operators[n] in HEAVY]
        assert len(heavy) == any(word in k.kernel.kind for word in ("Conv", "MatMul", "Gemm", "LSTM")), k
        assert all(-1 <= source < i for source in k.reads)
        assert len(k.reads) == sum(not operand.constant for operand in k.kernel.inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_node_is_found_again(name: str, device: WorkerDevice, exported: Callable[[str], Path]) -> None:
    graph = devices.load_onnx(exported(name))
    with device.load(graph) as session:
        check_mapping(graph, lowered(session, graph, device), session.kernels())


@pytest.mark.parametrize("name", ["mobile", "residual", "transformer"])
def test_every_node_of_a_quantised_network_is_found_again(
    name: str, device: WorkerDevice, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    quantize_static(
        exported(name),
        path,
        Calibration(NETWORKS[name][1]),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=name != "transformer",
    )
    graph = devices.load_onnx(path)
    with device.load(graph) as session:
        kernels = session.kernels()
        check_mapping(graph, lowered(session, graph, device), kernels)
    if name != "transformer":
        operators = {node.name: node.op for node in graph.nodes}
        convolutions = [k for k in kernels if k.kernel.kind == "com.microsoft:QLinearConv"]
        assert convolutions
        for k in convolutions:
            assert {operators[n] for n in k.nodes} >= {"Conv", "DequantizeLinear", "QuantizeLinear"}
            assert sum(operand.type.dtype == "int8" and operand.type.size > 1 for operand in k.kernel.inputs) >= 1


def test_what_follows_a_convolution_is_fused_into_it(device: WorkerDevice, exported: Callable[[str], Path]) -> None:
    graph = devices.load_onnx(exported("mobile"))
    operators = {node.name: node.op for node in graph.nodes}
    with device.load(graph) as session:
        fused = [[operators[n] for n in k.nodes] for k in session.kernels()]
    flat = [tuple(sorted(f)) for f in fused]
    assert ("Conv", "HardSwish") in flat
    assert ("Add", "Conv") in flat
    assert ("Conv", "HardSigmoid") in flat
    assert ("Clip", "Conv") in flat
    assert ("Mul", "Sigmoid") in flat
    assert flat.count(("HardSwish",)) == 2  # behind the linear layer the runtime takes it apart: both kernels are it


def convolutions(count: int, width: int, size: int) -> Graph:
    tensors = {"t0": TensorType("float32", (1, width, size, size))}
    constants: dict[str, None] = {}
    nodes = []
    for i in range(count):
        tensors |= {f"w{i}": TensorType("float32", (width, width, 3, 3))}
        tensors |= dict.fromkeys((f"c{i}", f"t{i + 1}"), tensors["t0"])
        constants[f"w{i}"] = None
        nodes.append(Node(f"conv{i}", "Conv", (f"t{i}", f"w{i}"), (f"c{i}",), {"pads": (1, 1, 1, 1)}))
        nodes.append(Node(f"relu{i}", "Relu", (f"c{i}",), (f"t{i + 1}",)))
    return Graph("convolutions", tuple(nodes), tensors, ("t0",), (f"t{count}",), constants)


def test_kernels_as_they_were_executed(device: WorkerDevice) -> None:
    graph = convolutions(3, 32, 24)
    with device.load(graph) as session:
        kernels = session.kernels()
    main = [k for k in kernels if k.nodes]
    assert [k.nodes for k in main] == [(f"conv{i}", f"relu{i}") for i in range(3)]
    assert [k.nodes for k in kernels if not k.nodes] == [()] * (len(kernels) - 3)  # reorders, where this CPU wants them
    for k in main:
        activation, weights = k.kernel.inputs
        assert (activation.type.shape, activation.constant) == ((1, 32, 24, 24), False)
        assert (weights.type.shape, weights.constant) == ((32, 32, 3, 3), True)
        assert k.kernel.outputs == (TensorType("float32", (1, 32, 24, 24)),)
        assert k.kernel.attribute("pads") == (1, 1, 1, 1)
        assert k.kernel.weight_bytes == 32 * 32 * 9 * 4
    assert kernels[0].reads == (-1,)
    assert all(k.reads == (i,) for i, k in enumerate(kernels[1:]))
    assert [k.is_output for k in kernels] == [False] * (len(kernels) - 1) + [True]
    assert [devices.kernels.kernel_from_json(k.kernel.to_json()) for k in kernels] == [k.kernel for k in kernels]


@pytest.mark.parametrize("count", [2, 5])
def test_memory_is_what_can_be_worked_out_by_hand(device: WorkerDevice, count: int) -> None:
    """Input and output of a convolution are in use together; the network's input is the caller's."""
    with device.load(convolutions(count, 32, 24)) as session:
        memory = session.memory()
    assert memory.weight_bytes == count * 32 * 32 * 9 * 4
    assert memory.activation_bytes == 2 * 32 * 24 * 24 * 4
    assert memory.source == "runtime"


def test_memory_of_a_matrix_product_leaves_packed_weights_out(device: WorkerDevice) -> None:
    tensors = {
        "x": TensorType("float32", (64, 256)),
        "w": TensorType("float32", (256, 512)),
        "y": TensorType("float32", (64, 512)),
        "z": TensorType("float32", (64, 512)),
    }
    nodes = (Node("product", "MatMul", ("x", "w"), ("y",)), Node("softmax", "Softmax", ("y",), ("z",)))
    with device.load(Graph("product", nodes, tensors, ("x",), ("z",), {"w": None})) as session:
        memory = session.memory()
    assert memory.weight_bytes == 256 * 512 * 4
    assert memory.activation_bytes in (64 * 512 * 4, 2 * 64 * 512 * 4)  # softmax may work in place


def test_what_the_profiler_adds_is_taken_out(device: WorkerDevice) -> None:
    """It more than doubles the time of a network of many short kernels."""
    ratios = []
    for _ in range(5):
        with device.load(convolutions(40, 8, 6)) as session:
            added = sum(k.seconds or 0 for k in session.kernels())
            session.run(20)
            ratios.append(added / float(np.quantile(session.run(200), 0.25)))
    assert 0.6 < np.median(ratios) < 1.5


def test_times_without_the_profiler_add_up_to_the_run() -> None:
    profiled = np.array([3e-6, 5e-6, 30e-6])
    np.testing.assert_allclose(_without_profiler(profiled, 38e-6, 32e-6), [1e-6, 3e-6, 28e-6], rtol=0.03)
    shortest_is_long = np.array([10e-6, 50e-6])
    np.testing.assert_allclose(_without_profiler(shortest_is_long, 60e-6, 54e-6), [7e-6, 47e-6], rtol=0.01)
    assert _without_profiler(profiled, 38e-6, 10e-6).min() > 0
    assert _without_profiler(profiled, 38e-6, 10e-6).sum() == pytest.approx(10e-6)


def test_a_long_kernel_that_differs_from_run_to_run_leaves_short_ones_as_they_are() -> None:
    profiled = np.array([3e-6, 4e-6, 5e-6, 30e-3])
    for without in (29.9e-3, 30.1e-3):
        found = _without_profiler(profiled, 30.012e-3, without)
        np.testing.assert_allclose(found[:3], profiled[:3] - 2.5e-6, rtol=0.05)


def test_short_kernels_keep_parts_of_a_microsecond(device: WorkerDevice) -> None:
    """The profiler cuts microseconds off; the mean over many runs does not fall back on whole ones."""
    with device.load(convolutions(4, 8, 10)) as session:
        micros = np.array([k.seconds for k in session.kernels()], float) * 1e6
    assert (micros > 0).all()
    assert (np.abs(micros - np.round(micros * 2) / 2) > 1e-6).any()
