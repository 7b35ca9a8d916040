"""What a run's files say reaches the report whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from devices import journal
from hwnas.bundle import certificate
from hwnas.report.data import ReportKernel
from hwnas.report.places import places
from hwnas.report.run_folder import report_data
from hwnas.spaces import open as open_space


def test_every_part_of_the_page_comes_from_the_run(small_run: Path) -> None:
    data = report_data(small_run)
    issued = certificate.read(small_run / "bundle")
    assert data.mistakes is not None
    counts = data.mistakes.confusion
    assert counts.shape == (10, 10)
    assert np.trace(counts) / counts.sum() == pytest.approx(issued.files[issued.deploy].accuracy)
    assert 0 < len(data.mistakes.worst) <= counts.sum() - np.trace(counts)
    assert data.mistakes.worst[0]["png"].startswith("data:image/png;base64,")
    assert [place.name for place in data.places] == ["stem", "stage1.0", "stage2.0", "stage3.0", "head"]
    assert sum(p.latency_ms for p in data.places) == pytest.approx(sum(k.latency_ms for k in data.kernels))
    assert data.places[0].shape[1:] == (8, 8)
    assert data.effects is not None
    assert data.effects.networks == 24
    assert {e.gene for e in data.effects.effects} <= set(data.choices or {})
    _, units = journal.read(small_run / "journal.jsonl")
    trained = next(unit for unit in units if unit["unit"] == "trained")
    assert data.histories[0].loss.tolist() == [epoch["loss"] for epoch in trained["history"]]
    assert data.histories[0].final == trained["validation_accuracy"]


def test_time_goes_to_the_place_that_the_nodes_are_named_after() -> None:
    space = open_space("mobile", (1, 8, 8), 10)
    graph = space.graph(space.largest())

    def kernel(*nodes: str, reads: int = -1) -> ReportKernel:
        return ReportKernel("Conv", nodes, 0.001, "compute", (reads,))

    kernels = [kernel(), kernel("stem/conv", reads=0), kernel(reads=1), kernel("stage1.0/expand_quant", reads=2)]
    kernels += [kernel("stage1.0/add", "head/linear", "elsewhere", reads=3), kernel(reads=4)]
    found = places(graph, kernels)
    taken = {place.name: place.latency_ms for place in found if place.latency_ms}
    assert taken == {"stem": 0.002, "stage1.0": 0.002, "head": 0.002}
    assert {p.name for p in places(graph, [kernel("?")]) if p.latency_ms} == {"stem"}
    assert [place.name for place in found] == list(space.places)
    assert found[-1].shape == (128, 4, 4)
    assert {place.stage for place in found} == {"stem", "stage1", "stage2", "stage3", "head"}
