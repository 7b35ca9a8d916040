"""The report's figures on the search, on predictions and on kernels."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy import is_score
from hwnas.report import plots, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from hwnas.report.data import ReportCandidates, ReportCheck, ReportKernel


MOST_POINTS = 3000


def front(candidates: ReportCandidates, limit_ms: float | None) -> go.Figure:
    """Accuracy against latency of what was looked at, the Pareto front, the winner, and what the budget shuts out."""
    figure = plots.figure("p50 latency, ms", _axis(candidates.source))
    known = np.isfinite(candidates.accuracy)
    accuracy = 100 * candidates.accuracy
    marked = [*candidates.front, *([] if candidates.winner is None else [candidates.winner])]
    for name, wanted, colour in (
        ("outside the budget", known & ~candidates.feasible, plots.LINE),
        ("within the budget", known & candidates.feasible, plots.SOFT),
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
        line={"color": plots.ACCENT, "width": 1.5, "shape": "hv"},
        marker={"size": 6},
    )
    if candidates.winner is not None:
        figure.add_scatter(
            x=candidates.latency_ms[[candidates.winner]],
            y=accuracy[[candidates.winner]],
            mode="markers",
            name="winner",
            marker={
                "color": plots.WINNER,
                "size": 15,
                "symbol": "star",
                "line": {"color": plots.COLOURS["paper"][0], "width": 1},
            },
        )
    if limit_ms is not None:
        figure.add_vline(limit_ms, line={"color": plots.WINNER, "width": 1, "dash": "dash"})
        figure.add_annotation(
            x=limit_ms,
            y=0,
            yref="paper",
            text=f"limit {text.limit_ms(limit_ms)}",
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            font_color=plots.WINNER,
        )
    plots.focus(figure, accuracy[known], accuracy[marked])
    figure.update_traces(hovertemplate="%{x:.3f} ms<br>%{y:.2f}" + _unit(candidates.source))
    return figure


def progress(candidates: ReportCandidates) -> go.Figure:
    """Accuracy of each network in the order of the search, and the best feasible so far."""
    figure = plots.figure("networks evaluated", _axis(candidates.source))
    known = np.flatnonzero(np.isfinite(candidates.accuracy))
    accuracy = 100 * candidates.accuracy[known]
    number = np.arange(1, len(known) + 1)
    shown = thinned(number - 1, MOST_POINTS)
    figure.add_scatter(
        x=number[shown], y=accuracy[shown], mode="markers", name="network", marker={"color": plots.SOFT, "size": 5}
    )
    best = np.maximum.accumulate(np.where(candidates.feasible[known], accuracy, -np.inf))
    steps = np.flatnonzero(best > np.concatenate([[-np.inf], best])[:-1])
    ends = np.union1d(steps, len(best) - 1) if len(steps) else steps
    figure.add_scatter(
        x=number[ends],
        y=best[ends],
        mode="lines",
        name="best within the budget so far",
        line={"color": plots.ACCENT, "width": 2, "shape": "hv"},
    )
    plots.focus(figure, accuracy, best[steps])
    figure.update_traces(hovertemplate="network %{x}<br>%{y:.2f}" + _unit(candidates.source))
    return figure


def feasible_share(candidates: ReportCandidates) -> go.Figure:
    """Share of each generation's networks that keep the budget."""
    figure = plots.figure("generation", "within the budget, %")
    generations = np.unique(candidates.generation)
    share = [100 * float(candidates.feasible[candidates.generation == g].mean()) for g in generations]
    figure.add_bar(x=generations + 1, y=share, marker={"color": plots.SOFT}, name="")
    figure.update_traces(hovertemplate="generation %{x}<br>%{y:.0f} %")
    figure.update_yaxes(range=[0, 100])
    figure.update_layout(showlegend=False)
    return figure


def agreement(checks: Sequence[ReportCheck]) -> go.Figure:
    """Predicted against measured latency on logarithmic axes, with the line of equality."""
    figure = plots.figure("measured, ms", "predicted, ms")
    low = 0.9 * min(min(c.predicted_ms, c.measured_ms) for c in checks)
    high = 1.1 * max(max(c.predicted_ms, c.measured_ms) for c in checks)
    figure.add_scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        line={"color": plots.MUTED, "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    _add_checks(figure, checks, [c.predicted_ms for c in checks])
    figure.update_traces(
        hovertemplate="%{text}<br>measured %{x:.3f} ms<br>predicted %{y:.3f} ms", selector={"mode": "markers"}
    )
    span = [float(np.log10(low)), float(np.log10(high))]
    figure.update_xaxes(type="log", range=span, **plots.log_ticks(low, high))
    figure.update_yaxes(type="log", range=span, **plots.log_ticks(low, high))
    return figure


def errors(checks: Sequence[ReportCheck], noise_floor: float | None) -> go.Figure:
    """Relative error of each prediction over measured latency, with the noise floor and ±5 %."""
    figure = plots.figure("measured, ms", "predicted − measured, %")
    if noise_floor is not None:
        figure.add_hrect(-100 * noise_floor, 100 * noise_floor, fillcolor=plots.LINE, line_width=0, layer="below")
    for percent in (-5, 5):
        figure.add_hline(percent, line={"color": plots.MUTED, "width": 1, "dash": "dot"})
    error = [100 * (c.predicted_ms / c.measured_ms - 1) for c in checks]
    _add_checks(figure, checks, error)
    figure.update_traces(hovertemplate="%{text}<br>%{x:.3f} ms<br>%{y:+.1f} %")
    measured = [c.measured_ms for c in checks]
    low, high = 0.9 * min(measured), 1.1 * max(measured)
    figure.update_xaxes(type="log", range=[float(np.log10(low)), float(np.log10(high))], **plots.log_ticks(low, high))
    worst = max(7.0, *(1.15 * abs(e) for e in error))
    figure.update_yaxes(range=[-worst, worst], zeroline=True)
    return figure


def kernels(kernels: Sequence[ReportKernel]) -> go.Figure:
    """Cost of each kernel in the order of execution, coloured by what limits it."""
    figure = plots.figure("kernel, in the order of execution", "latency, µs")
    for bound in sorted({k.bound for k in kernels}):
        of_bound = [(i + 1, k) for i, k in enumerate(kernels) if k.bound == bound]
        figure.add_bar(
            x=[i for i, _ in of_bound],
            y=[1000 * k.latency_ms for _, k in of_bound],
            name=html.escape(bound, quote=False),
            marker={"color": plots.BOUND_COLOURS.get(bound, plots.SOFT)},
            text=[html.escape(" + ".join((k.kind, *k.nodes[:3])), quote=False) for _, k in of_bound],
            textposition="none",
            width=0.8,
            hovertemplate="%{text}<br>%{y:.1f} µs",
        )
    figure.update_layout(barmode="overlay", showlegend=True)
    return figure


def thinned(positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most ``most`` of ``(n,)`` positions, evenly spread, so that a page of a long search stays light."""
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).astype(np.int64)]


def _add_checks(figure: go.Figure, checks: Sequence[ReportCheck], y: Sequence[float]) -> None:
    """Held-out networks as points, exported files as diamonds above them; ``y`` has one value per check."""
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "validation": ("held-out network", {"color": plots.ACCENT, "size": 6, "opacity": 0.65}),
        "exported": ("exported file", plots.EXPORTED),
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


def _axis(source: str) -> str:
    return f"{source}, of 100" if is_score(source) else "accuracy, %"


def _unit(source: str) -> str:
    return "" if is_score(source) else " %"
