"""INT8 keeps the accuracy, has no float islands, and leaves nothing behind."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import devices
import hwnas.spaces
import hwnas.tasks
from hwnas.bundle.export import export
from hwnas.errors import ExportError
from hwnas.int8.bias_correction import correct_biases
from hwnas.int8.calibration import METHODS, ranges
from hwnas.int8.graph import align_depthwise
from hwnas.int8.quantize import Quantizer, quantize
from hwnas.onnx_inference import logits
from hwnas.task import Task, normalize
from hwnas.training.settings import TrainSettings
from hwnas.training.train import train


@pytest.fixture(scope="module")
def task() -> Task:
    return hwnas.tasks.open("digits")


@pytest.fixture(scope="module", params=["relu", "hardswish"])
def trained(request: pytest.FixtureRequest, task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with squeeze-and-excitation and a residual block, trained on digits."""
    folder = tmp_path_factory.mktemp(request.param)
    space = hwnas.spaces.open(
        "mobile", task.input_shape, 10, activations=[request.param], resolutions=[8], widths=[[16], [24], [32]],
        depths=[2], kernels=[3], expansions=[2], squeeze_excite=[True], stem_width=8, head_width=64,
    )  # fmt: skip
    genotype = space.sample(np.random.default_rng(0), 1)[0]
    settings = TrainSettings(epochs=10, batch_size=64, learning_rate=0.2)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # so small a network trains faster on one core, above all if others are busy
    try:
        module = train(space.build(genotype), task, size=8, settings=settings, seed=0, checkpoint=folder / "w").module
    finally:
        os.sched_setaffinity(0, cores)
    export(space, genotype, module, task, folder / "model.onnx")
    quantize(folder / "model.onnx", folder / "int8.onnx", normalize(task.train.images[:128], task, 8))
    return folder


def answers(path: Path, images: NDArray[np.float32], *, optimised: bool = True) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[None]})[0] for x in images])


def test_accuracy_is_kept(trained: Path, task: Task) -> None:
    test = task.test()
    images = normalize(test.images, task, 8)
    full, int8 = answers(trained / "model.onnx", images), answers(trained / "int8.onnx", images)
    accuracy = (full.argmax(1) == test.labels).mean()
    assert accuracy > 0.9
    assert (int8.argmax(1) == test.labels).mean() >= accuracy - 0.01
    assert (int8.argmax(1) == full.argmax(1)).mean() >= 0.98


def test_it_means_the_same_without_the_runtimes_fusions(trained: Path, task: Task) -> None:
    images = normalize(task.validation.images[:30], task, 8)
    fused, plain = answers(trained / "int8.onnx", images), answers(trained / "int8.onnx", images, optimised=False)
    assert np.abs(fused - plain).max() < 0.05 * np.abs(plain).max()


def test_only_the_first_convolution_is_float(trained: Path) -> None:
    with (
        devices.open("onnxruntime:threads=1") as device,
        device.load(devices.load_onnx(trained / "int8.onnx")) as loaded,
    ):
        kinds = [k.kernel.kind for k in loaded.kernels()]
    integer = [k for k in kinds if "QLinear" in k or "QGemm" in k]
    around = {"ReorderOutput", "ReorderInput", "Transpose", "Flatten", "Reshape"}
    rest = sorted(k.split(":")[-1] for k in kinds if k not in integer and k.split(":")[-1] not in around)
    assert sum("QLinearConv" in k for k in kinds) == 31  # six blocks of five convolutions, and the head's
    assert rest == ["Conv", "QuantizeLinear"]


def test_versions_and_types(trained: Path) -> None:
    full, int8 = onnx.load(trained / "model.onnx"), onnx.load(trained / "int8.onnx")
    assert int8.ir_version == full.ir_version
    assert list(int8.opset_import) == list(full.opset_import)
    assert [i.name for i in int8.graph.input] == [i.name for i in full.graph.input]
    assert [o.name for o in int8.graph.output] == [o.name for o in full.graph.output]
    constants = {t.name: t for t in int8.graph.initializer}
    assert set(constants) == {name for node in int8.graph.node for name in node.input if name in constants}
    weights = [
        constants[n.input[0]] for n in int8.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants
    ]
    assert {TensorProto.INT8, TensorProto.INT32} <= {w.data_type for w in weights}
    per_channel = [n for n in int8.graph.node if n.op_type == "DequantizeLinear" and len(constants[n.input[1]].dims) == 1
                   and constants[n.input[0]].data_type == TensorProto.INT8]  # fmt: skip
    assert len(per_channel) >= 31


