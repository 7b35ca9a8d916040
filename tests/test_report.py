"""The report says what happened, with whatever there is, and never more than that."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwnas.budget import Budget
from hwnas.report import figures, plots
from hwnas.report import text as report_text
from hwnas.report.data import ReportCandidates, ReportCheck, ReportData
from hwnas.report.effects import Interval
from hwnas.report.page import render


def text_of(page: str) -> str:
    """What a reader sees: no scripts, no styles, no tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, flags=re.S)
    assert found is not None
    made: dict[str, Any] = json.loads(found[1])
    return made


def with_file(data: ReportData, **changes: Any) -> ReportData:
    """``data`` with the deployed file's certificate changed."""
    certificate = json.loads(json.dumps(data.certificate))
    certificate["files"][certificate["deploy"]] |= changes
    certificate["within_budget"] = certificate["files"][certificate["deploy"]]["within_budget"]
    return dataclasses.replace(data, certificate=certificate)


def test_the_headline_says_what_was_found(report_data: ReportData) -> None:
    assert report_text.headline(report_data) == "91.2 % accuracy in 0.312 ms of 0.4 ms: the budget is kept."
    page = text_of(render(report_data))
    assert "91.2 % accuracy in 0.312 ms of 0.4 ms: the budget is kept." in page
    assert "Deploy model.int8.onnx: 265 KiB on disk, 596 KiB of memory" in page


def test_a_broken_budget_is_said_in_the_headline(report_data: ReportData) -> None:
    slow = with_file(report_data, p50_ms=0.44, within_budget=False)
    assert report_text.headline(slow).endswith("the budget is not kept (latency).")
    close = with_file(report_data, p50_ms=0.399, ci95_ms=[0.39, 0.41], within_budget=False)
    assert "upper bound is above the limit" in report_text.headline(close)


def test_an_unstable_measurement_is_said(report_data: ReportData) -> None:
    assert report_text.notes(report_data)[1:] == ["One round was repeated."]
    page = text_of(render(with_file(report_data, stable=False)))
    assert "The machine was disturbed while model.int8.onnx was measured; its figures may not repeat." in page


def test_slower_int8_is_said() -> None:
    files = {
        "a": {"precision": "fp32", "p50_ms": 0.3, "bytes": 100, "accuracy": 0.9},
        "b": {"precision": "int8", "p50_ms": 0.4, "bytes": 30, "accuracy": 0.88},
    }
    verdict = report_text.int8_verdict(files)
    assert verdict.startswith("INT8 is slower here, at 0.75 times the speed of FP32")
    assert "30 % of the size" in verdict
    assert "2.00 points less accurate" in verdict
    assert report_text.int8_verdict({"a": files["a"]}) == ""


def test_a_run_without_anything_but_a_search_has_a_page(report_data: ReportData) -> None:
    bare = ReportData(
        report_data.title, report_data.task, report_data.device, Budget(memory_bytes=1000), report_data.candidates
    )
    page = render(bare)
    assert "nothing has been certified yet" in text_of(page)
    assert set(figures_of(page)) == {"front", "progress", "feasible"}


def test_a_run_without_candidates_has_a_page(report_data: ReportData) -> None:
    none = np.zeros(0)
    empty = ReportCandidates(none, none, none.astype(bool), none.astype(np.int64), "supernet", (), None)
    page = render(ReportData("t", "digits", report_data.device, Budget(latency_ms=1.0), empty))
    assert "No network has been chosen yet; 0 were looked at." in text_of(page)
    assert figures_of(page) == {}


def test_networks_without_an_accuracy_are_left_out_of_the_figures(report_data: ReportData) -> None:
    n = 20
    accuracy = np.where(np.arange(n) % 2 == 0, 0.9, np.nan)
    candidates = ReportCandidates(
        np.linspace(0.1, 0.5, n), accuracy, np.arange(n) % 2 == 0, np.zeros(n, np.int64), "training", (0,), 0
    )
    page = render(dataclasses.replace(report_data, candidates=candidates))
    assert "20 networks were looked at, 10 of them within the budget." in text_of(page)
    assert "NaN" not in json.dumps(figures_of(page))


