"""The INT8 flavour follows the device; TensorRT's means the same as the float32 network, and so does FP16."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import hwnas.spaces
from hwnas.bundle.half import half
from hwnas.int8 import flavours
from hwnas.int8.bias_correction import correct_biases
from hwnas.int8.quantize import Quantizer, like_int8, quantize
from hwnas.onnx_inference import logits

IMAGES = np.random.default_rng(1).standard_normal((64, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the space with every kind of operator, weights made up."""
    space = hwnas.spaces.open("mobile", (3, 16, 16), 10, depths=[2], stem_width=8)
    path = tmp_path_factory.mktemp("flavours") / "model.onnx"
    path.write_bytes(space.graph(space.largest()).to_onnx().SerializeToString())
    return path


@pytest.mark.parametrize(
    ("spec", "flavour"),
    [
        ("onnxruntime:threads=1", flavours.CPU),
        ("tensorrt", flavours.TENSORRT),
        ("tensorrt:launch=enqueue", flavours.TENSORRT),
        ("openvino:threads=2,precision=f32", flavours.OPENVINO),
        ("ssh://me@box:22/tensorrt:launch=graph", flavours.TENSORRT),
        ("ssh://me@tensorrt/onnxruntime:threads=4", flavours.CPU),
    ],
)
def test_the_device_decides_the_flavour(spec: str, flavour: flavours.Flavour) -> None:
    assert flavours.of(spec) is flavour


def test_tensorrts_flavour_is_symmetric_and_leaves_biases_and_groups_in_float(source: Path, tmp_path: Path) -> None:
    quantize(source, tmp_path / "int8.onnx", IMAGES, flavours.TENSORRT)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers = {o: n for n in graph.node for o in n.output}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert constants[node.input[2]].dtype == np.int8
            assert not constants[node.input[2]].any()
            assert (constants[node.input[1]] > 0).all()
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    for i, node in enumerate(convolutions):
        grouped = any(a.name == "group" and a.i > 1 for a in node.attribute)
        quantised = node.input[0] in makers and makers[node.input[0]].op_type == "DequantizeLinear"
        assert quantised == (i > 0 and not grouped)
        assert constants[node.input[2]].dtype == np.float32
    assert TensorProto.INT32 not in {t.data_type for t in graph.initializer}
    readers = {
        node.op_type: sum(makers[i].op_type == "DequantizeLinear" for i in node.input if i in makers)
        for node in graph.node
        if any(i in makers and makers[i].op_type == "DequantizeLinear" for i in node.input)
    }
    assert readers == {
        "Conv": 2,
        "Gemm": 2,
        "Add": 1,
    }  # of a sum only the skip, so that the other fuses into its convolution
    full, int8 = logits(onnx.load(source), IMAGES), logits(onnx.load(tmp_path / "int8.onnx"), IMAGES)
    assert np.abs(full - int8).max() < 0.1 * np.abs(full).max()
    assert (full.argmax(1) == int8.argmax(1)).mean() > 0.9


def test_made_up_ranges_give_the_same_network(source: Path) -> None:
    made = Quantizer(source, IMAGES, flavours.TENSORRT).int8()
    like = like_int8(onnx.load(source), flavours.TENSORRT)
    assert Counter(n.op_type for n in like.graph.node) == Counter(n.op_type for n in made.graph.node)


def test_float_biases_are_corrected_too(tmp_path: Path) -> None:
    space = hwnas.spaces.open("mobile", (3, 16, 16), 10, depths=[1], squeeze_excite=[False], resolutions=[16])
    (tmp_path / "small.onnx").write_bytes(space.graph(space.smallest()).to_onnx().SerializeToString())
    quantizer = Quantizer(tmp_path / "small.onnx", IMAGES[:2], flavours.TENSORRT)  # too few: the ranges cut a lot off
    plain, corrected = quantizer.int8(), quantizer.int8()
    correct_biases(corrected, quantizer.model, IMAGES)
    full = logits(quantizer.model, IMAGES)
    errors = [np.abs((logits(m, IMAGES) - full).mean(axis=0)).mean() for m in (plain, corrected)]
    assert errors[1] < 0.5 * errors[0]


def test_half_precision_keeps_inputs_outputs_and_answers(source: Path) -> None:
    model = onnx.load(source)
    before = model.SerializeToString()
    fp16 = half(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(fp16, full_check=True)
    ends = [*fp16.graph.input, *fp16.graph.output]
    assert {e.type.tensor_type.elem_type for e in ends} == {TensorProto.FLOAT}
    assert {t.data_type for t in fp16.graph.initializer} == {TensorProto.FLOAT16}
    full, found = logits(model, IMAGES), logits(fp16, IMAGES)
    assert 0 < np.abs(full - found).max() < 0.02 * np.abs(full).max()


def test_half_precision_of_numbers_that_do_not_fit() -> None:
    weights = numpy_helper.from_array(np.array([[1e6], [1e-12]], np.float32), "w")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", 2), ("y", 1))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], "m")], "g", ends[:1], ends[1:], [weights])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = half(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    (found,) = (numpy_helper.to_array(t) for t in made.graph.initializer)
    assert found.ravel().tolist() == [65504.0, np.float16(5.96e-08)]
