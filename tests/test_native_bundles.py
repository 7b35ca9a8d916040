"""Bundles for runtimes with a format of their own: what is shipped computes what the ONNX file does, and is what is certified."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import devices
import hwnas.spaces
import hwnas.tasks
from devices import journal
from devices.errors import ProvenanceMismatch
from devices.spec import runtime_of
from hwnas.budget import Budget
from hwnas.bundle import certificate, native
from hwnas.bundle import files as bundles
from hwnas.bundle.certificate import FLOAT, INT8
from hwnas.bundle.certify import certify, certify_again
from hwnas.bundle.export import export
from hwnas.config import load
from hwnas.errors import ExportError, InvalidData
from hwnas.int8 import flavours
from hwnas.int8.quantize import quantize
from hwnas.onnx_inference import logits
from hwnas.run import run
from hwnas.task import Task, normalize

WIDE = Budget(latency_ms=1000, memory_bytes=10**9, model_bytes=10**9)
FILES = {"torch": ["model.pt2"], "openvino": ["model.xml", "model.int8.xml"]}


@pytest.fixture(scope="module")
def task() -> Task:
    return hwnas.tasks.open("digits")


@pytest.fixture(scope="module", params=["torch:cpu", "openvino:threads=1"])
def certified(request: pytest.FixtureRequest, task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified bundle of a small network, with INT8 where the runtime has it, as a run makes it."""
    folder, spec = tmp_path_factory.mktemp("native"), str(request.param)
    space = hwnas.spaces.open(
        "mobile", task.input_shape, 10, activations=["relu"], resolutions=[8],
        widths=[[16], [24], [32]], depths=[1], stem_width=8, head_width=32,
    )  # fmt: skip
    module = space.build(space.smallest()).eval()
    export(space, space.smallest(), module, task, folder / FLOAT)
    if len(FILES[runtime_of(spec)]) > 1:
        quantize(folder / FLOAT, folder / INT8, normalize(task.train.images[:32], task, 8), flavours.of(spec))
    with devices.open(spec) as device:
        for name in FILES[runtime_of(spec)]:
            native.translate(device, bundles.source(folder, name), folder / name, lambda: module)
    certify(folder, WIDE, spec, task=task)
    return folder


@pytest.fixture
def bundle(certified: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(certified, tmp_path / "bundle"))


def test_the_files_compute_what_their_onnx_files_compute(certified: Path, task: Task) -> None:
    images = normalize(task.validation.images[:40], task, 8)
    with devices.open(certificate.read(certified).device_info.spec) as device:
        for name in certificate.read(certified).files:
            graph = bundles.graph(certified, name)
            wanted = logits(graph.to_onnx(), images)
            with device.load(graph) as session:
                found = session.infer(images)
                kinds = {k.kernel.kind for k in session.kernels()}
            if bundles.precision(name) == "fp32":
                assert native.difference(device, graph, images, wanted) < 1e-3
                with pytest.raises(ExportError, match="differ from the ONNX file's by up to 1"):
                    native.difference(device, graph, images, wanted + 1)
            else:
                assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
                assert any("I8" in kind and kind.endswith(":Conv") for kind in kinds)


def test_they_are_what_is_certified(certified: Path) -> None:
    content = json.loads((certified / certificate.NAME).read_text())
    names = FILES[content["device"]["spec"].partition(":")[0]]
    assert list(content["files"]) == names
    assert content["deploy"] in names
    assert list(content["unmeasured"]) == [name for name in (FLOAT, INT8) if (certified / name).exists()]
    for name, file in content["files"].items():
        parts = native.parts(certified / name)
        assert file["bytes"] == sum(part.stat().st_size for part in parts)
        assert file["sha256"] == certificate.sha256(parts[0])
        if len(parts) > 1:
            assert file["weights"]["sha256"] == certificate.sha256(parts[1])
        assert file["p50_ms"] > 0
        assert file["memory_bytes"] > 1000
        assert file["resident_bytes"] is not None
    full, onnx_file = content["files"][names[0]], content["unmeasured"][FLOAT]
    assert abs(full["accuracy"] - onnx_file["accuracy"]) < 0.01