def test_the_best_so_far_starts_with_the_first_within_the_budget() -> None:
    accuracy = np.array([0.9, 0.8, 0.7, 0.75, 0.6])
    feasible = np.array([False, False, True, True, True])
    candidates = ReportCandidates(accuracy, accuracy, feasible, np.zeros(5, np.int64), "training", (), None)
    best = figures.progress(candidates).data[1]
    assert best.x.tolist() == [3, 4, 5]
    assert best.y.tolist() == [70.0, 75.0, 75.0]


def test_every_finding_is_said_in_words(report_data: ReportData) -> None:
    page = text_of(render(report_data))
    for sentence in (
        "its rank correlation with what was evaluated (Kendall’s τ) came to 0.74.",
        "Most for accuracy did stage4.width (16 → 24: +4.00 points, +10.0 % latency).",
        "explain 80.0 % of the differences in estimated accuracy between 400 networks",
        "Search and training were repeated with 3 seeds: 91.21 ± 0.20 % of the test images",
        "1 of 1 found networks lie above the line through the best hand-designed ones.",
        "took 10.0 minutes, once.",
        "+1.10 points ± 0.30",
        "Of 10,000 test images 720 are classified wrongly. Most often T-shirt/top is taken for Trouser: 0.8 % of them.",
        "Trained from the supernet’s weights for 8 epochs, it got 92.0 % of the validation images right.",
        "The first is delivered: +1.00 points.",
        "INT8 pays here.",
    ):
        assert sentence in page, sentence


def test_only_decisions_beyond_doubt_are_called_so(report_data: ReportData) -> None:
    assert report_data.effects is not None
    unsure = tuple(
        dataclasses.replace(effect, accuracy=Interval(0.01, -0.01, 0.03)) for effect in report_data.effects.effects
    )
    page = text_of(
        render(dataclasses.replace(report_data, effects=dataclasses.replace(report_data.effects, effects=unsure)))
    )
    assert "No decision alone has an effect on accuracy beyond doubt." in page


def test_a_long_search_stays_a_light_page(report_data: ReportData) -> None:
    n = 100_000
    rng = np.random.default_rng(0)
    candidates = ReportCandidates(
        rng.uniform(0.1, 0.4, n), rng.uniform(0.8, 0.9, n), np.ones(n, bool), np.arange(n) // 100, "supernet", (3, 5), 5
    )
    page = render(dataclasses.replace(report_data, candidates=candidates))
    assert len(page) - len(render(report_data)) < 500_000
    assert "A sample of 3,000 is drawn." in text_of(page)


def test_agreement_is_counted_on_held_out_networks_only() -> None:
    checks = [ReportCheck(str(i), 1.0 + 0.01 * i, 1.0 + 0.011 * i, "validation") for i in range(10)]
    checks += [ReportCheck("model.onnx", 5.0, 1.0, "exported")]
    found = report_text.held_out_agreement(checks)
    assert found is not None
    assert found.networks == 10
    assert found.within_5_percent == 1.0
    assert found.tau == pytest.approx(1.0)
    assert report_text.held_out_agreement(checks[-1:]) is None


def test_what_comes_from_outside_is_escaped(report_with: Callable[[str], ReportData]) -> None:
    data = report_with("</script><script>alert(1)</script><img src=x onerror=alert(2)>")
    page = render(data)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 4


@pytest.mark.parametrize(
    ("value", "words"),
    [(812, "812 B"), (2048, "2.00 KiB"), (1_572_864, "1.50 MiB"), (64 * 2**30, "64.0 GiB"), (4096 * 2**30, "4096 GiB")],
)
def test_sizes_are_written_in_the_unit_that_fits(value: int, words: str) -> None:
    assert report_text.size(value) == words


def test_milliseconds_have_three_digits() -> None:
    assert [report_text.milliseconds(v) for v in (0.0123, 0.4, 8.0, 12.34, 1234.5)] == [
        "0.0123 ms", "0.400 ms", "8.00 ms", "12.3 ms", "1234 ms",
    ]  # fmt: skip


def test_limits_are_written_without_trailing_zeros() -> None:
    assert [report_text.limit_ms(v) for v in (0.4, 8.0, 0.42387, 200.0)] == ["0.4 ms", "8 ms", "0.424 ms", "200 ms"]


def test_counts_agree_with_their_noun() -> None:
    assert [report_text.count(n, "epoch") for n in (1, 8)] == ["1 epoch", "8 epochs"]


def test_colours_can_be_swapped_by_value() -> None:
    colours = [c for pair in plots.COLOURS.values() for c in pair]
    assert len(set(colours)) == len(colours)
