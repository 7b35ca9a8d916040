"""The learned lowering beside what ONNX Runtime really does, on networks that are not in the profile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import devices
import hwnas.spaces
from devices import ExecutedKernel, Graph, Lowering, Node, TensorType
from devices.kernels import has_bodies
from devices.profile import ProfileWriter
from devices.remote import WorkerDevice
from hwnas.space import SearchSpace
from predictors import memory_rules
from predictors.lowering import LearnedLowering
from predictors.lowering.recipe import Types, learn_type, make_type
from profilers.sampling.builder import Builder


@pytest.fixture(scope="module")
def device() -> Iterator[WorkerDevice]:
    with devices.open("onnxruntime:threads=1") as opened:
        yield opened


@pytest.fixture(scope="module")
def learned(device: WorkerDevice, tmp_path_factory: pytest.TempPathFactory) -> LearnedLowering:
    """From 16 networks of a space at one size."""
    space = hwnas.spaces.open("mobile", (1, 28, 28), 10)
    return learnt(device, space, 16, tmp_path_factory.mktemp("lowering") / "p")


def learnt(device: WorkerDevice, space: SearchSpace, networks: int, path: Path) -> LearnedLowering:
    with ProfileWriter(path, device.info, {}) as writer:
        for genotype in space.sample(np.random.default_rng(0), networks):
            graph = space.graph(genotype)
            kernels = device.kernels(graph)
            writer.lowering(graph, Lowering(kernels), {})
        return LearnedLowering.fit(writer.profile)


@pytest.fixture(scope="module")
def others() -> list[Graph]:
    """Networks of other sizes, channels and classes."""
    space = hwnas.spaces.open("mobile", (3, 40, 40), 7)
    return [space.graph(genotype) for genotype in space.sample(np.random.default_rng(1), 8)]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "mnn"])
def test_units_that_join_other_numbers_of_tensors_than_those_learnt_from(runtime: str, tmp_path: Path) -> None:
    def pyramid(branches: int, width: int = 8) -> Graph:
        build = Builder(np.random.default_rng(branches))
        window = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "strides": (1, 1)}
        joined = [build.op("Relu", build.input(1, width, 12, 12))]
        for _ in range(branches - 1):
            joined.append(build.op("MaxPool", joined[-1], attributes=window))
        x = build.op("Concat", *joined, attributes={"axis": 1})
        x = build.op("Relu", build.op("Conv", x, build.weight(width, branches * width, 1, 1), build.weight(width)))
        return build.graph(f"{branches} branches")

    with devices.open(f"{runtime}:threads=1") as there, ProfileWriter(tmp_path / "p", there.info, {}) as writer:
        for graph in (pyramid(2), pyramid(4), pyramid(4, 16)):
            kernels = there.kernels(graph)
            writer.lowering(graph, Lowering(kernels), {})
        lowering = LearnedLowering.fit(writer.profile)
    for branches in (3, 5):
        graph = pyramid(branches)
        written = {node for kernel in lowering.kernels(graph) for node in kernel.nodes}
        assert written <= {node.name for node in graph.nodes}
        assert {node.name for node in graph.nodes if node.op == "Conv"} <= written


def described(kernels: Sequence[ExecutedKernel]) -> Counter[object]:
    return Counter(
        (k.kernel.kind, tuple(o.type for o in k.kernel.inputs if not o.constant), k.kernel.outputs) for k in kernels
    )


def test_kernels_and_shapes_are_the_runtimes_own(
    device: WorkerDevice, learned: LearnedLowering, others: list[Graph]
) -> None:
    shared = total = 0
    for graph in others:
        ours, theirs = described(learned.kernels(graph)), described(device.kernels(graph))
        shared += (ours & theirs).total()
        total += max(ours.total(), theirs.total())
    assert shared / total > 0.97


def test_memory_through_it_is_close_to_what_the_runtime_reports(
    device: WorkerDevice, learned: LearnedLowering, others: list[Graph]
) -> None:
    for graph in others[:4]:
        with device.load(graph) as session:
            reported = session.memory().memory_bytes
        predicted = memory_rules("onnxruntime").peak(learned.kernels(graph)).memory_bytes
        assert predicted == pytest.approx(reported, rel=0.05)


def test_every_kernel_reads_what_came_before_and_every_node_is_in_one(
    learned: LearnedLowering, others: list[Graph]
) -> None:
    for graph in others:
        kernels = learned.kernels(graph)
        assert {name for k in kernels for name in k.nodes} == {node.name for node in graph.nodes}
        assert all(-1 <= at < i for i, k in enumerate(kernels) for at in k.reads)
        assert [k.is_output for k in kernels].count(True) == len(graph.outputs)
        assert kernels[-1].is_output


def test_it_is_the_same_after_saving(learned: LearnedLowering, others: list[Graph]) -> None:
    again = LearnedLowering.from_json(json.loads(json.dumps(learned.to_json())))
    assert all(again.kernels(graph) == learned.kernels(graph) for graph in others)


def test_an_operator_that_was_never_seen_is_a_kernel_of_its_own(learned: LearnedLowering) -> None:
    kind = TensorType("float32", (1, 6, 4))
    nodes = (
        Node("first", "Einsum", ("x", "x"), ("y",), {"equation": "abc,abc->abc"}),
        Node("second", "Celu", ("y",), ("z",)),
    )
    graph = Graph("odd", nodes, {"x": kind, "y": kind, "z": kind}, ("x",), ("z",), {})
    kernels = learned.kernels(graph)
    assert [(k.kernel.kind, k.nodes, k.reads) for k in kernels] == [
        ("Einsum", ("first",), (-1, -1)),
        ("Celu", ("second",), (0,)),
    ]


def value(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def with_bodies(op: str) -> ModelProto:
    """A network in which only bodies read what a layer makes; the node that has them comes first."""
    go, steps = value("go", kind=TensorProto.BOOL), value("i", kind=TensorProto.INT64)

    def body(name: str, reads: str, inputs: list[onnx.ValueInfoProto]) -> onnx.GraphProto:
        nodes, outputs = [helper.make_node("Add", [reads, "c"], [name])], [value(name, 8)]
        if op == "Loop":
            nodes, outputs = [*nodes, helper.make_node("Identity", ["go"], ["on"])], [value("on", kind=9), *outputs]
        return helper.make_graph(nodes, name, inputs, outputs)

    match op:
        case "If":
            node = helper.make_node(op, ["go"], ["y"], then_branch=body("a", "x", []), else_branch=body("b", "c", []))
        case "Loop":
            node = helper.make_node(op, ["n", "go0", "x"], ["y"], body=body("a", "v", [steps, go, value("v", 8)]))
        case _:
            element = value("e", 8)
            node = helper.make_node(
                op, ["x", "m"], ["y"], body=body("a", "e", [value("v", 8), element]), num_scan_inputs=1
            )
    layers = [
        helper.make_node("MatMul", ["x", "w"], ["c"], name="made"),
        helper.make_node("Relu", ["x"], ["z"], name="other"),
    ]
    graph = helper.make_graph(
        [node, *layers],
        op,
        [value("x", 8), *([go] if op == "If" else [])],
        [value("y", 8), value("z", 8)],
        [numpy_helper.from_array(np.ones((8, 8), np.float32), name) for name in ("w", "m")]
        + [numpy_helper.from_array(np.array(3), "n"), numpy_helper.from_array(np.array(True), "go0")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("op", ["If", "Loop", "Scan"])
def test_what_only_bodies_read_is_executed(
    device: WorkerDevice, learned: LearnedLowering, tmp_path: Path, op: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(with_bodies(op).SerializeToString())
    graph = devices.load_onnx(path)
    assert [node.op for node in graph.nodes][-2:] != ["MatMul", "Relu"], "in the order of execution"
    with ProfileWriter(tmp_path / "p", device.info, {}) as writer:
        kernels = device.kernels(graph)
        writer.lowering(graph, Lowering(kernels), {})
        assert writer.profile.graphs[graph.digest()].digest() == graph.digest()
        own = LearnedLowering.fit(writer.profile)
    for lowering in (learned, own):
        found = lowering.kernels(graph)
        assert Counter(k.kernel.kind for k in found) == Counter(k.kernel.kind for k in kernels)
        (at,) = [i for i, k in enumerate(found) if k.kernel.kind == op]
        assert has_bodies(found[at].kernel.kind)
        assert all(-1 <= read < i for i, k in enumerate(found) for read in k.reads)
        assert next(i for i, k in enumerate(found) if "made" in k.nodes) < at


def test_infinite_attributes_are_learnt_from(device: WorkerDevice, tmp_path: Path) -> None:
    """The runtime makes padding with zeros a part of the convolution behind it, and no other."""

    def padded(size: int, padding: float) -> Graph:
        nodes = [
            helper.make_node("Pad", ["x"], ["p"], pads=[0, 0, 1, 1, 0, 0, 1, 1], value=padding),
            helper.make_node("Conv", ["p", "w"], ["y"]),
        ]
        weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
        ends = [value("x", 1, 3, size, size)], [value("y", 1, 4, size, size)]
        model = helper.make_model(
            helper.make_graph(nodes, "padded", *ends, [weight]),
            opset_imports=[helper.make_opsetid("", 10)],
            ir_version=8,
        )
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        return devices.load_onnx(tmp_path / "m.onnx")

    with ProfileWriter(tmp_path / "p", device.info, {}) as writer:
        for graph in [padded(size, padding) for size in (8, 12, 14) for padding in (0.0, -np.inf)]:
            kernels = device.kernels(graph)
            writer.lowering(graph, Lowering(kernels), {})
        learned = LearnedLowering.fit(writer.profile)
    learned = LearnedLowering.from_json(json.loads(json.dumps(learned.to_json(), allow_nan=False)))
    graph = padded(10, -np.inf)
    assert described(learned.kernels(graph)) == described(device.kernels(graph))


def test_an_activation_is_fused_where_others_were_seen_to_be(device: WorkerDevice, tmp_path: Path) -> None:
    """Relu is known behind the convolutions of the gates only, whose operands lie in blocks, not behind that of an image."""
    seen, other = (
        hwnas.spaces.open("mobile", (1, 16, 16), 10, activations=[name], kernels=[3], squeeze_excite=[True])
        for name in ("hardswish", "relu")
    )
    learned = learnt(device, seen, 8, tmp_path / "p")
    for genotype in other.sample(np.random.default_rng(1), 3):
        graph = other.graph(genotype)
        ours, theirs = learned.kernels(graph), device.kernels(graph)
        assert described(ours) == described(theirs)
        assert Counter(k.kernel.attributes for k in ours) == Counter(k.kernel.attributes for k in theirs)


def single(op: str, shapes: dict[str, tuple[int, ...]], out: tuple[int, ...], **attributes: object) -> Graph:
    """A network of one operator whose first operand is the input and whose others are weights."""
    tensors = {name: TensorType("float32", shape) for name, shape in shapes.items()} | {"y": TensorType("float32", out)}
    first, *weights = shapes
    node = Node("node", op, tuple(shapes), ("y",), attributes)  # type: ignore[arg-type]
    return Graph(op, (node,), tensors, (first,), ("y",), dict.fromkeys(weights))


@pytest.mark.parametrize(
    "graph",
    [
        single("Conv", {"x": (1, 6, 50), "w": (8, 6, 3)}, (1, 8, 48)),
        single("Conv", {"x": (2, 6, 50), "w": (80, 6, 3)}, (2, 80, 48)),
        single("Conv", {"x": (1, 6, 50), "w": (8, 6, 1)}, (1, 8, 50)),
        single("ConvTranspose", {"x": (1, 6, 9, 9), "w": (6, 5, 2, 2)}, (1, 5, 18, 18), strides=(2, 2)),
        single("LSTM", {"x": (40, 2, 16), "w": (1, 96, 16), "r": (1, 96, 24)}, (40, 1, 2, 24), hidden_size=24),
        single("GRU", {"x": (40, 2, 16), "w": (1, 72, 16), "r": (1, 72, 24)}, (40, 1, 2, 24), hidden_size=24),
    ],
    ids=lambda graph: f"{graph.name} {graph.tensors['w'].shape}",
)
def test_workspace_is_what_the_runtime_takes(device: WorkerDevice, graph: Graph) -> None:
    with device.load(graph) as session:
        reported, kernels = session.memory(), session.kernels()
    estimated = memory_rules("onnxruntime").peak(kernels)
    assert estimated.activation_bytes == pytest.approx(reported.activation_bytes, rel=0.05)


def test_how_sizes_follow_says_nothing_of_tensors_with_more_axes() -> None:
    def types(*shape: int) -> Types:
        return {("own", 0): TensorType("uint8", shape)}

    examples = [(types(n, c, s, s), TensorType("uint8", (n, s, s, c))) for n, c, s in ((1, 8, 5), (2, 6, 7), (4, 3, 9))]
    recipe = learn_type(examples)
    assert make_type(recipe, types(3, 10, 4, 4)) == TensorType("uint8", (3, 4, 4, 10))
    assert make_type(recipe, types(3, 2, 10, 4, 4)) is None