def test_certified_again_from_the_bundle_alone_in_a_fresh_process(bundle: Path) -> None:
    former = certificate.read(bundle)
    command = [sys.executable, "-m", "hwnas.cli", "certify", str(bundle), "--json"]
    done = subprocess.run(command, capture_output=True, check=True)
    again = certificate.read(bundle)
    assert json.loads(done.stdout) == again.to_json()
    assert again.created >= former.created
    assert {n: (f.sha256, f.accuracy) for n, f in again.files.items()} == {
        n: (f.sha256, f.accuracy) for n, f in former.files.items()
    }


def test_readme_example_runs_and_classifies_as_certified(
    certified: Path, task: Task, by_readme: Callable[[Path, Task], float]
) -> None:
    found = certificate.read(certified)
    assert by_readme(certified, task) == pytest.approx(found.files[found.deploy].accuracy, abs=0.01)


def test_a_changed_or_missing_part_is_refused(bundle: Path) -> None:
    part = native.parts(bundle / next(iter(certificate.read(bundle).files)))[-1]
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ProvenanceMismatch, match=rf"{part.name}: found [0-9a-f]{{64}}, wanted"):
        certify_again(bundle)
    part.unlink()
    with pytest.raises(ProvenanceMismatch, match=f"{part.name}: found no file"):
        certify_again(bundle)


def test_on_another_device_the_onnx_files_are_certified(bundle: Path) -> None:
    names = list(certificate.read(bundle).files)
    found = certify_again(bundle, device="onnxruntime:threads=1")
    assert list(found.files) == [name for name in (FLOAT, INT8) if (bundle / name).exists()]
    assert list(found.unmeasured) == names
    assert "hwnas certify BUNDLE --device" in found.unmeasured[names[0]].reason


def test_the_loop_runs_on_torch_by_another_device_in_the_configuration(small_config: Path, tmp_path: Path) -> None:
    text = small_config.read_text().replace("[device]", '[device]\nspec = "torch"')
    text = text.replace("profile_time_limit_s = 12", "profile_time_limit_s = 20").replace(
        "latency_ms = 1.0", "latency_ms = 50"
    )
    text = text.replace(
        "resolutions = [8]", "resolutions = [8]\nexpansions = [3]\nwidths = [[16, 24], [24, 40], [32, 48, 64]]"
    )
    text = text.replace("memory_bytes = 190_000", "memory_bytes = 1_000_000").replace(
        "evaluations = 24", "evaluations = 6"
    )
    (tmp_path / "torch.toml").write_text(text)
    config = load(tmp_path / "torch.toml")
    assert config.device.spec == "torch"
    result = run(config, tmp_path / "run")
    bundle, issued = result.folder / "bundle", result.certificate
    assert issued is not None
    assert {path.name for path in bundle.iterdir()} == {FLOAT, "model.pt2", "certificate.json", "README.md"}
    assert (issued.deploy, issued.deploy_reason) == ("model.pt2", "There is no INT8 file for this device.")
    assert issued.within_budget
    assert issued.files["model.pt2"].accuracy > 0.5
    assert issued.files["model.pt2"].predicted_p50_ms is not None
    _, units = journal.read(result.folder / "journal.jsonl")
    assert [u["unit"] for u in units][-6:] == ["chosen", "trained", "exported", "quantized", "translated", "certified"]
    found = {u["unit"]: u for u in units}
    assert "torch runs torch modules" in found["quantized"]["refused"]
    assert found["translated"]["max_difference"]["model.pt2"] < 1e-2
    assert found["certified"]["kernels"]
    assert result.report is not None
    assert "model.pt2" in result.report.read_text()
    (bundle / "model.pt2").unlink()
    run(config, tmp_path / "run", until="export")
    assert certificate.sha256(bundle / "model.pt2") == issued.files["model.pt2"].sha256


def test_torch_does_without_a_program_in_no_case(bundle: Path) -> None:
    (bundle / "model.pt2").unlink(missing_ok=True)
    with pytest.raises(InvalidData, match=r"holds no model\.pt2") as caught:
        bundles.contents(bundle, "ssh://me@board/torch:cpu")
    assert 'spec = "torch"' in caught.value.hint
