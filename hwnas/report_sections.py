"""The report's sections: headings, sentences, figures and tables, chosen by what there is to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas import figures
from hwnas import report_text as text

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hwnas.report import ReportData, ReportKernel

_MOST_KERNELS = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: text, a smaller line below it, a tag beside it, a bar for a share of 0–1 before it."""

    text: str
    note: str = ""
    tag: str = ""
    share: float | None = None
    colour: str = ""
    over: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """``label`` names it for those who cannot see it; ``words`` are the positions of the columns that hold words."""

    label: str
    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[int] = frozenset({0})


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, the id of its element, and the sentence under it that says what to see."""

    id: str
    figure: go.Figure
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page; what is empty is not shown. ``pair`` puts figures side by side where there is room, ``more`` is
    folded away under ``more_label``."""

    id: str
    heading: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Plot, ...] = ()
    pair: bool = False
    table: Table | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    more_label: str = ""
    more: Table | str = ""


def sections(data: ReportData) -> list[Section]:
    """All that this run has something for, in reading order."""
    made = [_search(data), _files(data), _prediction(data), _kernels(data), _training(data), _network(data)]
    return [section for section in made if section is not None]


def budget(data: ReportData) -> list[dict[str, Any]]:
    """Name, use, limit and width of the bar of each limit."""
    show = {"latency": text.milliseconds, "memory": text.size, "file size": text.size}
    return [
        {
            "name": name,
            "used": show[name](used),
            "limit": text.limit_ms(limit) if name == "latency" else text.size(limit),
            "share": f"{100 * used / limit:.0f} %",
            "width": f"{min(100.0, 100 * used / limit):.1f}",
            "over": used > limit,
        }
        for name, used, limit in text.budget_use(data)
    ]


def _search(data: ReportData) -> Section | None:
    candidates = data.candidates
    known = int(np.isfinite(candidates.accuracy).sum())
    if not known:
        return None
    within = int(candidates.feasible.sum())
    total = len(candidates.accuracy)
    caption = (
        "Each point is a network: further left is faster, higher is more accurate. The line joins the "
        f"{len(candidates.front)} that no other beats in both; the star was chosen. Accuracies come from the search’s own "
        f"estimate ({candidates.source}), latencies from the predictor."
    )
    if known > figures.MOST_POINTS:
        caption += f" A sample of {figures.MOST_POINTS:,} is drawn."
    plots = [
        Plot("front", figures.front(candidates, data.budget.latency_ms), caption),
        Plot(
            "progress",
            figures.progress(candidates),
            "Points are networks in the order they were evaluated, the line the best within the budget so far. "
            "Where it stays flat, more search no longer helped.",
        ),
    ]
    if within < total:
        share = "How much of each generation kept the budget: a searcher that learns it stays high."
        plots.append(Plot("feasible", figures.feasible_share(candidates), share))
    return Section(
        "search",
        "The search",
        (
            f"{total:,} networks were looked at, {within:,} of them within the budget."
            if within < total
            else f"{total:,} networks were evaluated, all of them within the budget by the predictor’s upper bound.",
        ),
        tuple(plots),
    )


def _files(data: ReportData) -> Section | None:
    if data.certificate is None:
        return None
    files = data.certificate["files"]
    names = list(files)
    deploy = data.certificate["deploy"]

    def row(label: str, note: str, show: Any, key: str, limit: float | None = None) -> tuple[Cell, ...]:
        values = [files[name].get(key) for name in names]
        cells = [Cell("–") if v is None else Cell(show(v), over=limit is not None and v > limit) for v in values]
        return (Cell(label, note), *cells)

    limits = data.budget
    rows = (
        row("median latency", "p50", text.milliseconds, "p50_ms", limits.latency_ms),
        row("95 % interval, ms", "of the median", lambda v: f"{text.digits(v[0])}–{text.digits(v[1])}", "ci95_ms"),
        row("slow runs", "p95", text.milliseconds, "p95_ms"),
        row("predicted", "median latency", text.milliseconds, "predicted_p50_ms"),
        row("accuracy", "on test data", lambda v: f"{100 * v:.2f} %", "accuracy"),
        row("memory", "weights, activations", text.size, "memory_bytes", limits.memory_bytes),
        row("file size", "", text.size, "bytes", limits.model_bytes),
        row("budget", "", lambda v: "kept" if v else "not kept", "within_budget"),
    )
    head = [Cell(str(files[n].get("precision", n)).upper(), note=n, tag="deploy" if n == deploy else "") for n in names]
    digests = [Cell(str(files[n].get("sha256", ""))[:10] + "…") for n in names]
    table = Table("Exported files", (Cell(""), *head), (*rows, (Cell("SHA-256"), *digests)))
    verdict = text.int8_verdict(files)
    return Section("files", "The exported files", (verdict,) if verdict else (), table=table)


