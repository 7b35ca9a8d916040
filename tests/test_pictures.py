"""Figures become PNG files, or it is said why not."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from hwnas import cli
from hwnas.errors import HwnasError
from hwnas.report import pictures, plots
from hwnas.report.data import ReportData

needs_browser = pytest.mark.skipif(not pictures.browser(), reason="needs Debian's chromium")


def size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:])
    return width, height


@needs_browser
def test_the_command_writes_every_figure(
    small_run: Path, report_data: ReportData, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report_data.comparison is not None
    report_data.comparison.write(tmp_path / "comparison.json")
    baselines = ["--baselines", str(tmp_path / "comparison.json")]
    assert cli.execute(["report", str(small_run), *baselines, "--png", str(tmp_path / "png"), "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    written = {path.name for path in (tmp_path / "png").iterdir()}
    assert {Path(path).name for path in answer["pictures"]} == written
    assert {"front.png", "comparison.png", "network-drawn.png", "confusion.png", "accuracy.png"} <= written
    assert {size(path) for path in (tmp_path / "png").iterdir()} == {(1680, 880)}
    assert "Against hand-designed networks" in Path(answer["report"]).read_text()


def test_without_a_browser_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HwnasError, match="there is none") as caught:
        pictures.write({"figure": plots.figure("x", "y")}, tmp_path)
    assert "report" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())
