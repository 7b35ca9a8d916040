"""The line through the baselines, and how far above it a network lies."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import InvalidData
from hwnas.report.comparison import line, paired, read
from hwnas.report.data import ReportData

LATENCY = np.array([0.4, 0.1, 0.2, 0.3])
ACCURACY = np.array([0.94, 0.90, 0.93, 0.92])


def test_the_line_joins_what_no_other_beats() -> None:
    through = line(LATENCY, ACCURACY)
    assert through.front.tolist() == [1, 2, 0]
    shares = through.weights(0.1 * np.sqrt(2))
    assert shares is not None
    assert shares == pytest.approx([0, 0.5, 0.5, 0])
    assert through.weights(0.09) is None
    slow = through.weights(5.0)
    assert slow is not None
    assert slow.tolist() == [1, 0, 0, 0]


def test_latency_at_an_accuracy_is_the_inverse() -> None:
    through = line(LATENCY, ACCURACY)
    at = through.latency_at(0.915)
    assert at == pytest.approx(0.1 * np.sqrt(2))
    assert through.latency_at(0.95) is None
    assert through.latency_at(0.85) is None


def test_one_baseline_is_a_line() -> None:
    through = line(LATENCY[:1], ACCURACY[:1])
    shares = through.weights(0.5)
    assert shares is not None
    assert shares.tolist() == [1]
    assert through.latency_at(0.94) == pytest.approx(0.4)


def test_errors_are_paired_by_image() -> None:
    correct = np.random.default_rng(0).random((2, 4000)) < 0.9
    gain, error = paired(correct[0], correct, np.array([0.5, 0.5]))
    assert gain == pytest.approx(0.5 * (correct[0].mean() - correct[1].mean()))
    assert error == pytest.approx(0.5 * (correct[0].astype(float) - correct[1]).std() / np.sqrt(4000), rel=1e-3)
    assert paired(correct[0], correct, np.array([1.0, 0.0])) == (0.0, 0.0)


def test_a_comparison_comes_back_from_its_file(report_data: ReportData, tmp_path: Path) -> None:
    assert report_data.comparison is not None
    report_data.comparison.write(tmp_path / "comparison.json")
    assert read(tmp_path / "comparison.json") == report_data.comparison


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 1}', '{"schema": 2}'])
def test_what_is_no_comparison_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    path.write_text(content)
    with pytest.raises(InvalidData, match="is no comparison"):
        read(path)
    with pytest.raises(InvalidData, match="is no comparison"):
        read(tmp_path / "missing.json")


def test_unknown_keys_are_refused(report_data: ReportData, tmp_path: Path) -> None:
    assert report_data.comparison is not None
    dataclasses.replace(report_data.comparison, networks=()).write(tmp_path / "c.json")
    text = (tmp_path / "c.json").read_text().replace('"task"', '"tsak"')
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InvalidData, match="tsak"):
        read(tmp_path / "c.json")
