"""A run for several devices: each is profiled, has its own budget, and is measured as a candidate and for the certificate."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import Loopback
from devices import journal
from devices.ssh import target
from devices.ssh.address import split
from hwnas import tasks
from hwnas.budget import Budget
from hwnas.bundle import certificate
from hwnas.bundle.certificate import Limits
from hwnas.bundle.certify import certify, certify_again
from hwnas.bundle.measured_files import DeviceTerms
from hwnas.config import Config, load
from hwnas.errors import InvalidConfig
from hwnas.report.data import ReportData
from hwnas.report.run_folder import report_data as report_of
from hwnas.report.text import headline
from hwnas.run import run

FIRST, SECOND = "onnxruntime:threads=1", "openvino:threads=1"


def configured(small_config: Path, second: dict[str, Any], **sections: dict[str, Any]) -> Config:
    """The small run, shorter, for two devices."""
    values = load(small_config).model_dump(mode="json", exclude_none=True)
    values["search"] |= {"evaluations": 6}
    values["train"] |= {"epochs": 1}
    for name, section in sections.items():
        values[name] |= section
    return Config.model_validate(values | {"also": [{"spec": SECOND, "profile_time_limit_s": 4, **second}]})


@pytest.fixture(scope="module")
def config(small_run: Path, small_config: Path) -> Config:
    """With a second device of which a network needs more memory than of the first, but may need as much."""
    return configured(small_config, {"latency_ms": 0.9, "memory_bytes": 400_000})


@pytest.fixture(scope="module")
def finished(config: Config, small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    (folder / "work").mkdir()
    shutil.copy(small_run / "work" / "supernet.safetensors", folder / "work")
    return run(config, folder).folder


def unit(folder: Path, name: str) -> dict[str, Any]:
    _, units = journal.read(folder / "journal.jsonl")
    return next(unit for unit in reversed(units) if unit["unit"] == name)


def test_every_device_is_profiled_and_has_limits_of_its_own(finished: Path, config: Config) -> None:
    assert (finished / "device-2.profile.jsonl").exists()
    assert not (finished / "device.profile.jsonl").exists(), "the first one's is given"
    first, second = (unit(finished, name)["budget"] for name in ("budget", "budget 2"))
    assert first == {"latency_ms": 1.0, "memory_bytes": 190_000, "model_bytes": None}
    assert second == {"latency_ms": 0.9, "memory_bytes": 400_000, "model_bytes": None}
    assert load(finished / "config.toml") == config


def test_the_candidate_is_measured_on_every_device(finished: Path) -> None:
    chosen = unit(finished, "chosen")
    assert [on["device"] for on in chosen["on"]] == [FIRST, f"{SECOND},precision=f32"]
    for on in chosen["on"]:
        limits = {"latency_ms": on["measured"]["upper_ms"], "memory_bytes": on["measured"]["memory_bytes"]}
        assert on["within_budget"] == all(value <= on["budget"][name] for name, value in limits.items())
    assert (chosen["excess"] == 0) == all(on["within_budget"] for on in chosen["on"])
    in_terms_of_the_first = [
        on["measured"]["memory_bytes"] * chosen["on"][0]["budget"]["memory_bytes"] / on["budget"]["memory_bytes"]
        for on in chosen["on"]
    ]
    assert chosen["measured"]["memory_bytes"] == pytest.approx(max(in_terms_of_the_first))


def test_the_certificate_has_what_was_measured_on_every_device(finished: Path) -> None:
    issued = certificate.read(finished / "bundle")
    (second,) = issued.also
    assert (issued.device_info.spec, second.device_info.spec) == (FIRST, f"{SECOND},precision=f32")
    assert second.budget.memory_bytes == 400_000
    assert second.budget.latency_ms == unit(finished, "budget 2")["budget"]["latency_ms"]
    assert "model.onnx" in second.files
    assert second.files["model.onnx"].sha256 == issued.files["model.onnx"].sha256
    assert second.files["model.onnx"].p50_ms != issued.files["model.onnx"].p50_ms
    assert second.files["model.onnx"].predicted_p50_ms is not None
    for record in (issued, second):
        assert record.files[record.deploy].accuracy > 0.3
    assert issued.within_budget == (issued.files[issued.deploy].within_budget and second.within_budget)
    assert second.in_words() in issued.notes
    assert second.in_words() in (finished / "bundle" / "README.md").read_text()


def test_it_is_certified_again_on_all_devices_or_on_one(finished: Path) -> None:
    former = certificate.read(finished / "bundle")
    again = certify_again(finished / "bundle")
    assert again == certificate.read(finished / "bundle")
    assert again.created >= former.created
    assert [record.device for record in again.also] == [record.device for record in former.also]
    assert again.also[0].budget == former.also[0].budget
    alone = certify_again(finished / "bundle", device=SECOND)
    assert alone.also == ()
    assert alone.budget == former.also[0].budget
    assert alone.device == former.also[0].device


def test_a_budget_that_one_device_breaks_is_not_kept(finished: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(finished / "bundle", tmp_path / "bundle"))
    tight = DeviceTerms(SECOND, Limits(memory_bytes=1000))
    issued = certify(bundle, Budget(latency_ms=1000), FIRST, task=tasks.open("digits"), also=[tight])
    assert issued.files[issued.deploy].within_budget
    assert not issued.within_budget
    assert "the budget is NOT kept" in issued.also[0].in_words()
    assert f"The budget is kept on {FIRST}" in (bundle / "README.md").read_text()


def test_a_further_device_may_be_elsewhere(
    config: Config, small_config: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "work", tmp_path / "work")
    with Loopback(tmp_path / "machine") as machine:
        monkeypatch.setenv("PATH", str(machine.bin), prepend=os.pathsep)
        address, runtime = split(f"{machine.address}/onnxruntime")
        assert address is not None
        assert target.setup(address, runtime, python=sys.executable).unavailable == ""
        there = f"{machine.address}/onnxruntime:threads=2"
        found = run(configured(small_config, {"spec": there}), tmp_path, until="search")
        bundle = Path(shutil.copytree(finished / "bundle", tmp_path / "another"))
        terms = DeviceTerms(there, Limits(latency_ms=1000))
        issued = certify(bundle, Budget(latency_ms=1000), FIRST, task=tasks.open("digits"), also=[terms])
    chosen = unit(tmp_path, "chosen")
    assert [on["device"] for on in chosen["on"]] == [FIRST, "onnxruntime:threads=2"]
    assert chosen["genotype"] == list(found.genotype)
    (second,) = issued.also
    assert second.device_info.spec == "onnxruntime:threads=2"
    assert second.files[second.deploy].within_budget


def test_the_report_is_of_all_devices(finished: Path) -> None:
    assert f"for several devices: {FIRST}, {SECOND},precision=f32." in report_of(finished).notes[0]


def test_the_report_says_where_a_budget_is_not_kept(report_data: ReportData) -> None:
    assert report_data.certificate is not None
    also = [{"device": {"spec": SECOND}, "within_budget": False}]
    told = replace(report_data, certificate={**report_data.certificate, "within_budget": False, "also": also})
    assert headline(told).endswith(f"the budget is kept here, but not that of {SECOND}.")


@pytest.mark.parametrize(
    ("second", "search", "wanted"),
    [("torch:cpu", {}, "runs no ONNX files"), (SECOND, {"precision": "int8"}, "INT8 files for onnxruntime")],
)
def test_devices_that_cannot_have_the_same_files_are_refused_at_once(
    small_config: Path, tmp_path: Path, second: str, search: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(InvalidConfig, match=wanted):
        run(configured(small_config, {"spec": second}, search=search), tmp_path / "run")
    assert not (tmp_path / "run").exists()
