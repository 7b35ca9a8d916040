"""A run's report as a page, and its figures as files."""

from __future__ import annotations

import os
from pathlib import Path

from devices.atomic import write_text
from hwnas.report import pictures
from hwnas.report.page import render
from hwnas.report.run_folder import report_data
from hwnas.report.sections import sections


def write_report(run: str | os.PathLike[str], baselines: str | os.PathLike[str] | None = None) -> Path:
    """Write ``report.html`` of a run, as far as the run went; its path. Arguments as for
    :func:`hwnas.report.run_folder.report_data`.

    Raises:
        InvalidData: the folder holds no run that has searched, or the other file no comparison.
    """
    page = Path(run) / "report.html"
    write_text(page, render(report_data(run, baselines)))
    return page


def write_pictures(
    run: str | os.PathLike[str], folder: str | os.PathLike[str], baselines: str | os.PathLike[str] | None = None
) -> list[Path]:
    """Write every figure of a run's report into a folder, as PNG; the paths. Arguments as for :func:`write_report`.

    Raises:
        InvalidData: as there.
        HwnasError: there is no browser to draw them.
    """
    made = sections(report_data(run, baselines))
    return pictures.write({plot.id: plot.figure for section in made for plot in section.figures}, folder)
