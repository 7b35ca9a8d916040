"""The report's sections on the network that was found: what decided it, how it compares, learned, errs and spends its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwnas import effects as effect
from hwnas import figures, figures_network
from hwnas import report_text as text
from hwnas.report_elements import Cell, Picture, Plot, Section, Table

if TYPE_CHECKING:
    from hwnas.comparison import Compared
    from hwnas.effects import Effect, Interval
    from hwnas.report import ReportData, ReportKernel

_MOST_CLASSES = 20
_MOST_GENES = 20


def choices(data: ReportData) -> Section | None:
    """Which decisions matter."""
    found = data.effects
    if found is None or not found.effects:
        return None
    strongest = effect.strongest(found)[:_MOST_GENES]
    sure = [e for e in strongest if e.accuracy.low > 0 or e.accuracy.high < 0]
    first = (
        f"Most for accuracy did {_said(sure[0])}. "
        if sure
        else "No decision alone has an effect on accuracy beyond doubt. "
    )
    dearest = max(strongest, key=lambda e: abs(e.latency.value))
    return Section(
        "choices",
        "Which decisions matter",
        (
            f"{first}Most for latency did {_said(dearest)}. The decisions’ own effects, added up, explain "
            f"{text.percent(found.accuracy_explained)} of the differences in estimated accuracy between {found.networks:,} "
            f"networks and {text.percent(found.latency_explained)} of those in latency; the rest is how they act together, "
            "and chance.",
        ),
        (
            Plot(
                "effects-accuracy",
                figures_network.effects(strongest, "accuracy"),
                "What the dearest option does to accuracy in place of the cheapest, the others being equal, with its 95 % interval.",
            ),
            Plot(
                "effects-latency",
                figures_network.effects(strongest, "latency"),
                "The same for latency. What is far right above and near zero here is a bargain.",
            ),
        ),
        pair=True,
        more_label=f"All {len(found.effects)} options",
        more=Table(
            "Effects of options",
            tuple(Cell(h) for h in ("decision", "option", "accuracy, points", "latency", "networks")),
            tuple(
                (
                    Cell(e.gene),
                    Cell(f"{e.instead_of} → {e.option}"),
                    _points(e.accuracy),
                    _relative(e.latency),
                    Cell(f"{e.networks:,}"),
                )
                for e in found.effects
            ),
            frozenset({0, 1}),
        ),
    )


def against(data: ReportData) -> Section | None:
    """Beside hand-designed networks."""
    compared = data.comparison
    if compared is None:
        return None
    found = [n for n in compared.networks if n.found]
    above = [n for n in found if n.gain is not None and n.gain > 0]
    sentence = (
        f"Every network was trained for {compared.epochs} epochs by the same recipe on {compared.task}, exported, and measured in "
        f"the same rounds on {compared.device}. Of {len(found)} found networks {len(above)} lie above the line through the best "
        f"hand-designed ones. The supernet, which only the found ones need, took {compared.supernet_s / 60:.0f} minutes, once."
    )
    caption = (
        "Squares are hand-designed, diamonds were found; the whiskers are one standard error of the test accuracy. The line joins "
        "the hand-designed networks that no other of them beats in both."
    )
    head = (
        "network",
        "p50",
        "test accuracy",
        "parameters",
        "memory",
        "training",
        "above the line",
        "speed at its accuracy",
    )
    return Section(
        "against",
        "Against hand-designed networks",
        (sentence,),
        (Plot("comparison", figures_network.comparison(compared), caption),),
        table=Table(
            "Found and hand-designed networks",
            tuple(Cell(h) for h in head),
            tuple(_compared(n) for n in sorted(compared.networks, key=lambda n: n.p50_ms)),
        ),
    )


def mistakes(data: ReportData) -> Section | None:
    """What the deployed file gets wrong."""
    found = data.mistakes
    if found is None:
        return None
    counts = found.confusion
    wrong = counts - np.diag(np.diag(counts))
    total = int(wrong.sum())
    sentence = f"Of {int(counts.sum()):,} test images {total:,} are classified wrongly."
    if total:
        true, taken = np.unravel_index(int(wrong.argmax()), wrong.shape)
        share = wrong[true, taken] / counts[true].sum()
        sentence += (
            f" Most often {found.classes[true]} is taken for {found.classes[taken]}: {text.percent(share)} of them."
        )
    by_class = text.class_figures(counts)
    worst_first = sorted(range(len(counts)), key=lambda c: by_class[c]["f1"])
    rows = [
        (
            Cell(found.classes[c]),
            Cell(f"{int(counts[c].sum()):,}"),
            *(Cell(text.percent(by_class[c][k])) for k in ("precision", "recall", "f1")),
        )
        for c in worst_first
    ]
    head = tuple(Cell(h) for h in ("class", "images", "precision", "recall", "F1"))
    return Section(
        "mistakes",
        "What it gets wrong",
        (sentence,),
        (
            Plot(
                "confusion",
                figures_network.confusion(counts, found.classes),
                "Test images by true class and by the class they were taken for. Colour is the share of the true class, of "
                "mistakes only: the diagonal is what is right.",
            ),
        ),
        table=Table("Figures by class", head, tuple(rows[:_MOST_CLASSES])),
        more_label=f"The other {len(rows) - _MOST_CLASSES} classes" if len(rows) > _MOST_CLASSES else "",
        more=Table("Figures of the other classes", head, tuple(rows[_MOST_CLASSES:]))
        if len(rows) > _MOST_CLASSES
        else "",
        pictures=tuple(
            Picture(
                image["png"],
                found.classes[image["label"]],
                f"taken for {found.classes[image['predicted']]}, {text.percent(image['probability'])}",
            )
            for image in found.worst
        ),
        pictures_label="The worst of them, those whose true class was thought least likely:",
    )


def training(data: ReportData) -> Section | None:
    """How it learned."""
    histories = [history for history in data.histories if len(history.loss)]
    if not histories:
        return None
    sentence = " ".join(
        f"Trained {history.name} for {len(history.loss)} epochs, it got {text.percent(history.final)} of the validation images "
        "right."
        for history in histories
    )
    if len(histories) == 2:
        gain = 100 * (histories[0].final - histories[1].final)
        sentence += f" The first is delivered: {gain:+.2f} points."
    validated = any(np.isfinite(history.validation_accuracy).any() for history in histories)
    caption = "Accuracy on training images as they were augmented" + (
        ", and on validation images; the test images were read once, at the end." if validated else "."
    )
    return Section(
        "training",
        "Training of the winner",
        (sentence,),
        (
            Plot(
                "loss", figures_network.curves(histories, "loss"), "Mean loss over the training images of each epoch."
            ),
            Plot("accuracy", figures_network.curves(histories, "accuracy"), caption),
        ),
        pair=True,
    )


def time(data: ReportData) -> Section | None:
    """Where the time goes, stage by stage and kernel by kernel."""
    if not data.kernels:
        return None
    plots = []
    if data.places:
        caption = (
            "The network from its input on the left to its output on the right; a box is a block, its width the time that it "
            "takes."
        )
        plots.append(Plot("network-drawn", figures_network.network(data.places), caption))
    caption = (
        "Each bar is one kernel that the runtime executes, in order; its colour says what limits it: arithmetic (compute), "
        "memory traffic (bytes), or the cost of starting it (overhead)."
    )
    plots.append(Plot("kernel-costs", figures.kernels(data.kernels), caption))
    return Section(
        "time",
        "Where the time goes",
        (f"The network runs as {len(data.kernels)} kernels. The times are the predictor’s, kernel by kernel.",),
        tuple(plots),
        table=_stage_table(data) if data.places else None,
        more_label="The kernels by cost",
        more=_kernel_table(data.kernels),
    )


def sensitivity(data: ReportData) -> Section | None:
    """What INT8 costs layer by layer."""
    quantized = data.quantized or {}
    rows = quantized.get("sensitivity", ())
    if not rows:
        return None
    kept = set(quantized.get("float_layers", ()))
    head = tuple(Cell(h) for h in ("layer", "accuracy lost, points", "time gained, µs", "is"))
    return Section(
        "int8",
        "INT8, layer by layer",
        tuple(s for s in (str(quantized.get("verdict") or ""),) if s),
        table=Table(
            "Sensitivity to INT8",
            head,
            tuple(
                (
                    Cell(row["layer"]),
                    Cell(f"{100 * row['accuracy_lost']:+.2f}"),
                    Cell("–" if row["time_gained_ms"] is None else f"{1000 * row['time_gained_ms']:+.1f}"),
                    Cell("float" if row["layer"] in kept else "INT8"),
                )
                for row in rows
            ),
        ),
    )


def _said(found: Effect) -> str:
    return (
        f"{found.gene} ({found.instead_of} → {found.option}: {100 * found.accuracy.value:+.2f} points, "
        f"{100 * found.latency.value:+.1f} % latency)"
    )


def _points(interval: Interval) -> Cell:
    return Cell(f"{100 * interval.value:+.2f}", note=f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}")


def _relative(interval: Interval) -> Cell:
    return Cell(f"{100 * interval.value:+.1f} %", note=f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}")


def _compared(network: Compared) -> tuple[Cell, ...]:
    gain = Cell("" if not network.found else "no baseline is as fast")
    if network.gain is not None:
        gain = Cell(f"{100 * network.gain:+.2f} points", note=f"± {100 * (network.gain_se or 0):.2f}")
    return (
        Cell(network.name, tag="found" if network.found else ""),
        Cell(text.milliseconds(network.p50_ms)),
        Cell(f"{100 * network.accuracy:.2f} %", note=f"± {100 * network.accuracy_se:.2f}"),
        Cell(f"{network.parameters:,}"),
        Cell(text.size(network.memory_bytes)),
        Cell(f"{network.training_s / 60:.1f} min"),
        gain,
        Cell("" if not network.found else "–" if network.speedup is None else f"{network.speedup:.2f} ×"),
    )


def _stage_table(data: ReportData) -> Table:
    total = sum(place.latency_ms for place in data.places)
    stages = list(dict.fromkeys(place.stage for place in data.places))
    rows, taken = [], {stage: sum(p.latency_ms for p in data.places if p.stage == stage) for stage in stages}
    most = max(taken.values())
    for stage in stages:
        places = [place for place in data.places if place.stage == stage]
        chosen = [f"{k.partition('.')[2]} {v}" for k, v in (data.choices or {}).items() if k.partition(".")[0] == stage]
        rows.append(
            (
                Cell(stage, note=", ".join(chosen)),
                Cell(str(len(places))),
                Cell(" × ".join(map(str, places[-1].shape))),
                Cell(f"{1000 * taken[stage]:.1f}", share=taken[stage] / most if most else 0.0),
                Cell(text.percent(taken[stage] / total if total else 0.0)),
            )
        )
    return Table("Stages", tuple(Cell(h) for h in ("stage", "blocks", "output", "µs", "share")), tuple(rows))


def _kernel_table(kernels: Sequence[ReportKernel]) -> Table:
    total = sum(k.latency_ms for k in kernels)
    most = max(k.latency_ms for k in kernels)
    rows = []
    for number, kernel in sorted(enumerate(kernels, 1), key=lambda item: -item[1].latency_ms):
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
