"""The families that predictions are tried on: valid networks of many sizes that run, in float32 and in INT8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import devices
from benchmarks.families.builder import Net
from benchmarks.families.int8 import quantized
from benchmarks.families.members import FAMILIES, members
from devices import Device

OPS = {
    "VGG": {"Conv", "MaxPool", "Gemm"},
    "ResNet": {"Conv", "Add", "GlobalAveragePool"},
    "SqueezeNet": {"Conv", "Concat", "MaxPool"},
    "DenseNet": {"BatchNormalization", "Concat", "AveragePool"},
    "ConvNeXt": {"Conv", "Transpose", "MatMul"},
    "MobileNet": {"Conv", "Gemm"},
    "MobileNetV3": {"GlobalAveragePool", "Mul", "Add"},
    "ShuffleNet": {"Reshape", "Transpose", "Concat"},
    "vision transformer": {"Softmax", "MatMul", "Gather"},
    "text transformer": {"Softmax", "Gather", "Cast"},
    "LSTM and GRU": {"Transpose", "Reshape"},
    "1-D audio": {"Conv"},
    "U-Net": {"Concat", "MaxPool"},
    "detector": {"Resize", "Concat", "MaxPool"},
}


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with devices.open("onnxruntime:threads=1") as opened:
        yield opened


@pytest.mark.parametrize("family", FAMILIES)
def test_members_are_valid_and_run_and_spread_over_sizes(family: str, device: Device) -> None:
    graphs = members(family, 3)
    assert len({g.digest() for g in graphs}) == 3
    sizes = []
    for graph in graphs:
        assert OPS[family] <= {node.op for node in graph.nodes}
        sizes.append(sum(graph.tensors[t].size for n in graph.nodes for t in n.outputs))
    assert max(sizes) > 10 * min(sizes)
    onnx.checker.check_model(graphs[1].to_onnx(), full_check=True)
    for graph in graphs[:2]:
        with device.load(graph) as session:
            outputs = session.outputs()
        assert [o.shape for o in outputs] == [graph.tensors[name].shape for name in graph.outputs]
        assert all(np.isfinite(o).all() and np.ptp(o) > 0 for o in outputs)


def test_members_are_drawn_by_the_seed() -> None:
    first, again, other = ({g.digest() for g in members("MobileNet", 3, seed)} for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("family", "style", "kind"),
    [
        ("MobileNet", "hwnas", "QLinearConv"),
        ("MobileNet", "uint8", "QLinearConv"),
        ("text transformer", "int8", "QLinearMatMul"),
        ("LSTM and GRU", "uint8", "DynamicQuantizeLSTM"),
    ],
)
def test_int8_members_run_in_integers(family: str, style: str, kind: str, tmp_path: Path, device: Device) -> None:
    graph = next(g for g in members(family, 6) if family != "LSTM and GRU" or any(n.op == "LSTM" for n in g.nodes))
    path = tmp_path / "int8.onnx"
    path.write_bytes(quantized(graph, style).SerializeToString())
    lowering = device.lower(devices.load_onnx(path))
    assert kind in {k.kernel.kind.rsplit(":", 1)[-1] for k in lowering.kernels}


def test_macs_are_those_of_the_textbook() -> None:
    net = Net()
    x = net.conv(net.input("x", (1, 3, 32, 32)), 8, 3, 2)
    x = net.conv(x, 8, 3, group=8)
    assert net.shape(x) == (1, 8, 16, 16)
    assert net.macs == 16 * 16 * (8 * 3 * 9 + 8 * 9)
    net = Net()
    net.recurrent(net.input("x", (5, 2, 7)), "LSTM", 11, 2)
    assert net.macs == 5 * 2 * 2 * 4 * 11 * (7 + 11)


def test_a_family_that_is_none() -> None:
    with pytest.raises(ValueError, match="no family 'VGGG'"):
        members("VGGG", 2)