def _prediction(data: ReportData) -> Section | None:
    if not data.checks:
        return None
    found = text.agreement_figures(data.checks)
    sentences = []
    if found:
        sentences.append(
            f"On {found['n']:.0f} networks that the predictor had not seen, {text.percent(found['within_5'])} of its answers "
            f"lie within ±5 % of the measurement and {text.percent(found['within_10'])} within ±10 % "
            f"(RMSPE {text.percent(found['rmspe'])}, Kendall’s τ {found['tau']:.3f})."
        )
    if data.noise_floor is not None:
        sentences.append(
            f"Two measurements of the same network on this device differ by {100 * data.noise_floor:.2g} %: "
            "no predictor can be better than that."
        )
    return Section(
        "prediction",
        "Predicted against measured",
        (" ".join(sentences),) if sentences else (),
        pair=True,
        figures=(
            Plot(
                "agreement",
                figures.agreement(data.checks),
                "On the line, prediction and measurement are equal. Diamonds are the files of this run.",
            ),
            Plot(
                "errors",
                figures.errors(data.checks, data.noise_floor),
                "The same networks by error. The grey band is the noise floor, the dotted lines are ±5 %.",
            ),
        ),
    )


def _kernels(data: ReportData) -> Section | None:
    if not data.kernels:
        return None
    total = sum(k.latency_ms for k in data.kernels)
    by_cost = sorted(enumerate(data.kernels, 1), key=lambda item: -item[1].latency_ms)
    largest = sum(k.latency_ms for _, k in by_cost[:_MOST_KERNELS])
    caption = (
        "Each bar is one kernel that the runtime executes, from the input on the left to the output on the right; "
        "its colour says what limits it: arithmetic (compute), memory traffic (bytes), or the cost of starting it (overhead)."
    )
    sentence = f"The network runs as {len(data.kernels)} kernels."
    if len(by_cost) > _MOST_KERNELS:
        sentence += f" The {_MOST_KERNELS} costliest take {text.percent(largest / total)} of the time."
    return Section(
        "kernels",
        "Where the time goes",
        (sentence,),
        (Plot("kernel-costs", figures.kernels(data.kernels), caption),),
        table=_kernel_table(by_cost[:_MOST_KERNELS], total),
        more_label=f"The other {len(by_cost) - _MOST_KERNELS} kernels" if len(by_cost) > _MOST_KERNELS else "",
        more=_kernel_table(by_cost[_MOST_KERNELS:], total) if len(by_cost) > _MOST_KERNELS else "",
    )


def _kernel_table(ranked: Sequence[tuple[int, ReportKernel]], total: float) -> Table:
    rows = []
    most = ranked[0][1].latency_ms
    for number, kernel in ranked:
        colour = kernel.bound if kernel.bound in ("bytes", "overhead") else ""
        nodes = ", ".join(kernel.nodes) if kernel.nodes else "inserted by the runtime"
        nodes = nodes if len(nodes) <= 60 else nodes[:59] + "…"
        rows.append(
            (
                Cell(str(number)),
                Cell(kernel.kind.rpartition(":")[2], note=f"{kernel.bound} · {nodes}"),
                Cell(f"{1000 * kernel.latency_ms:.1f}", share=kernel.latency_ms / most if most else 0.0, colour=colour),
                Cell(text.percent(kernel.latency_ms / total if total else 0.0)),
            )
        )
    head = tuple(Cell(h) for h in ("no.", "kernel", "µs", "share"))
    return Table("Kernels by cost", head, tuple(rows), frozenset({0, 1}))


def _training(data: ReportData) -> Section | None:
    history = data.history
    if history is None or not len(history.loss):
        return None
    plots = [Plot("loss", figures.loss(history), "Mean loss over the training images of each epoch.")]
    known = history.validation_accuracy[np.isfinite(history.validation_accuracy)]
    if len(known) > 1:
        caption = "Accuracy on validation images; the test images were read once, at the end."
        plots.append(Plot("validation", figures.validation(history), caption))
    at_the_end = f" and ended at {text.percent(known[-1])} of the validation images" if len(known) else ""
    return Section(
        "training",
        "Training of the winner",
        (f"It was trained for {len(history.loss)} epochs{at_the_end}.",),
        figures=tuple(plots),
        pair=len(plots) > 1,
    )


def _network(data: ReportData) -> Section:
    device = data.device
    facts = {name: str(value) for name, value in (data.choices or {}).items()}
    hardware = ", ".join(f"{k} {_short(v)}" for k, v in device.hardware.items())
    settings = ", ".join(f"{k}={_short(v)}" for k, v in device.settings.items())
    versions = ", ".join(f"{k} {v}" for k, v in device.versions.items())
    sentences = tuple(
        s for s in (f"Device {device.spec}: {hardware}.", f"Settings: {settings}.", f"Versions: {versions}.")
    )
    return Section(
        "network",
        "The network and the device",
        sentences,
        facts=facts,
        more_label="The run’s configuration" if data.config else "",
        more=data.config,
    )


def _short(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
