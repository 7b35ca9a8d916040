"""Engines in bundles: exported beside the ONNX files, certified where the GPU is, named as not measured where it is not."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import devices
import hwnas.spaces
import hwnas.tasks
from devices import Device, ExecutedKernel, Graph, Lowering, Session, engine_file
from devices.errors import DeviceUnavailable, ProvenanceMismatch, UnsupportedOp
from devices.remote import WorkerDevice
from devices.runtimes import _cuda
from hwnas.bundle import certificate as certificates
from hwnas.bundle.certificate import FLOAT, INT8
from hwnas.bundle.certify import certify_again
from hwnas.bundle.engines import build_engines, check_space
from hwnas.bundle.files import ENGINES
from hwnas.bundle.formats import FP16, INT8_FOR_TENSORRT
from hwnas.bundle.readme import example
from hwnas.cli import execute
from hwnas.config import load
from hwnas.errors import InvalidData
from hwnas.run import run

if (
    importlib.util.find_spec("tensorrt_rtx") is None
):  # it has wheels for x86-64 only, where CI lets nothing be skipped for this
    pytest.skip("TensorRT for RTX is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def exported(small_config: Path, small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run for ONNX Runtime, to which engines were exported afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = small_run.with_name("with-engines")
        shutil.copytree(small_run, folder)
        run(load(small_config), folder, until="export", engine=True)
        yield folder


@pytest.fixture(scope="module")
def certified(small_config: Path, exported: Path) -> Path:
    run(load(small_config), exported, until="certify")
    return exported / "bundle"


@pytest.fixture
def bundle(certified: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(certified, tmp_path / "bundle"))


def test_export_puts_engines_of_every_precision_into_the_bundle(exported: Path, small_run: Path) -> None:
    bundle = exported / "bundle"
    for name, made_of in zip(ENGINES, (FLOAT, FP16, INT8_FOR_TENSORRT), strict=True):
        record = engine_file.read(bundle / name).record
        assert record.onnx_sha256 == certificates.sha256(bundle / made_of)
        assert record.precision == name.split(".")[1]
    assert (bundle / FLOAT).read_bytes() == (small_run / "bundle" / FLOAT).read_bytes()
    assert (bundle / INT8).read_bytes() == (small_run / "bundle" / INT8).read_bytes()
    for path in (FP16, INT8_FOR_TENSORRT):
        onnx.checker.check_model(onnx.load(bundle / path), full_check=True)


def test_exporting_again_does_nothing(small_config: Path, exported: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (exported / "bundle").iterdir()}
    run(load(small_config), exported, until="export", engine=True)
    assert {path.name: path.stat().st_mtime_ns for path in (exported / "bundle").iterdir()} == before


def test_the_certificate_says_that_engines_were_not_measured(certified: Path) -> None:
    found = certificates.read(certified)
    assert found.files.keys() == {FLOAT, INT8}
    assert tuple(found.unmeasured) == ENGINES
    for name, file in found.unmeasured.items():
        assert file.sha256 == certificates.sha256(certified / name)
        assert file.engine is not None
        assert (file.engine.library, file.engine.gpu) == ("tensorrt_rtx", None)
        assert "hwnas certify BUNDLE --device tensorrt" in file.reason
        assert abs(file.accuracy - found.files[FLOAT].accuracy) < 0.05
        assert file.agreement > 0.9
    assert found.unmeasured[ENGINES[0]].accuracy_lost is None
    assert found.unmeasured[ENGINES[2]].accuracy_lost is not None
    (note,) = found.notes
    assert note.startswith(f"Not measured: {', '.join(ENGINES)}; an engine runs on TensorRT only")
    assert note in (certified / "README.md").read_text()


def test_engines_may_be_built_again_but_only_of_the_same_files(bundle: Path) -> None:
    former = certificates.read(bundle)
    build_engines(bundle, targets=["sm86"])
    found = certify_again(bundle)
    assert found.files.keys() == former.files.keys()
    for name, file in found.unmeasured.items():
        assert file.engine is not None
        assert file.engine.targets == ("sm86",)
        assert (file.accuracy, file.agreement) == (former.unmeasured[name].accuracy, former.unmeasured[name].agreement)
    content = (bundle / FP16).read_bytes()
    (bundle / FP16).write_bytes(content + b"\x3a\x00")  # an empty name: the same network, another file
    with pytest.raises(ProvenanceMismatch, match=f"{FP16}: found"):
        certify_again(bundle)


def test_without_a_gpu_certifying_engines_says_so(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not _cuda.missing():
        pytest.skip("needs CUDA to be missing")
    assert execute(["certify", str(bundle), "--device", "tensorrt", "--json"]) == 4
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["kind"] == "DeviceUnavailable"
    assert "without an NVIDIA GPU" in error["message"]


def test_the_command_that_builds_engines_again(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert execute(["engines", str(bundle), "--target", "sm89", "--json"]) == 0
    value = json.loads(capfd.readouterr().out)
    assert tuple(value["engines"]) == ENGINES
    assert all(record["targets"] == ["sm89"] for record in value["engines"].values())
    assert execute(["engines", str(bundle), "--target", "sm35"]) == 4
    assert "not for 'sm35'" in " ".join(capfd.readouterr().err.split())


# --- on the machine with the GPU -------------------------------------------------------------------------------------


@final
class FakeTensorRtDevice(Device):
    """Stands in for a GPU: a device that says it is TensorRT's, takes graphs with engines only, and has ONNX Runtime run them."""

    def __init__(self, inner: WorkerDevice, sm: str) -> None:
        self._inner, self._sm = inner, sm
        self.spec = "tensorrt:launch=graph,gpu=0"
        self.info = replace(inner.info, spec=self.spec)

    @contextmanager
    def load(self, graph: Graph, inputs: Mapping[str, NDArray[Any]] | None = None) -> Iterator[Session]:
        if graph.model is not None:  # what a bundle holds; sentinels are made by the profiler
            assert graph.engine is not None
            record = graph.engine.record
            record.require_fits(library=record.library, version=record.version, gpu="a GPU", sm=self._sm)
        with self._inner.load(graph, inputs) as session:
            yield session

    def lower(self, graph: Graph, *, memory: bool = True) -> Lowering:
        return self._inner.lower(graph, memory=memory)

    def kernels(self, graph: Graph) -> Sequence[ExecutedKernel]:
        return self._inner.kernels(graph)

    def native(self, graph: Graph) -> bytes | None:
        return self._inner.native(graph)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture(params=["sm86"])
