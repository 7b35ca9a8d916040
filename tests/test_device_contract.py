"""What every device must do. A runtime joins by being a file in ``devices/runtimes``."""

from __future__ import annotations

import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save
from onnx.reference import ReferenceEvaluator
from torch import nn

import devices
from devices import Graph, Node, TensorType, runtimes
from devices.errors import DeviceError, DeviceTimedOut, DeviceUnavailable
from devices.graph import random_inputs
from devices.remote import WorkerDevice
from profilers import sampling

STATUS = {status.name: status for status in devices.describe()}
MUST_RUN = {"mnn", "onnxruntime", "openvino", "torch"}  # what `make test` installs: never skipped


class Builder:
    """Puts a graph together, keeping the types of all tensors."""

    def __init__(self, *shape: int) -> None:
        self.tensors = {"x": TensorType("float32", shape)}
        self.constants: dict[str, None] = {}
        self.nodes: list[Node] = []
        self.last = "x"

    def constant(self, *shape: int) -> str:
        name = f"w{len(self.tensors)}"
        self.tensors[name], self.constants[name] = TensorType("float32", shape), None
        return name

    def add(
        self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: int | float | tuple[int, ...]
    ) -> str:
        self.last = f"t{len(self.tensors)}"
        self.tensors[self.last] = TensorType("float32", shape)
        self.nodes.append(Node(f"{op}{len(self.nodes)}", op, tuple(inputs), (self.last,), attributes))
        return self.last

    def conv(self, x: str, out: int, kernel: int = 3, groups: int = 1) -> str:
        _, channels, height, width = self.tensors[x].shape
        weight, bias = self.constant(out, channels // groups, kernel, kernel), self.constant(out)
        pads = (kernel // 2,) * 4
        return self.add("Conv", [x, weight, bias], (1, out, height, width), pads=pads, group=groups)

    def graph(self) -> Graph:
        made = Graph("test", tuple(self.nodes), self.tensors, ("x",), (self.last,), self.constants)
        return replace(made, make_module=partial(GraphModule, made))


class GraphModule(nn.Module):
    """The torch module of such a graph, with the weights of its ONNX model."""

    def __init__(self, graph: Graph) -> None:
        nn.Module.__init__(self)
        self.graph = graph
        for tensor in graph.to_onnx().graph.initializer:
            self.register_buffer(tensor.name, torch.from_numpy(numpy_helper.to_array(tensor).copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {"x": x, **dict(self.named_buffers())}
        for node in self.graph.nodes:
            values[node.outputs[0]] = self.apply_node(node, [values[name] for name in node.inputs])
        return values[self.graph.outputs[0]]

    def apply_node(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        functional = nn.functional
        match node.op:
            case "Conv":
                padding, groups = (
                    cast(tuple[int, ...], node.attributes["pads"])[:2],
                    cast(int, node.attributes["group"]),
                )
                return functional.conv2d(inputs[0], inputs[1], inputs[2], padding=padding, groups=groups)
            case "Gemm":
                return functional.linear(*inputs)
            case "GlobalAveragePool":
                return functional.adaptive_avg_pool2d(inputs[0], 1)
            case "Flatten":
                return inputs[0].flatten(1)
            case "Add":
                return inputs[0] + inputs[1]
            case "Mul":
                return inputs[0] * inputs[1]
            case "Relu" | "HardSwish" | "HardSigmoid":
                made: torch.Tensor = getattr(functional, node.op.lower())(inputs[0])
                return made
        raise NotImplementedError(node.op)


def mobile_like(size: int = 16, width: int = 16) -> Graph:
    """An inverted residual with squeeze-and-excitation, then a classifier."""
    b = Builder(1, 3, size, size)
    hidden = (1, 3 * width, size, size)
    stem = b.add("Relu", [b.conv("x", width)], (1, width, size, size))
    x = b.add("HardSwish", [b.conv(stem, 3 * width, 1)], hidden)
    x = b.add("Relu", [b.conv(x, 3 * width, 3, 3 * width)], hidden)
    pooled = b.add("GlobalAveragePool", [x], (1, 3 * width, 1, 1))
    squeezed = b.add("Relu", [b.conv(pooled, 8, 1)], (1, 8, 1, 1))
    gate = b.add("HardSigmoid", [b.conv(squeezed, 3 * width, 1)], (1, 3 * width, 1, 1), alpha=1 / 6, beta=0.5)
    x = b.add("Mul", [x, gate], hidden)
    x = b.add("Add", [b.conv(x, width, 1), stem], (1, width, size, size))
    x = b.add("Flatten", [b.add("GlobalAveragePool", [x], (1, width, 1, 1))], (1, width))
    b.add("Gemm", [x, b.constant(10, width), b.constant(10)], (1, 10), transB=1)
    return b.graph()


def convolutions(count: int, width: int, size: int) -> Graph:
    b = Builder(1, width, size, size)
    x = "x"
    for _ in range(count):
        x = b.add("Relu", [b.conv(x, width)], (1, width, size, size))
    return b.graph()


def endless(path: Path) -> Graph:
    """A loop that does not end in a lifetime."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [4]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]),
        ],
    )
    whole = helper.make_graph(
        [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [helper.make_tensor("trips", TensorProto.INT64, [], [2**60])],
    )
    save(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return devices.load_onnx(path)


@pytest.fixture(scope="module", params=devices.names())
def device(request: pytest.FixtureRequest) -> Iterator[WorkerDevice]:
    name = request.param
    if STATUS[name].unavailable and name not in MUST_RUN:
        with pytest.raises(DeviceUnavailable):
            devices.open(name)
        pytest.skip(STATUS[name].unavailable)
    with devices.open(name) as opened:
        yield opened


@pytest.fixture(scope="module")
def patience_s(device: WorkerDevice) -> float:
    """After how long a worker counts as hung, in tests that wait for that: some runtimes take seconds to be imported."""
    start = time.perf_counter()
    with devices.open(device.info.spec) as own, own.load(mobile_like()):
        return max(1.5, 2.5 * (time.perf_counter() - start))


def test_no_runtime_escapes_these_tests() -> None:
    files = {m.name for m in pkgutil.iter_modules(runtimes.__path__) if not m.name.startswith("_")}
    assert files == set(devices.names()) == set(STATUS)
    assert files >= MUST_RUN


@pytest.mark.parametrize("name", devices.names())
def test_a_worker_imports_the_standard_library_and_numpy_only(name: str) -> None:
    """Whether the runtime is there is asked without importing it: a worker far away has nothing else."""
    code = f"import sys, devices.runtimes.{name} as r; r.PLUGIN.unavailable(); r.PLUGIN.packages; print(*sys.modules)"
    root = Path(devices.__file__).parent.parent
    asked = subprocess.run(
        [sys.executable, "-S", "-P", "-c", f"import sys; sys.path[:0] = {[str(root), *sys.path]}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {module.partition(".")[0] for module in asked.stdout.split()}
    assert modules - sys.stdlib_module_names <= {"__main__", "devices", "numpy"}


def test_the_fingerprint_spells_everything_out(device: WorkerDevice) -> None:
    info = device.info
    assert set(STATUS[info.spec.partition(":")[0]].settings) <= set(info.settings)
    for name, value in device.settings.items():
        assert f"{name}={value}" in info.spec
    assert info.hardware["cpu"]
    assert info.hardware["cores"] >= 1
    assert info.versions
    assert devices.DeviceInfo.from_json(info.to_json()) == info
    with devices.open(info.spec) as again:
        again.info.require_same(info, what="the same specification")


def test_outputs_agree_with_the_reference(device: WorkerDevice) -> None:
    graph = mobile_like()
    inputs = random_inputs(graph, seed=3)
    wanted = np.asarray(next(iter(ReferenceEvaluator(graph.to_onnx()).run(None, inputs))))
    with device.load(graph, inputs) as session:
        session.run(2)
        (found,) = session.outputs()
        many = session.infer(np.stack([inputs["x"][0]] * 3))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(many, np.repeat(wanted, 3, axis=0), rtol=1e-4, atol=1e-4)


def test_infer_is_the_same_one_by_one(device: WorkerDevice) -> None:
    graph = mobile_like(size=64)
    examples = np.random.default_rng(0).standard_normal((200, 3, 64, 64)).astype(np.float32)  # more than one request
    with device.load(graph) as session:
        many = session.infer(examples)
        one = session.infer(examples[150:151])
        with pytest.raises(ValueError, match=r"examples must have shape"):
            session.infer(examples[:, :1])
    assert many.shape == (200, 10)
    np.testing.assert_allclose(many[150:151], one, rtol=1e-5, atol=1e-6)


def test_every_node_is_accounted_for(device: WorkerDevice) -> None:
    graph = mobile_like()
    with device.load(graph) as session:
        kernels = session.kernels()
    in_kernels = [name for k in kernels for name in k.nodes]
    known = {node.name: node.op for node in graph.nodes}
    assert set(in_kernels) <= set(known)
    heavy = [name for name, op in known.items() if op in ("Conv", "Gemm", "MatMul")]
    assert all(in_kernels.count(name) == 1 for name in heavy)
    assert any(k.is_output for k in kernels)
    for i, k in enumerate(kernels):
        assert all(-1 <= source < i for source in k.reads)
        assert len(k.reads) == sum(not operand.constant for operand in k.kernel.inputs)
        assert k.seconds is None or k.seconds > 0


@pytest.mark.parametrize("name", ["mnn", "onnxruntime", "openvino"])
def test_random_networks_are_executed_or_refused(name: str) -> None:
    drawn = [sampling.network(1, i) for i in (*range(16), 91)]  # OpenVINO has two nodes of one name in the last
    executed, refusals = 0, []
    with devices.open(name) as device:
        for graph in drawn if name != "mnn" else [g for g in drawn if not g.name.endswith("int8")]:
            try:
                kernels = device.kernels(graph)
            except DeviceError as error:
                refusals.append(error.message)
                continue
            assert {n for k in kernels for n in k.nodes} <= {node.name for node in graph.nodes}
            assert sum(bool(k.nodes) for k in kernels) > len(kernels) / 3, graph.name
            executed += 1
    assert executed > 2 * len(refusals), refusals
    assert not [r for r in refusals if "cannot be read from its trace" in r]


def test_kernels_alone_are_those_with_times(device: WorkerDevice) -> None:
    """In the same order but for those that do not wait for each other."""
    graph = mobile_like()
    alone, timed = device.kernels(graph), device.lower(graph, memory=False).kernels
    assert Counter((k.kernel, k.nodes) for k in alone) == Counter((k.kernel, k.nodes) for k in timed)
    assert all(k.seconds is None for k in alone)


def test_kernel_times_add_up_to_the_run(device: WorkerDevice) -> None:
    with device.load(convolutions(12, 64, 56)) as session:
        kernels = session.kernels()
        if any(k.seconds is None for k in kernels):
            pytest.skip("this runtime gives no times of kernels")
        session.run(3)
        whole = float(session.run(20).min())
    assert 0.6 < sum(k.seconds or 0 for k in kernels) / whole < 1.6


def test_memory_is_at_least_what_the_graph_holds_at_once(device: WorkerDevice) -> None:
    graph = convolutions(4, 32, 32)
    with device.load(graph) as session:
        memory = session.memory()
    weights = sum(graph.tensors[name].nbytes for name in graph.constants)
    activation = 32 * 32 * 32 * 4
    assert 0.9 * weights <= memory.weight_bytes <= 2 * weights
    assert 2 * activation <= memory.activation_bytes <= 10 * activation
    assert memory.memory_bytes == memory.weight_bytes + memory.activation_bytes
    assert memory.source in ("runtime", "estimated")
    assert devices.resident_bytes(device.info.spec, graph) > 0


def test_several_sessions_live_beside_each_other(device: WorkerDevice) -> None:
    graphs = [mobile_like(width=8 * i) for i in range(1, 5)]
    with device.load(graphs[0]) as first, device.load(graphs[1]) as second:
        before = first.outputs()[0]
        with device.load(graphs[2]) as third, device.load(graphs[3]) as fourth:
            for session in (fourth, first, third, second) * 3:
                seconds = session.run(4)
                assert seconds.shape == (4,)
                assert (seconds > 0).all()
        np.testing.assert_array_equal(first.outputs()[0], before)


def test_a_model_that_the_runtime_refuses_costs_one_answer(device: WorkerDevice) -> None:
    good = mobile_like()
    b = Builder(1, 4)
    b.add("NoSuchOperator", ["x"], (1, 4))
    with device.load(good) as session:
        with pytest.raises(DeviceError), device.load(b.graph()):
            pass
        assert session.run(1).shape == (1,)


def test_wrong_inputs_are_refused(device: WorkerDevice) -> None:
    graph = mobile_like()
    for wrong in ({}, {"y": np.zeros(3, np.float32)}, {"x": np.zeros((1, 3, 8, 8), np.float32)}):
        with pytest.raises(ValueError, match="input"), device.load(graph, wrong):
            pass


def test_a_killed_worker_costs_nothing_that_cannot_be_done_again(device: WorkerDevice) -> None:
    with device.load(mobile_like()) as first, device.load(mobile_like(width=24)) as second:
        wanted = first.outputs()[0]
        assert device.process.pid is not None
        os.kill(device.process.pid, signal.SIGKILL)
        np.testing.assert_allclose(first.outputs()[0], wanted, rtol=1e-5, atol=1e-6)
        assert second.run(2).shape == (2,)


def test_a_stopped_worker_is_noticed_killed_and_replaced(device: WorkerDevice, patience_s: float) -> None:
    with devices.open(device.info.spec, timeout_s=patience_s) as own, own.load(mobile_like()) as session:
        stopped = own.process.pid
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        assert session.run(2).shape == (2,)
        assert own.process.pid != stopped
        assert not Path(f"/proc/{stopped}").exists()


def test_a_model_that_hangs_costs_one_answer(device: WorkerDevice, patience_s: float, tmp_path: Path) -> None:
    with devices.open(device.info.spec, timeout_s=patience_s) as own, own.load(mobile_like()) as good:
        starts = own.process.starts
        with pytest.raises(DeviceError) as caught, own.load(endless(tmp_path / "endless.onnx")):
            pass
        if isinstance(caught.value, DeviceTimedOut):  # a runtime may also refuse loops
            assert own.process.starts == starts + 1  # the suspect ran alone once more
        assert good.run(2).shape == (2,)
