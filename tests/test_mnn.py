"""What is MNN's own: which operators stand for which nodes, and that its tools, which report over the network, stay away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

import devices
from devices.errors import UnsupportedOp
from devices.kernels import Attribute
from devices.remote import WorkerDevice
from predictors import memory_rules
from profilers.sampling.builder import Builder


@pytest.fixture(scope="module")
def device() -> Iterator[WorkerDevice]:
    with devices.open("mnn:threads=1") as opened:
        yield opened


def model(
    path: Path, nodes: list[tuple[str, list[str], str]], shape: list[int], weights: dict[str, np.ndarray]
) -> Path:
    """A float network from ``x`` to the result of its last node; a node is operator, inputs, output."""
    made = [helper.make_node(op, inputs, [output], name=f"{op}_{output}") for op, inputs, output in nodes]
    known = [
        helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(w.dtype), w.shape, w.ravel())
        for name, w in weights.items()
    ]
    graph = helper.make_graph(
        made,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)],
        known,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_fused_activation_is_in_the_convolution_and_a_transpose_in_the_change_of_layout(
    device: WorkerDevice, tmp_path: Path
) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 4, 1, 1)).astype(np.float32)
    nodes = [("Conv", ["x", "w"], "c"), ("Relu", ["c"], "r"), ("Transpose", ["r"], "t"), ("Softmax", ["t"], "y")]
    graph = devices.load_onnx(model(tmp_path / "m.onnx", nodes, [1, 4, 6, 5], {"w": weight}))
    with device.load(graph) as session:
        kernels = {k.nodes: k for k in session.kernels() if k.nodes}
        (found,) = session.outputs()
    assert set(kernels) == {("Conv_c", "Relu_r"), ("Transpose_t",), ("Softmax_y",)}
    convolution = kernels["Conv_c", "Relu_r"].kernel
    assert [o.type.shape for o in convolution.inputs if o.constant] == [(8, 4, 1, 1)]
    assert kernels[("Transpose_t",)].kernel.kind == "Raster"
    assert kernels[("Softmax_y",)].is_output
    assert found.shape == (5, 6, 8, 1)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize(("width", "size", "window"), [(64, 32, 3), (128, 8, 3), (96, 14, 1)])
def test_memory_counts_the_transformed_filters_that_are_kept(
    device: WorkerDevice, width: int, size: int, window: int
) -> None:
    build = Builder(np.random.default_rng(0))
    x = build.input(1, width, size, size)
    for _ in range(6):
        pads = (window // 2,) * 4
        attributes: dict[str, Attribute] = {
            "pads": pads,
            "strides": (1, 1),
            "dilations": (1, 1),
            "group": 1,
            "kernel_shape": (window, window),
        }
        x = build.op("Conv", x, build.weight(width, width, window, window), attributes=attributes)
    with device.load(build.graph("convolutions")) as session:
        reported, kernels = session.memory(), session.kernels()
    assert reported.source == "runtime"
    assert memory_rules("mnn").peak(kernels).memory_bytes == pytest.approx(reported.memory_bytes, rel=0.2)


def test_what_moves_data_in_several_regions_reads_it_once(device: WorkerDevice) -> None:
    build = Builder(np.random.default_rng(0))
    heads = build.reshape(build.linear(build.input(4, 16, 32), 32), 4, 16, 2, 16)
    build.op("Softmax", build.transpose(heads, 0, 2, 1, 3), attributes={"axis": -1})
    for kernel in device.kernels(build.graph("heads")):
        if kernel.kernel.kind == "Raster":
            assert not any(o.constant and o.type.dtype == "float32" for o in kernel.kernel.inputs)


def test_an_unknown_operator_is_refused_and_the_worker_goes_on(device: WorkerDevice, tmp_path: Path) -> None:
    graph = devices.load_onnx(model(tmp_path / "m.onnx", [("Hardmax", ["x"], "y")], [3, 3], {}))
    good = devices.load_onnx(model(tmp_path / "n.onnx", [("Relu", ["x"], "y")], [3, 3], {}))
    with pytest.raises(UnsupportedOp, match="MNN"), device.load(graph):
        pass
    with device.load(good) as session:
        assert (session.run(2) > 0).all()


def test_the_tools_that_report_over_the_network_are_never_imported(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [("Relu", ["x"], "y")], [3, 3], {})
    code = (
        "import sys, pathlib, numpy as np; from devices.runtimes.mnn import PLUGIN; "
        "settings = {'threads': 1, 'precision': 'high'}; "
        "loaded = PLUGIN.load(pathlib.Path(sys.argv[1]).read_bytes(), {'x': np.ones((3, 3), np.float32)}, settings); "
        "assert loaded.outputs()[0].sum() == 9; "
        "print(*(m for m in sys.modules if m.startswith(('MNN.tools', 'aliyun', 'urllib.request'))), file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "MNN.tools" not in told.stderr
    assert "aliyun" not in told.stderr