def fake_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = devices.open

    def opened(spec: str, **_: Any) -> Device:
        return FakeTensorRtDevice(real("onnxruntime:threads=1"), request.param)

    monkeypatch.setattr(devices, "open", opened)
    monkeypatch.setattr(devices, "resident_bytes", lambda spec, graph: 1)


@pytest.mark.usefixtures("fake_gpu")
def test_where_the_gpu_is_the_engines_are_certified(bundle: Path) -> None:
    former = certificates.read(bundle)
    found = certify_again(bundle, device="tensorrt")
    assert tuple(found.files) == ENGINES
    assert {f.precision for f in found.files.values()} == {"fp32", "fp16", "int8"}
    for name, file in found.files.items():
        assert (file.sha256, file.engine) == (former.unmeasured[name].sha256, former.unmeasured[name].engine)
        assert file.bytes == (bundle / name).stat().st_size
        assert file.p50_ms > 0
    assert found.deploy in ENGINES
    assert found.unmeasured.keys() == {FLOAT, INT8}
    assert "the engines are what runs on TensorRT" in found.unmeasured[FLOAT].reason
    text = example(found)
    ast.parse(text)
    assert f'graph(Path(), "{found.deploy}")' in text


@pytest.mark.usefixtures("fake_gpu")
def test_an_engine_that_the_certificate_does_not_know_needs_the_task(bundle: Path) -> None:
    former = certificates.read(bundle)
    former.model_copy(update={"unmeasured": {}}).save(bundle)
    with pytest.raises(InvalidData, match=f"{ENGINES[0]} is younger than the certificate") as caught:
        certify_again(bundle, device="tensorrt")
    assert "--task" in caught.value.hint
    found = certify_again(bundle, device="tensorrt", task=hwnas.tasks.open("digits"))
    assert found.files[ENGINES[0]].accuracy == former.files[FLOAT].accuracy


@pytest.mark.usefixtures("fake_gpu")
@pytest.mark.parametrize("fake_gpu", ["sm90"], indirect=True)
def test_engines_for_other_gpus_are_not_certified(bundle: Path) -> None:
    build_engines(bundle, targets=["sm86", "sm89"])
    with pytest.raises(ProvenanceMismatch, match="targets: found sm86, sm89, here sm90") as caught:
        certify_again(bundle, device="tensorrt")
    assert "hwnas engines BUNDLE" in caught.value.hint


# --- before a search -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hwnas.spaces.names())
def test_the_parser_looks_at_every_operator_of_a_space_before_a_search(name: str) -> None:
    looked_at = check_space(hwnas.spaces.open(name, (3, 32, 32), 10))
    assert looked_at >= 3
    assert looked_at % 3 == 0  # precisions


def test_a_space_with_an_operator_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    space = hwnas.spaces.open("mobile", (1, 8, 8), 4, depths=[1], stem_width=8)
    real = space.graph

    def graph(genotype: NDArray[np.int64]) -> Graph:
        made = real(genotype)
        return replace(made, nodes=tuple(replace(n, op="Det") if n.op == "HardSwish" else n for n in made.nodes))

    monkeypatch.setattr(space, "graph", graph)
    with pytest.raises(
        UnsupportedOp, match=r"FP32 of the network .*'activation': 'hardswish'.*node '.*' \(Det\)"
    ) as caught:
        check_space(space)
    assert "[space]" in caught.value.hint


def test_a_run_that_cannot_have_engines_ends_before_it_begins(
    small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hwnas.bundle.engines

    def refused(_: object) -> int:
        raise DeviceUnavailable("TensorRT is not installed.")

    monkeypatch.setattr(hwnas.bundle.engines, "check_space", refused)
    config = load(small_config)
    with pytest.raises(DeviceUnavailable):
        run(config.model_copy(update={"export": config.export.model_copy(update={"engine": True})}), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.profile.jsonl"))
