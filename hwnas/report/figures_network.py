"""The report's figures on the network that was found: what decided it, how it learned and compares, its time, its mistakes."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwnas.report import comparison as comparisons
from hwnas.report import plots

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from hwnas.report.comparison import Comparison
    from hwnas.report.data import ReportHistory, ReportPlace
    from hwnas.report.effects import Effect

_MOST_LABELLED = 20  # classes of a confusion matrix whose counts are written in it


def comparison(compared: Comparison) -> go.Figure:
    """Test accuracy against measured latency of hand-designed networks, the line through the best of them, and found ones."""
    figure = plots.figure("p50 latency, ms", "test accuracy, %")
    of_people = [n for n in compared.networks if not n.found]
    line = comparisons.line(np.array([n.p50_ms for n in of_people]), np.array([n.accuracy for n in of_people]))
    latency = np.array([n.p50_ms for n in compared.networks])
    low, high = 0.7 * float(latency.min()), 1.8 * float(latency.max())  # room for names
    x, y = line.latency_ms[line.front], 100 * line.accuracy[line.front]
    figure.add_scatter(
        x=[*x, high],
        y=[*y, y[-1]],
        mode="lines",
        line={"color": plots.SOFT, "width": 1.5},
        hoverinfo="skip",
        name="the best of them",
    )
    looks: tuple[tuple[str, bool, dict[str, Any]], ...] = (
        ("hand-designed", False, {"color": plots.ACCENT, "size": 9, "symbol": "square"}),
        ("found", True, plots.EXPORTED),
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
                textposition="top left" if found else "bottom right",
                textfont={"color": plots.WINNER if found else plots.MUTED},
                cliponaxis=False,
                hovertemplate="%{text}<br>%{x:.3f} ms<br>%{y:.2f} %",
            )
    figure.update_xaxes(type="log", range=[float(np.log10(low)), float(np.log10(high))], **plots.log_ticks(low, high))
    return figure


def curves(histories: Sequence[ReportHistory], what: Literal["loss", "accuracy"]) -> go.Figure:
    """Mean loss, or accuracy of training and validation images, over the epochs of each training."""
    figure = plots.figure("epoch", "training loss" if what == "loss" else "accuracy, %")
    for history, colour in zip(histories, (plots.ACCENT, plots.MUTED), strict=False):
        if what == "loss":
            series = [(history.name, history.loss, "solid")]
        else:
            series = [
                (f"{history.name}, validation", 100 * history.validation_accuracy, "solid"),
                (f"{history.name}, training", 100 * history.accuracy, "dot"),
            ]
        for name, values, dash in series:
            known = np.isfinite(values)
            if known.any():
                figure.add_scatter(
                    x=1 + np.flatnonzero(known),
                    y=values[known],
                    mode="lines+markers" if dash == "solid" else "lines",
                    name=name,
                    line={"color": colour, "dash": dash},
                    marker={"size": 5},
                )
    figure.update_traces(hovertemplate="epoch %{x}<br>%{y:.3f}" if what == "loss" else "epoch %{x}<br>%{y:.2f} %")
    figure.update_layout(showlegend=len(figure.data) > 1)
    return figure


def effects(strongest: Sequence[Effect], of: Literal["accuracy", "latency"], measure: str = "accuracy") -> go.Figure:
    """One line per gene: what its dearest option does in place of the cheapest, with the 95 % interval; ``measure`` is what the
    search ranked networks by."""
    unit = f"points of {measure}" if of == "accuracy" else "latency, %"
    figure = plots.figure(unit, "")
    shown = list(reversed(strongest))
    intervals = [effect.accuracy if of == "accuracy" else effect.latency for effect in shown]
    figure.add_scatter(
        x=[100 * i.value for i in intervals],
        y=[html.escape(f"{e.gene}: {e.instead_of} → {e.option}", quote=False) for e in shown],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (i.high - i.value) for i in intervals],
            "arrayminus": [100 * (i.value - i.low) for i in intervals],
            "thickness": 1.5,
            "width": 0,
            "color": plots.SOFT,
        },
        mode="markers",
        marker={"color": plots.ACCENT, "size": 8},
        hovertemplate="%{y}<br>%{x:+.2f}",
        name="",
    )
    figure.update_xaxes(zeroline=True, showgrid=True)
    figure.update_yaxes(nticks=len(shown) + 1, tickfont={"size": 11})
    figure.update_layout(showlegend=False)
    return figure


def network(places: Sequence[ReportPlace]) -> go.Figure:
    """The network from input to output: a box per block, as wide as it takes time and as high as its output has pixels."""
    figure = plots.figure("time, µs", "height of the output, pixels")
    width = np.array([1000 * place.latency_ms for place in places])
    centre = np.cumsum(width) - width / 2
    stages = list(dict.fromkeys(place.stage for place in places))
    words = [
        f"{place.name}<br>{' × '.join(map(str, place.shape))}<br>{microseconds:.1f} µs"
        for place, microseconds in zip(places, width, strict=True)
    ]
    figure.add_bar(
        x=centre,
        y=[place.shape[-1] for place in places],
        width=width,
        marker={
            "color": [(plots.ACCENT, plots.SOFT)[stages.index(place.stage) % 2] for place in places],
            "line": {"color": plots.COLOURS["paper"][0], "width": 1},
        },
        text=[html.escape(w, quote=False).replace("&lt;br&gt;", "<br>") for w in words],
        textposition="none",
        hovertemplate="%{text}",
        name="",
    )
    for stage in stages:
        inside = [i for i, place in enumerate(places) if place.stage == stage]
        figure.add_annotation(
            x=float((centre[inside[0]] - width[inside[0]] / 2 + centre[inside[-1]] + width[inside[-1]] / 2) / 2),
            y=max(places[i].shape[-1] for i in inside),
            text=f"{html.escape(stage, quote=False)}<br>{places[inside[-1]].shape[0]} ch",
            showarrow=False,
            yanchor="bottom",
            font={"size": 11, "color": plots.MUTED},
        )
    figure.update_yaxes(range=[0, 1.2 * max(place.shape[-1] for place in places)])
    figure.update_layout(showlegend=False)
    return figure


def confusion(counts: NDArray[np.int64], classes: Sequence[str]) -> go.Figure:
    """Mistakes as shares of each true class; what is right is left pale, so that mistakes stand out."""
    figure = plots.figure("taken for", "true class")
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = np.where(np.eye(len(counts), dtype=bool), 0.0, share)
    names = [html.escape(name, quote=False) for name in classes]
    written = len(classes) <= _MOST_LABELLED
    figure.add_heatmap(
        z=wrong,
        x=names,
        y=names,
        text=[[f"{count}" if count else "" for count in row] for row in counts.tolist()],
        texttemplate="%{text}" if written else None,
        colorscale=[[0, plots.SHADE], [1, plots.ACCENT]],
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="%{y}, taken for %{x}<br>%{text} images",
        name="",
    )
    figure.update_yaxes(autorange="reversed", nticks=len(classes) + 1 if written else 7, type="category")
    figure.update_xaxes(nticks=len(classes) + 1 if written else 7, type="category")
    return figure
