"""The scripts behind the predictor's figures: their arithmetic, and one small measurement from end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import devices
import hwnas.spaces
import profilers
from benchmarks import budget_fidelity, onboarding_cost, predictor_accuracy, truth
from benchmarks.budget_fidelity import Case
from benchmarks.prediction_tables import README_HEADER, baselines, memory_row, row
from benchmarks.truth import PROFILE, TIMELINE, Measured
from devices.profile import load as load_profile
from hwnas.spaces.mobile import MobileSpace
from predictors import load_or_fit

FAMILIES = ("MobileNet", "1-D audio")


def cells(line: str) -> list[str]:
    return line.split()


def test_a_row_counts_errors() -> None:
    found = cells(row("name", np.array([1.04, 1.92, 3.6]), np.array([1.0, 2.0, 3.0])))
    rmspe = np.sqrt((0.04**2 + 0.04**2 + 0.2**2) / 3)
    assert found == ["name", "66.7%", "66.7%", f"{rmspe:.2%}", "4.00%", "20.0%", "1.000"]
    assert "median 5.00%" in memory_row("memory", np.array([105.0, 100.0, 90.0]), np.full(3, 100.0))


def test_work_is_that_of_the_space() -> None:
    space = hwnas.spaces.open("mobile", (3, 32, 32), 10)
    assert isinstance(space, MobileSpace)
    for genotype in space.sample(np.random.default_rng(0), 5):
        assert budget_fidelity.macs(space.graph(genotype)) == space.macs(genotype)


def test_a_budget_is_kept_or_not() -> None:
    found = [Case("a", 1.0, 1.1, 0.9, 2), Case("a", 2.0, 1.9, 1.9, 1), Case("b", 4.0, 3.0, 3.0, 1)]
    a, b, together = (cells(line) for line in budget_fidelity.table(found)[2:])
    assert a == ["a", "2", "50.0%", "102.5%", "+10.0%", "100.0%", "92.5%", "1.5"]
    assert b == ["b", "1", "100.0%", "75.0%", "-25.0%", "100.0%", "75.0%", "1.0"]
    assert together[:4] == ["all", "3", "66.7%", "95.0%"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Measured, Path]]:
    folder = tmp_path_factory.mktemp("kept")
    space = hwnas.spaces.open("mobile", (1, 8, 8), 10, depths=[1], kernels=[3], resolutions=[8], squeeze_excite=[False])
    profiled = [space.graph(g) for g in space.sample(np.random.default_rng(0), 9)]
    networks = truth.of_families(FAMILIES, 3, "float32", folder)
    small = [n for n in networks if sum(t.size for t in n.graph.tensors.values()) < 3e6]
    with devices.open("onnxruntime:threads=1") as device:
        profilers.profile(device, timed=profiled, path=folder / PROFILE)
        yield truth.measure(device, small, folder, profile_s=None, truth_s=200), folder


def test_truth_is_measured_twice_and_not_again(kept: tuple[Measured, Path]) -> None:
    measured, folder = kept
    assert {n.family for n in measured.networks} == set(FAMILIES)
    twice = np.isfinite(measured.second)
    assert twice.any()
    assert np.all(np.abs(measured.second / measured.first - 1)[twice] < 1)
    again = truth.load(measured.networks, folder)
    assert np.array_equal(again.latency_ms, measured.latency_ms)


def test_the_report_has_every_family_and_baselines_that_did_not_see_it(kept: tuple[Measured, Path]) -> None:
    measured, folder = kept
    path = folder / PROFILE
    lines, value = predictor_accuracy.report(measured, load_or_fit(path), load_profile(path))
    text = "\n".join(lines)
    for name in (*FAMILIES, "all families", "measured again", "FLOPs, linear", "nn-Meter", "memory: 1-D audio"):
        assert f"\n{name}" in text
    line = predictor_accuracy.summary(measured, load_or_fit(path), load_profile(path), 12.4)
    assert line.startswith("| `onnxruntime:threads=1` | ")
    assert line.split(" | ")[2] == "12"
    assert line.count("|") == README_HEADER.splitlines()[0].count("|")
    assert len(value["networks"]) == len(measured.networks)
    for network in value["networks"]:
        latency, low, high = network["exact"]
        assert low <= latency <= high
    held_out = predictor_accuracy.held_out(measured)
    audio = np.array([n.family == FAMILIES[1] for n in measured.networks])
    others = {n.graph.digest() for n, out in zip(measured.networks, audio, strict=True) if not out}
    known = predictor_accuracy.only(measured.truth, others)
    lowerings = [
        measured.truth.lowerings[n.graph.digest()] for n, out in zip(measured.networks, audio, strict=True) if out
    ]
    for name, predicted in baselines(known, lowerings).items():
        assert np.array_equal(held_out[name][audio], predicted)


def test_a_profile_is_cut_where_it_was(kept: tuple[Measured, Path]) -> None:
    measured, folder = kept
    raw = (folder / PROFILE).read_bytes()
    some = raw[: raw.index(b"\n", len(raw) // 3) + 1]
    (folder / TIMELINE).write_text(json.dumps([(0.0, 0), (2.5, len(some)), (9.0, len(raw))]))
    assert onboarding_cost.cut(folder, 1) is None
    early, late = onboarding_cost.cut(folder, 3), onboarding_cost.cut(folder, 10)
    assert early is not None
    assert late == load_profile(folder / PROFILE)
    assert 0 < len(early.lowerings) < len(late.lowerings)
    lines, values = onboarding_cost.cost(measured, folder, [1, 10])
    assert "nothing was measured yet" in lines[1]
    assert values[0]["networks"] == len(late.lowerings)
