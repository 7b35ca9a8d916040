"""How all figures look: plotly figures in the report's light colours; the page itself swaps them for the dark ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Light and dark, by what a colour says. The page swaps them by value, so no two may be equal.
COLOURS = {
    "paper": ("#fcfbf9", "#141416"),
    "ink": ("#1d1d20", "#ebebee"),
    "muted": ("#66666d", "#9d9da6"),
    "line": ("#e3e1dc", "#303036"),
    "shade": ("#f1efea", "#1f1f23"),
    "accent": ("#1b6aa5", "#74b8ec"),
    "soft": ("#a9c5dc", "#3d5f7a"),
    "winner": ("#c4432b", "#ff8163"),
    "memory": ("#b57a14", "#e2b355"),
    "good": ("#2c7a4b", "#67c48f"),
}
INK, MUTED, LINE, SHADE = (COLOURS[c][0] for c in ("ink", "muted", "line", "shade"))
ACCENT, SOFT, WINNER = (COLOURS[c][0] for c in ("accent", "soft", "winner"))
BOUND_COLOURS = {"compute": ACCENT, "bytes": COLOURS["memory"][0], "overhead": MUTED}

EXPORTED = {"color": WINNER, "size": 11, "symbol": "diamond", "line": {"color": COLOURS["paper"][0], "width": 1}}


def figure(x_title: str, y_title: str) -> go.Figure:
    """An empty figure. The name of its y axis is in ``layout.meta``: the page writes it above the figure."""
    import plotly.graph_objects as go

    axis = {
        "gridcolor": LINE,
        "linecolor": LINE,
        "tickcolor": LINE,
        "zeroline": False,
        "zerolinecolor": MUTED,
        "automargin": True,
        "tickfont": {"color": MUTED},
        "nticks": 7,
    }
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "itemwidth": 30}
    return go.Figure(
        layout={
            "template": "none",
            "autosize": True,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 12, "color": INK},
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "xaxis": axis
            | {"title": _title(x_title), "showgrid": False, "ticks": "outside", "ticklen": 4, "showline": True},
            "yaxis": axis,
            "meta": {"y_title": y_title},
            "legend": legend,
            "hoverlabel": {"bgcolor": COLOURS["paper"][0], "bordercolor": LINE, "font": {"color": INK, "size": 12}},
        }
    )


def _title(words: str) -> dict[str, Any]:
    return {"text": words, "font": {"color": MUTED, "size": 12}, "standoff": 8}


def focus(figure: go.Figure, values: NDArray[np.float64], kept: NDArray[np.float64]) -> None:
    """Set the y axis so that stray low values do not press everything else into a line; ``kept`` stay visible."""
    if not len(values):
        return
    high = float(max(values.max(), kept.max(initial=values.max())))
    typical = float(np.quantile(values, 0.05))
    low = max(float(values.min()), typical - (high - typical))
    low = min(low, float(kept.min(initial=low)))
    margin = 0.06 * (high - low) or 1.0
    figure.update_yaxes(range=[low - margin, high + margin])


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 of each decade, written as plain numbers."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
    return {"tickvals": ticks, "ticktext": [f"{t:g}" for t in ticks]} if len(ticks) > 1 else {}
