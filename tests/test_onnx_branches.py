"""Models whose inputs' values decide what is executed, and those that runtimes run and ONNX's own inference misjudges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import parser

import devices
from devices import Device, Graph
from devices.errors import InvalidModel
from hwnas.commands.answer import inputs

RATES = """
<ir_version: 8, opset_import: ["" : 17]>
rates (float[1, 8] x, int64 rate) => (float[1, N] y, float[1, M] z)
<float[1] two = {2.0}, int64 sixteen = {16000}>
{
  fast = Equal(rate, sixteen)
  kept = Relu(x)
  y, z = If (fast) <
    then_branch = wide () => (float[1, 8] a, float[1, 8] c) {
      c = Identity(kept)
      doubled = Mul(kept, two)
      a = Tanh(doubled)
    },
    else_branch = narrow () => (float[1, 4] b, float[1, 4] c) <int64[1] from = {0}, int64[1] to = {4}, int64[1] along = {1}> {
      doubled = Slice(x, from, to, along)
      b = Exp(doubled)
      c = Identity(b)
    }
  >
}
"""
SHAPES = """
<ir_version: 8, opset_import: ["" : 17]>
shapes (float[N, 8] x) => (float[N, 8] y) <int64 one = {1}, int64 zero = {0}>
{
  shape = Shape(x)
  rows = Gather(shape, zero)
  single = Equal(rows, one)
  y = If (single) <
    then_branch = one_row () => (float[N, 8] a) { a = Relu(x) },
    else_branch = more () => (float[N, 8] b) { b = Exp(x) }
  >
}
"""
NESTED = """
<ir_version: 8, opset_import: ["" : 17]>
nested (float[4] x, int64 rate) => (float[4] y) <int64 three = {3}, bool yes = {1}, float[1] step = {0.5}, int64 none = {0}>
{
  slow = Equal(rate, none)
  sum = Relu(x)
  y = If (slow) <
    then_branch = looped () => (float[4] a) <float[1] scale = {2.0}> {
      scaled = Mul(sum, scale)
      a = Loop (three, yes, scaled) <
        body = again (int64 i, bool on, float[4] x) => (bool still, float[4] next)
        <float[1] step = {0.25}> { still = Identity(on) moved = Add(x, step) next = Mul(moved, scale) }
      >
    },
    else_branch = plain () => (float[4] b) { b = Add(sum, step) }
  >
}
"""
STFT = """
<ir_version: 8, opset_import: ["" : 17]>
mel (float[1, 800] x) => (float[1, F, 6] y) <int64 hop = {160}>
{
  window = Constant <value_floats = [WINDOW]> ()
  bins = STFT (x, hop, window)
  power = ReduceSumSquare <axes = [-1], keepdims = 0> (bins)
  banks = RandomNormal <shape = [161, 6], seed = 1.0> ()
  y = MatMul (power, banks)
}
""".replace("WINDOW", ", ".join(["0.5"] * 320))


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with devices.open("onnxruntime:threads=1") as opened:
        yield opened


def saved(text: str, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(parser.parse_model(text).SerializeToString())
    return path


def agree(device: Device, graph: Graph, path: Path, values: dict[str, NDArray[Any]]) -> None:
    expected = onnxruntime.InferenceSession(path).run(None, values)
    with device.load(graph, values) as session:
        for got, wanted in zip(session.outputs(), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize(("rate", "ops"), [(16000, {"Mul", "Tanh"}), (8000, {"Slice", "Exp"})])
def test_the_branch_that_runs_takes_the_place_of_the_if(
    rate: int, ops: set[str], device: Device, tmp_path: Path
) -> None:
    path, value = saved(RATES, tmp_path), np.array(rate)
    graph = devices.load_onnx(path, {"rate": value}, device=device)
    assert {node.op for node in graph.nodes} - {"Equal", "Relu", "Identity"} == ops
    assert graph.data_dependent == ("y", "z")
    assert graph.tensors["y"].shape == (1, 8 if rate == 16000 else 4)
    agree(device, graph, path, {"x": np.linspace(-1, 1, 8, dtype=np.float32)[None], "rate": value})
    assert {kernel.kernel.kind for kernel in device.kernels(graph)} >= ops - {"Mul"}


def test_what_is_given_decides_what_the_graph_is(device: Device, tmp_path: Path) -> None:
    path = saved(RATES, tmp_path)
    fast, slow = (devices.load_onnx(path, {"rate": np.array(rate)}, device=device) for rate in (16000, 8000))
    assert fast.digest() != slow.digest()


def test_without_a_runtime_a_branch_that_the_data_decides_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="depends on the data"):
        devices.load_onnx(saved(RATES, tmp_path))


@pytest.mark.parametrize(("rows", "op"), [(1, "Relu"), (3, "Exp")])
def test_shapes_decide_without_a_runtime(rows: int, op: str, tmp_path: Path) -> None:
    graph = devices.load_onnx(saved(SHAPES, tmp_path), {"x": (rows, 8)})
    assert {"If", "Relu", "Exp"}.intersection(node.op for node in graph.nodes) == {op}
    assert graph.data_dependent == ()


@pytest.mark.parametrize("rate", [0, 1])
def test_names_within_branches_and_loops_stay_apart_from_those_outside(
    rate: int, device: Device, tmp_path: Path
) -> None:
    path, value = saved(NESTED, tmp_path), np.array(rate)
    graph = devices.load_onnx(path, {"rate": value}, device=device)
    agree(device, graph, path, {"x": np.linspace(-1, 1, 4, dtype=np.float32), "rate": value})
    assert ("Loop" in {kernel.kernel.kind for kernel in device.kernels(graph)}) == (rate == 0)


def test_a_runtime_is_believed_where_inference_of_shapes_errs(device: Device, tmp_path: Path) -> None:
    path = saved(STFT, tmp_path)
    graph = devices.load_onnx(path, device=device)
    assert graph.tensors["bins"].shape == (1, 4, 161, 2)
    assert graph.tensors["y"].shape == (1, 4, 6)
    assert "STFT" in {kernel.kernel.kind for kernel in device.kernels(graph)}


def test_a_model_that_the_runtime_refuses_too_is_refused_with_the_reason(device: Device, tmp_path: Path) -> None:
    path = saved(STFT.replace("[161, 6]", "[160, 6]"), tmp_path)
    with pytest.raises(InvalidModel, match="do not fit"):
        devices.load_onnx(path, device=device)


def test_values_on_the_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "rate.npy", np.array(16000))
    (value,) = inputs([f"rate={tmp_path / 'rate.npy'}"]).values()
    assert isinstance(value, np.ndarray)
    assert value.item() == 16000
    assert inputs(["x=1x8"]) == {"x": (1, 8)}
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY")
    for wrong in ("missing.npy", "damaged.npy"):
        with pytest.raises(ValueError, match="cannot be read as an array"):
            inputs([f"rate={tmp_path / wrong}"])
    with pytest.raises(ValueError, match="is written NAME="):
        inputs(["rate=fast"])


def test_values_of_another_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="'rate' is of int64, the values given are of float64"):
        devices.load_onnx(saved(RATES, tmp_path), {"rate": np.array(0.5)})


def test_a_graph_is_run_with_the_values_that_were_given(device: Device, tmp_path: Path) -> None:
    path, x = saved(SHAPES, tmp_path), np.full((2, 8), 3.0, np.float32)
    with device.load(devices.load_onnx(path, {"x": x})) as session:
        np.testing.assert_allclose(session.outputs()[0], np.exp(x), rtol=1e-5)


@pytest.mark.parametrize("lacking", ["condition", "branch", "output"])
def test_a_branch_that_is_not_whole_is_refused(lacking: str, tmp_path: Path) -> None:
    model = parser.parse_model(SHAPES)
    node = model.graph.node[-1]
    if lacking == "condition":
        del node.input[:]
    elif lacking == "branch":
        del node.attribute[0]
    else:
        node.output.append("another")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModel, match="needs one condition and two branches"):
        devices.load_onnx(path, {"x": (1, 8)})
