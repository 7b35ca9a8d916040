"""Figures as PNG files, drawn by Chromium (or Chrome), which plotly needs for its own images too."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from devices.atomic import write_bytes
from hwnas.errors import HwnasError
from hwnas.report.plots import COLOURS
from hwnas.report.script_json import script_json

if TYPE_CHECKING:
    import plotly.graph_objects as go

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = ("--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
_SIZE = 840, 440  # CSS pixels; the files have twice as many
_TIME_LIMIT_S = 120.0

_DRAW = """
(async () => {
  for (const [id, figure] of Object.entries(JSON.parse(document.getElementById("figures").textContent))) {
    const text = document.createElement("pre");
    text.id = id;
    text.textContent = await Plotly.toImage(figure, { format: "png", width: WIDTH, height: HEIGHT, scale: 2 });
    document.body.append(text);
  }
})();
""".replace("WIDTH", str(_SIZE[0])).replace("HEIGHT", str(_SIZE[1]))


def write(pictures: Mapping[str, go.Figure], folder: str | os.PathLike[str]) -> list[Path]:
    """Write each figure, by its name, as ``NAME.png`` into a folder; the paths.

    Raises:
        HwnasError: there is no browser, or it does not draw.
    """
    from plotly.offline import get_plotlyjs

    whole = {name: _standing_alone(figure).to_plotly_json() for name, figure in pictures.items()}
    page = (
        '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>'
        f'<script type="application/json" id="figures">{script_json(whole)}</script>'
        f"<script>{get_plotlyjs()}</script><script>{_DRAW}</script></body></html>"
    )
    drawn = dict(re.findall(r'<pre id="([^"]+)">data:image/png;base64,([^<]+)</pre>', _opened(page)))
    missing = sorted(set(pictures) - set(drawn))
    if missing:
        raise HwnasError(f"The browser did not draw {', '.join(missing)}.", hint="Try again; the report has them too.")
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name, png in drawn.items():
        write_bytes(out / f"{name}.png", base64.b64decode(png))
    return [out / f"{name}.png" for name in pictures]


def browser() -> str | None:
    """Path of the browser, or None."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def _standing_alone(figure: go.Figure) -> go.Figure:
    """A copy with what the page gives it otherwise: a ground and the name of its y axis."""
    import plotly.graph_objects as go

    paper = COLOURS["paper"][0]
    made = go.Figure(figure)
    made.update_layout(
        paper_bgcolor=paper, plot_bgcolor=paper, margin={"l": 16, "r": 24, "t": 24, "b": 16}, font_size=14
    )
    made.update_yaxes(title={"text": figure.layout.meta["y_title"], "font_color": COLOURS["muted"][0]})
    made.update_xaxes(title_font_size=14).update_yaxes(title_font_size=14)
    return made


def _opened(page: str) -> str:
    """The page's elements after its scripts have run."""
    found = browser()
    if found is None:
        raise HwnasError(
            "PNG files are drawn by Chromium, and there is none.",
            hint="Install it (Debian: apt install chromium), or take the figures from report.html.",
        )
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root Chromium starts only without; the page is our own
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "figures.html")
        path.write_text(page, encoding="utf-8")
        command = [
            found, *_FLAGS, *sandbox, f"--user-data-dir={temporary}/profile", "--virtual-time-budget=60000", "--dump-dom",
            path.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=True)  # noqa: S603 - a browser, by its full path
        except (subprocess.SubprocessError, OSError) as error:
            raise HwnasError(f"{found} cannot draw: {error}.", hint="Check that it starts.") from error
    return done.stdout
