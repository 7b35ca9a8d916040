"""The report: one HTML page that says what a run found, shows why, and needs nothing but itself to be read.

What is not there yet (no certificate, no training) is left out of the page, so a run that was stopped half-way can be looked at
too.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from hwnas.report import sections, text
from hwnas.report.plots import COLOURS
from hwnas.report.script_json import script_json

if TYPE_CHECKING:
    from hwnas.report.data import ReportData


def render(data: ReportData) -> str:
    """The page: UTF-8 HTML in one piece, about 5 MB, nearly all of it the plotting library.

    Whatever comes from outside (names, paths, classes) is escaped, and a content security policy that names the page's own
    scripts by hash lets nothing else run or be loaded.
    """
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    shown = sections.sections(data)
    figures = {f.id: f.figure.to_plotly_json() for section in shown for f in section.figures}
    plotly_js, page_js = get_plotlyjs(), _resource("page.js")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_resource("page.html.jinja"))
    certificate = data.certificate or {}
    return template.render(
        title=data.title,
        task=data.task,
        device=data.device.spec,
        headline=text.headline(data),
        lead=text.lead(data),
        notes=text.notes(data),
        budget=sections.budget(data),
        sections=shown,
        colours=COLOURS,
        colours_json=script_json([list(pair) for pair in COLOURS.values()]),
        figures_json=script_json(figures),
        plotly_js=plotly_js,
        page_js=page_js,
        script_hashes=f"{_csp_hash(plotly_js)} {_csp_hash(page_js)}",
        version=certificate.get("versions", {}).get("hwnas", ""),
        created=certificate.get("created", ""),
    )


def _resource(name: str) -> str:
    return files("hwnas.report").joinpath(name).read_text(encoding="utf-8")


def _csp_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
