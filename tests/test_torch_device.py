"""PyTorch as a device: modules travel as programs that hold no code; bare ONNX files are refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import devices
import hwnas.spaces
from devices import Graph, Node, TensorType
from devices.errors import DeviceUnavailable, InvalidModel, UnsupportedOp
from devices.remote import WorkerDevice
from devices.runtimes import _torch_program as programs
from hwnas import profiles


@pytest.fixture(scope="module")
def device() -> Iterator[WorkerDevice]:
    with devices.open("torch:cpu") as opened:
        yield opened


def tiny() -> Graph:
    """A product and an activation."""
    tensors = {name: TensorType("float32", shape) for name, shape in {"x": (1, 8), "w": (4, 8), "b": (4,)}.items()}
    tensors |= dict.fromkeys(("t", "y"), TensorType("float32", (1, 4)))
    nodes = (Node("product", "Gemm", ("x", "w", "b"), ("t",), {"transB": 1}), Node("relu", "Relu", ("t",), ("y",)))
    make = lambda: nn.Sequential(nn.Linear(8, 4), nn.ReLU())  # noqa: E731 - as a user might
    return Graph("tiny", nodes, tensors, ("x",), ("y",), {"w": None, "b": None}, make_module=make)


def test_the_kind_of_device_may_stand_alone() -> None:
    with devices.open("torch:cpu,threads=2") as device:
        assert device.info.spec == "torch:device=cpu,mode=eager,threads=2"
    for spec, message in (
        ("torch:gpu", "device must be one of cpu, cuda, got 'gpu'"),
        ("torch:cpu,device=cpu", "twice"),
    ):
        with pytest.raises(ValueError, match=message):
            devices.open(spec)


def test_a_profile_for_networks_of_all_kinds_is_refused_at_once(device: WorkerDevice, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name the space that the profile is for"):
        profiles.make(device, tmp_path / "torch.profile.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_networks_kernels_are_its_nodes(device: WorkerDevice) -> None:
    space = hwnas.spaces.open("mobile", (3, 32, 32), 10)
    graph = space.graph(space.smallest())
    with device.load(graph) as session:
        kernels = session.kernels()
    inside = [name for k in kernels if not k.kernel.kind.endswith("BatchNormalization") for name in k.nodes]
    assert sorted(inside) == sorted(node.name for node in graph.nodes)
    operators = {node.name: node.op for node in graph.nodes}
    for k in kernels:
        assert k.nodes or k.kernel.kind == "aten.contiguous:contiguous"
        if k.kernel.kind == "aten.conv2d:Conv":
            assert [operators[name] for name in k.nodes] == ["Conv"]
            assert k.kernel.inputs[1].constant
    weights = sum(p.nbytes for p in space.build(space.smallest()).parameters())
    assert (
        weights
        < kernels[0].kernel.outputs[0].nbytes + sum(k.kernel.weight_bytes for k in kernels)
        < 1.2 * weights + 1e5
    )


def test_an_onnx_file_is_refused_in_words(device: WorkerDevice, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny().to_onnx().SerializeToString())
    with pytest.raises(UnsupportedOp, match="torch runs torch modules, and tiny comes without one") as caught:
        device.lower(devices.load_onnx(path))
    assert "onnxruntime" in caught.value.hint
    with device.load(tiny()) as session:
        assert session.run(2).shape == (2,)


def test_what_cannot_be_exported_is_refused(device: WorkerDevice) -> None:
    class Depends(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else x + 1

    with pytest.raises(UnsupportedOp, match="cannot export"):
        device.lower(replace(tiny(), make_module=Depends))


def test_programs_that_hold_pickled_objects_are_not_read() -> None:
    program = torch.export.export(nn.Linear(8, 4), (torch.zeros(1, 8),))
    file = io.BytesIO()
    torch.export.save(program, file)  # with its example inputs, which torch pickles
    with pytest.raises(InvalidModel, match=r"pickled objects.*sample_inputs"):
        programs.loaded(file.getvalue())
    safe = programs.serialised(program)
    with zipfile.ZipFile(io.BytesIO(safe)) as archive:
        for name in archive.namelist():
            assert b"\x80\x02c" not in archive.read(name)  # how torch's pickles begin to name a class
    x = torch.ones(1, 8)
    torch.testing.assert_close(programs.loaded(safe)(x), program.module()(x))
    with pytest.raises(InvalidModel, match=r"no \.pt2 program"):
        programs.loaded(b"PK")


def test_modes_that_the_machine_lacks_are_refused() -> None:
    with (
        devices.open("torch:cpu,mode=cudagraph") as device,
        pytest.raises(UnsupportedOp, match="CUDA graphs need CUDA"),
    ):
        device.lower(tiny())
    if not torch.cuda.is_available():
        with devices.open("torch:cuda") as device, pytest.raises(DeviceUnavailable, match="no CUDA device"):
            device.lower(tiny())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("mode", ["eager", "cudagraph"])
def test_cuda_computes_what_the_cpu_does(device: WorkerDevice, mode: str) -> None:
    with devices.open(f"torch:cuda,mode={mode}") as gpu, gpu.load(tiny()) as there, device.load(tiny()) as here:
        np.testing.assert_allclose(there.outputs()[0], here.outputs()[0], rtol=1e-4, atol=1e-5)
        assert all(k.seconds is None for k in there.kernels())
        assert there.memory().source == "runtime"


def test_a_compiled_module_computes_the_same_and_its_kernels_have_no_times(device: WorkerDevice) -> None:
    spec = "torch:cpu,mode=compile"
    with devices.open(spec, timeout_s=200) as compiled, compiled.load(tiny()) as fast, device.load(tiny()) as slow:
        np.testing.assert_allclose(fast.outputs()[0], slow.outputs()[0], rtol=1e-5, atol=1e-6)
        kernels = fast.kernels()
    assert [(k.kernel.kind, k.seconds, k.is_output) for k in kernels] == [
        ("aten.linear:Gemm", None, False),
        ("aten.relu:Relu", None, True),
    ]
