"""The figures of the report, as plotly figures in the report's light colours; the page itself swaps them for the dark ones."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas import comparison as comparisons
from hwnas import report_text as text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from hwnas.comparison import Comparison
    from hwnas.report import Check, ReportCandidates, ReportHistory, ReportKernel

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
_INK, _MUTED, _LINE, _SHADE = (COLOURS[c][0] for c in ("ink", "muted", "line", "shade"))
_ACCENT, _SOFT, _WINNER = (COLOURS[c][0] for c in ("accent", "soft", "winner"))
_BOUND_COLOURS = {"compute": _ACCENT, "bytes": COLOURS["memory"][0], "overhead": _MUTED}

_EXPORTED = {"color": _WINNER, "size": 11, "symbol": "diamond", "line": {"color": COLOURS["paper"][0], "width": 1}}

MOST_POINTS = 3000


def front(candidates: ReportCandidates, limit_ms: float | None) -> go.Figure:
    """Accuracy against latency of what was looked at, the Pareto front, the winner, and what the budget shuts out."""
    figure = _figure("p50 latency, ms", "accuracy, %")
    known = np.isfinite(candidates.accuracy)
    accuracy = 100 * candidates.accuracy
    marked = [*candidates.front, *([] if candidates.winner is None else [candidates.winner])]
    for name, wanted, colour in (
        ("outside the budget", known & ~candidates.feasible, _LINE),
        ("within the budget", known & candidates.feasible, _SOFT),
    ):
        shown = thinned(np.flatnonzero(wanted), MOST_POINTS // 2)
        if len(shown):
            x, y = candidates.latency_ms[shown], accuracy[shown]
            figure.add_scatter(x=x, y=y, mode="markers", name=name, marker={"color": colour, "size": 6})
    edge = list(candidates.front)
    figure.add_scatter(
        x=candidates.latency_ms[edge],
        y=accuracy[edge],
        mode="lines+markers",
        name="Pareto front",
        line={"color": _ACCENT, "width": 1.5, "shape": "hv"},
        marker={"size": 6},
    )
    if candidates.winner is not None:
        figure.add_scatter(
            x=candidates.latency_ms[[candidates.winner]],
            y=accuracy[[candidates.winner]],
            mode="markers",
            name="winner",
            marker={"color": _WINNER, "size": 15, "symbol": "star", "line": {"color": COLOURS["paper"][0], "width": 1}},
        )
    if limit_ms is not None:
        figure.add_vline(limit_ms, line={"color": _WINNER, "width": 1, "dash": "dash"})
        figure.add_annotation(
            x=limit_ms,
            y=0,
            yref="paper",
            text=f"limit {text.limit_ms(limit_ms)}",
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            font_color=_WINNER,
        )
    _focus(figure, accuracy[known], accuracy[marked])
    figure.update_traces(hovertemplate="%{x:.3f} ms<br>%{y:.2f} %")
    return figure


def comparison(compared: Comparison) -> go.Figure:
    """Test accuracy against measured latency of hand-designed networks, the line through the best of them, and found ones."""
    figure = _figure("p50 latency, ms", "test accuracy, %")
    of_people = [n for n in compared.networks if not n.found]
    line = comparisons.line(np.array([n.p50_ms for n in of_people]), np.array([n.accuracy for n in of_people]))
    latency = np.array([n.p50_ms for n in compared.networks])
    low, high = 0.8 * float(latency.min()), 1.25 * float(latency.max())
    x, y = line.latency_ms[line.front], 100 * line.accuracy[line.front]
    figure.add_scatter(
        x=[*x, high],
        y=[*y, y[-1]],
        mode="lines",
        line={"color": _SOFT, "width": 1.5},
        hoverinfo="skip",
        name="the best of them",
    )
    looks: tuple[tuple[str, bool, dict[str, Any]], ...] = (
        ("hand-designed", False, {"color": _ACCENT, "size": 9, "symbol": "square"}),
        ("found", True, _EXPORTED),
    )
    for name, found, marker in looks:
        shown = [n for n in compared.networks if n.found == found]
        if shown:
            figure.add_scatter(
                x=[n.p50_ms for n in shown],
                y=[100 * n.accuracy for n in shown],
                error_y={"array": [100 * n.accuracy_se for n in shown], "thickness": 1, "width": 3},
                mode="markers+text",
                name=name,
                marker=marker,
                text=[html.escape(n.name, quote=False) for n in shown],
                textposition="top center" if found else "bottom center",
                textfont={"color": _WINNER if found else _MUTED},
                cliponaxis=False,
                hovertemplate="%{text}<br>%{x:.3f} ms<br>%{y:.2f} %",
            )
    figure.update_xaxes(type="log", range=[float(np.log10(low)), float(np.log10(high))], **_log_ticks(low, high))
    return figure


def progress(candidates: ReportCandidates) -> go.Figure:
    """Accuracy of each network in the order of the search, and the best feasible so far."""
    figure = _figure("networks evaluated", "accuracy, %")
    known = np.flatnonzero(np.isfinite(candidates.accuracy))
    accuracy = 100 * candidates.accuracy[known]
    number = np.arange(1, len(known) + 1)
    shown = thinned(number - 1, MOST_POINTS)
    figure.add_scatter(
        x=number[shown], y=accuracy[shown], mode="markers", name="network", marker={"color": _SOFT, "size": 5}
    )
    best = np.maximum.accumulate(np.where(candidates.feasible[known], accuracy, -np.inf))
    steps = np.flatnonzero(best > np.concatenate([[-np.inf], best])[:-1])
    ends = np.union1d(steps, len(best) - 1) if len(steps) else steps
    figure.add_scatter(
        x=number[ends],
        y=best[ends],
        mode="lines",
        name="best within the budget so far",
        line={"color": _ACCENT, "width": 2, "shape": "hv"},
    )
    _focus(figure, accuracy, best[steps])
    figure.update_traces(hovertemplate="network %{x}<br>%{y:.2f} %")
    return figure


def feasible_share(candidates: ReportCandidates) -> go.Figure:
    """Share of each generation's networks that keep the budget."""
    figure = _figure("generation", "within the budget, %")
    generations = np.unique(candidates.generation)
    share = [100 * float(candidates.feasible[candidates.generation == g].mean()) for g in generations]
    figure.add_bar(x=generations + 1, y=share, marker={"color": _SOFT}, name="")
    figure.update_traces(hovertemplate="generation %{x}<br>%{y:.0f} %")
    figure.update_yaxes(range=[0, 100])
    figure.update_layout(showlegend=False)
    return figure


