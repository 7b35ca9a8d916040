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
from hwnas.errors import ExportError
from hwnas.export import export
from hwnas.quantize import quantize
from hwnas.task import Task, normalize
from hwnas.train import train
from hwnas.train_settings import TrainSettings


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