def gate(tmp_path: Path, **attributes: Any) -> Path:
    """A convolution, a HardSigmoid behind it that is used twice, another one behind a sum."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w"], ["c"], "conv"),
        helper.make_node("HardSigmoid", ["c"], ["g"], "gate", **attributes),
        helper.make_node("Mul", ["r", "g"], ["m"], "mul"),
        helper.make_node("HardSigmoid", ["m"], ["h"], "gate2", **attributes),
        helper.make_node("Mul", ["m", "h"], ["n"], "mul2"),
        helper.make_node("Conv", ["n", "w"], ["y"], "conv2"),
    ]
    weight = np.random.default_rng(0).standard_normal((8, 8, 1, 1)).astype(np.float32)
    shape = (1, 8, 6, 6)
    graph = helper.make_graph(
        nodes,
        "gate",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "gate.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def depthwise(tmp_path: Path, *, width: int = 24, tail: str = "conv") -> Path:
    """Two convolutions around a depthwise one that is re-weighted by its own mean; ``tail`` says what reads it last."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "first.weight"], ["first"], "first/conv"),
        helper.make_node("Conv", ["first", "expand.weight", "expand.bias"], ["expand"], "block/expand"),
        helper.make_node("HardSwish", ["expand"], ["active"], "block/active"),
        helper.make_node("Conv", ["active", "depthwise.weight"], ["depthwise"], "block/depthwise", group=width, pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["depthwise"], ["mean"], "block/mean"),
        helper.make_node("Mul", ["depthwise", "mean"], ["scaled"], "block/scale"),
    ]  # fmt: skip
    weights = {
        "first.weight": rng.standard_normal((8, 8, 1, 1)),
        "expand.weight": rng.standard_normal((width, 8, 1, 1)),
        "expand.bias": rng.standard_normal(width),
        "depthwise.weight": rng.standard_normal((width, 1, 3, 3)),
        "project.weight": rng.standard_normal((8, width, 1, 1)),
    }
    channels = 8
    if tail == "conv":
        nodes.append(helper.make_node("Conv", ["scaled", "project.weight"], ["y"], "block/project"))
    else:
        del weights["project.weight"]
        channels = width
        nodes.append(helper.make_node("Relu", ["scaled"], ["y"], "block/relu"))
    graph = helper.make_graph(
        nodes,
        "depthwise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8, 6, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, channels, 6, 6))],
        [onnx.numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    path = tmp_path / "depthwise.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_depthwise_channels_fill_whole_vectors_and_change_nothing(tmp_path: Path) -> None:
    path = depthwise(tmp_path)
    model, images = onnx.load(path), np.random.default_rng(1).standard_normal((3, 8, 6, 6)).astype(np.float32)
    align_depthwise(model)
    shapes = {w.name: tuple(w.dims) for w in model.graph.initializer}
    assert shapes["expand.weight"] == (32, 8, 1, 1)
    assert shapes["expand.bias"] == (32,)
    assert shapes["depthwise.weight"] == (32, 1, 3, 3)
    assert shapes["project.weight"] == (8, 32, 1, 1)
    assert shapes["first.weight"] == (8, 8, 1, 1)
    onnx.save(model, tmp_path / "wide.onnx")
    np.testing.assert_allclose(
        answers(tmp_path / "wide.onnx", images), answers(path, images), rtol=1e-4, atol=1e-2
    )  # of values up to 1,000


@pytest.mark.parametrize(("width", "tail"), [(24, "output"), (32, "conv")])
def test_what_cannot_or_need_not_be_widened_stays(tmp_path: Path, width: int, tail: str) -> None:
    model = onnx.load(depthwise(tmp_path, width=width, tail=tail))
    before = [w.SerializeToString() for w in model.graph.initializer]
    align_depthwise(model)
    assert [w.SerializeToString() for w in model.graph.initializer] == before


def test_layers_stay_float_when_asked(trained: Path, task: Task) -> None:
    quantizer = Quantizer(trained / "model.onnx", normalize(task.train.images[:16], task, 8))
    assert quantizer.layers == ("stage1.0", "stage1.1", "stage2.0", "stage2.1", "stage3.0", "stage3.1", "head")
    quantized = {
        n.name.partition("/")[0] for n in quantizer.int8("minmax", ["stage2.0"]).graph.node if n.op_type == "QuantizeLinear"
    }  # fmt: skip
    assert {"stage1.1", "stage2.1"} <= quantized
    inside = {n.name for n in quantizer.int8("minmax", ["stage2.0"]).graph.node if n.name.startswith("stage2.0/")}
    assert {"stage2.0/expand", "stage2.0/depthwise", "stage2.0/project"} <= inside
    assert not [name for name in inside if "weight" in name]


def test_calibrations_differ_and_hold_the_values(trained: Path, task: Task) -> None:
    images = normalize(task.train.images[:16], task, 8)
    model = onnx.load(trained / "model.onnx")
    found = {method: ranges(model, images, method)["stem/conv"].range_value for method in METHODS}
    assert found["minmax"][0] <= found["percentile"][0] < 0 < found["percentile"][1] <= found["minmax"][1]
    assert found["entropy"][1] <= found["minmax"][1]


def test_corrected_biases_restore_the_means(trained: Path, task: Task) -> None:
    images = normalize(task.train.images[:64], task, 8)
    quantizer = Quantizer(trained / "model.onnx", images[:4])  # far too few: the ranges cut a lot off
    plain, corrected = quantizer.int8(), quantizer.int8()
    correct_biases(corrected, quantizer.model, images)
    wanted = logits(quantizer.model, images).mean(axis=0)
    off = [float(np.abs(logits(model, images).mean(axis=0) - wanted).max()) for model in (plain, corrected)]
    assert off[1] < 0.5 * off[0]


@pytest.mark.parametrize("attributes", [{}, {"alpha": 1 / 6, "beta": 0.5}, {"alpha": 0.4, "beta": 0.3}])
def test_saturated_gates_are_hard_sigmoids(tmp_path: Path, attributes: dict[str, float]) -> None:
    path = gate(tmp_path, **attributes)
    images = np.random.default_rng(1).standard_normal((40, 8, 6, 6)).astype(np.float32) * 2
    quantize(path, tmp_path / "q.onnx", images)
    assert "HardSigmoid" not in {n.op_type for n in onnx.load(tmp_path / "q.onnx").graph.node}
    full, int8 = answers(path, images), answers(tmp_path / "q.onnx", images, optimised=False)
    assert np.abs(int8 - full).mean() < 0.02 * np.abs(full).mean() + 0.02


@pytest.mark.parametrize(
    "calibration",
    [np.zeros((0, 8, 6, 6)), np.zeros((4, 8, 6, 5)), np.zeros((8, 6, 6)), np.full((2, 8, 6, 6), np.nan)],
)
def test_unfit_calibration_images_are_refused(tmp_path: Path, calibration: NDArray[Any]) -> None:
    path = gate(tmp_path)
    with pytest.raises(ValueError, match="calibration images must be finite, at least one, and of shape"):
        quantize(path, tmp_path / "q.onnx", calibration.astype(np.float32))
    assert [p.name for p in tmp_path.iterdir()] == ["gate.onnx"]


def test_damaged_source_is_an_export_error(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x08no model")
    for name in ("a.onnx", "none.onnx"):
        with pytest.raises(ExportError, match="cannot be quantised"):
            quantize(tmp_path / name, tmp_path / "q.onnx", np.zeros((1, 1, 8, 8), np.float32))
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def test_nothing_is_printed_logged_or_left(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.getLogger().handlers)
    path = gate(tmp_path)
    quantize(path, tmp_path / "q.onnx", np.random.default_rng(0).random((4, 8, 6, 6), np.float32))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert {p.name for p in tmp_path.iterdir()} == {"gate.onnx", "q.onnx"}


def test_the_same_images_give_the_same_file(tmp_path: Path) -> None:
    path, images = gate(tmp_path), np.random.default_rng(0).random((4, 8, 6, 6), np.float32)
    for name in ("a", "b"):
        quantize(path, tmp_path / name, images)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