def agreement(checks: Sequence[Check]) -> go.Figure:
    """Predicted against measured latency on logarithmic axes, with the line of equality."""
    figure = _figure("measured, ms", "predicted, ms")
    low = 0.9 * min(min(c.predicted_ms, c.measured_ms) for c in checks)
    high = 1.1 * max(max(c.predicted_ms, c.measured_ms) for c in checks)
    figure.add_scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        line={"color": _MUTED, "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    _add_checks(figure, checks, [c.predicted_ms for c in checks])
    figure.update_traces(
        hovertemplate="%{text}<br>measured %{x:.3f} ms<br>predicted %{y:.3f} ms", selector={"mode": "markers"}
    )
    span = [float(np.log10(low)), float(np.log10(high))]
    figure.update_xaxes(type="log", range=span, **_log_ticks(low, high))
    figure.update_yaxes(type="log", range=span, **_log_ticks(low, high))
    return figure


def errors(checks: Sequence[Check], noise_floor: float | None) -> go.Figure:
    """Relative error of each prediction over measured latency, with the noise floor and ±5 %."""
    figure = _figure("measured, ms", "predicted − measured, %")
    if noise_floor is not None:
        figure.add_hrect(-100 * noise_floor, 100 * noise_floor, fillcolor=_LINE, line_width=0, layer="below")
    for percent in (-5, 5):
        figure.add_hline(percent, line={"color": _MUTED, "width": 1, "dash": "dot"})
    error = [100 * (c.predicted_ms / c.measured_ms - 1) for c in checks]
    _add_checks(figure, checks, error)
    figure.update_traces(hovertemplate="%{text}<br>%{x:.3f} ms<br>%{y:+.1f} %")
    measured = [c.measured_ms for c in checks]
    low, high = 0.9 * min(measured), 1.1 * max(measured)
    figure.update_xaxes(type="log", range=[float(np.log10(low)), float(np.log10(high))], **_log_ticks(low, high))
    worst = max(7.0, *(1.15 * abs(e) for e in error))
    figure.update_yaxes(range=[-worst, worst], zeroline=True)
    return figure


def kernels(kernels: Sequence[ReportKernel]) -> go.Figure:
    """Cost of each kernel in the order of execution, coloured by what limits it."""
    figure = _figure("kernel, in the order of execution", "latency, µs")
    for bound in sorted({k.bound for k in kernels}):
        of_bound = [(i + 1, k) for i, k in enumerate(kernels) if k.bound == bound]
        figure.add_bar(
            x=[i for i, _ in of_bound],
            y=[1000 * k.latency_ms for _, k in of_bound],
            name=html.escape(bound, quote=False),
            marker={"color": _BOUND_COLOURS.get(bound, _SOFT)},
            text=[html.escape(" + ".join((k.kind, *k.nodes[:3])), quote=False) for _, k in of_bound],
            textposition="none",
            width=0.8,
            hovertemplate="%{text}<br>%{y:.1f} µs",
        )
    figure.update_layout(barmode="overlay", showlegend=True)
    return figure


def loss(history: ReportHistory) -> go.Figure:
    """Training loss over epochs."""
    return _curve(history.loss, "training loss", "%{y:.3f}")


def validation(history: ReportHistory) -> go.Figure:
    """Validation accuracy over epochs."""
    return _curve(100 * history.validation_accuracy, "validation accuracy, %", "%{y:.2f} %")


def thinned(positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most ``most`` of ``(n,)`` positions, evenly spread, so that a page of a long search stays light."""
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).astype(np.int64)]


def _add_checks(figure: go.Figure, checks: Sequence[Check], y: Sequence[float]) -> None:
    """Held-out networks as points, exported files as diamonds above them; ``y`` has one value per check."""
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "validation": ("held-out network", {"color": _ACCENT, "size": 6, "opacity": 0.65}),
        "exported": ("exported file", _EXPORTED),
    }
    for group, (name, marker) in looks.items():
        rows = [i for i, c in enumerate(checks) if c.group == group]
        if rows:
            figure.add_scatter(
                x=[checks[i].measured_ms for i in rows],
                y=[y[i] for i in rows],
                mode="markers",
                name=name,
                marker=marker,
                text=[html.escape(checks[i].name, quote=False) for i in rows],
            )


def _curve(values: NDArray[np.float64], label: str, hover: str) -> go.Figure:
    figure = _figure("epoch", label)
    epochs = np.arange(1, len(values) + 1)
    known = np.isfinite(values)
    figure.add_scatter(
        x=epochs[known], y=values[known], mode="lines+markers", name="", line={"color": _ACCENT}, marker_size=5
    )
    figure.update_traces(hovertemplate=f"epoch %{{x}}<br>{hover}")
    figure.update_layout(showlegend=False)
    return figure


def _figure(x_title: str, y_title: str) -> go.Figure:
    import plotly.graph_objects as go

    axis = {
        "gridcolor": _LINE,
        "linecolor": _LINE,
        "tickcolor": _LINE,
        "zeroline": False,
        "zerolinecolor": _MUTED,
        "automargin": True,
        "tickfont": {"color": _MUTED},
        "nticks": 7,
    }
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "itemwidth": 30}
    return go.Figure(
        layout={
            "template": "none",
            "autosize": True,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 12, "color": _INK},
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "xaxis": axis
            | {"title": _title(x_title), "showgrid": False, "ticks": "outside", "ticklen": 4, "showline": True},
            "yaxis": axis,
            "meta": {"y_title": y_title},
            "legend": legend,
            "hoverlabel": {"bgcolor": COLOURS["paper"][0], "bordercolor": _LINE, "font": {"color": _INK, "size": 12}},
        }
    )


def _title(words: str) -> dict[str, Any]:
    return {"text": words, "font": {"color": _MUTED, "size": 12}, "standoff": 8}


def _focus(figure: go.Figure, values: NDArray[np.float64], kept: NDArray[np.float64]) -> None:
    """Set the y axis so that stray low values do not press everything else into a line; ``kept`` stay visible."""
    if not len(values):
        return
    high = float(max(values.max(), kept.max(initial=values.max())))
    typical = float(np.quantile(values, 0.05))
    low = max(float(values.min()), typical - (high - typical))
    low = min(low, float(kept.min(initial=low)))
    margin = 0.06 * (high - low) or 1.0
    figure.update_yaxes(range=[low - margin, high + margin])


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 of each decade, written as plain numbers."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
    return {"tickvals": ticks, "ticktext": [f"{t:g}" for t in ticks]} if len(ticks) > 1 else {}
