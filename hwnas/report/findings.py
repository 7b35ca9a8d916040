"""The report's sections on the network that was found: what decided it, how it compares, learned and errs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.accuracy import is_score
from hwnas.report import effects as effect
from hwnas.report import figures_network, text
from hwnas.report.elements import Cell, Picture, Plot, Section, Table

if TYPE_CHECKING:
    from hwnas.report.comparison import Compared
    from hwnas.report.data import ReportData
    from hwnas.report.effects import Effect, Interval

_MOST_CLASSES = 20
_MOST_GENES = 20


def choices(data: ReportData) -> Section | None:
    """Which decisions matter."""
    found = data.effects
    if found is None or not found.effects:
        return None
    source = data.candidates.source
    measure = text.measure(source)
    estimated = source if is_score(source) else "estimated accuracy"
    strongest = effect.strongest(found)[:_MOST_GENES]
    sure = [e for e in strongest if e.accuracy.low > 0 or e.accuracy.high < 0]
    first = (
        f"Most for {measure} did {_said(sure[0])}. "
        if sure
        else f"No decision alone has an effect on {measure} beyond doubt. "
    )
    dearest = max(strongest, key=lambda e: abs(e.latency.value))
    return Section(
        "choices",
        "Which decisions matter",
        (
            f"{first}Most for latency did {_said(dearest)}. The decisions’ own effects, added up, explain "
            f"{text.percent(found.accuracy_explained)} of the differences in {estimated} between {found.networks:,} "
            f"networks and {text.percent(found.latency_explained)} of those in latency; the rest is how they act together, "
            "and chance.",
        ),
        (
            Plot(
                "effects-accuracy",
                figures_network.effects(strongest, "accuracy", measure),
                f"What the dearest option does to {measure} in place of the cheapest, the others being equal; 95 % interval.",
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
            tuple(Cell(h) for h in ("decision", "option", f"{measure}, points", "latency", "networks")),
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
    above = sum(n.gain is not None and n.gain > 0 for n in found)
    faster = sum(n.gain is None for n in found)
    faster_than_all = f", {faster} left of all of them" if faster else ""
    sentence = (
        f"Every network was trained for {text.count(compared.epochs, 'epoch')} by the same recipe on {compared.task}, exported, "
        f"and measured in the same rounds on {compared.device}. {above} of {len(found)} found networks lie above the line "
        f"through the best hand-designed ones{faster_than_all}. The supernet, which only the found ones need, took "
        f"{compared.supernet_s / 60:.1f} minutes, once."
    )
    caption = (
        "Squares are hand-designed, diamonds were found; the whiskers are one standard error of the test accuracy. The line "
        "joins the hand-designed networks that no other of them beats in both; speed is over that line at the same accuracy."
    )
    head = ("network", "p50", "test accuracy", "above the line", "speed")
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


def seeds(data: ReportData) -> Section | None:
    """The same job with several seeds."""
    found = (data.certificate or {}).get("seeds")
    if not found:
        return None
    head = ("seed", "test accuracy", "validation accuracy", "p50", "memory", "budget")
    spread = {key: found[key] for key in ("accuracy", "validation_accuracy", "p50_ms")}
    return Section(
        "seeds",
        "Over several seeds",
        (
            f"Search and training were repeated with {len(found['runs'])} seeds: "
            f"{100 * spread['accuracy']['mean']:.2f} ± {100 * spread['accuracy']['standard_deviation']:.2f} % of the test images "
            f"(mean and standard deviation), in {spread['p50_ms']['mean']:.3g} ± {spread['p50_ms']['standard_deviation']:.2g} "
            "ms. The one delivered is the best on validation images within the budget; the rest of this page is about it.",
        ),
        table=Table(
            "Seeds",
            tuple(Cell(h) for h in head),
            tuple(
                (
                    Cell(str(run["seed"]), tag="delivered" if run["seed"] == found["delivered"] else ""),
                    Cell(f"{100 * run['accuracy']:.2f} %"),
                    Cell(f"{100 * run['validation_accuracy']:.2f} %"),
                    Cell(text.milliseconds(run["p50_ms"])),
                    Cell(text.size(run["memory_bytes"])),
                    Cell("kept" if run["within_budget"] else "not kept"),
                )
                for run in found["runs"]
            ),
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
        f"Trained {history.name} for {text.count(len(history.loss), 'epoch')}, it got {text.percent(history.final)} "
        "of the validation images right."
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
    gain = Cell("no baseline is as fast" if network.found else "")
    if network.gain is not None:
        gain = Cell(f"{100 * network.gain:+.2f} points", note=f"± {100 * (network.gain_se or 0):.2f}")
    size = f"{network.parameters:,} parameters, {text.size(network.memory_bytes)}, trained in {network.training_s / 60:.1f} min"
    return (
        Cell(network.name, note=size, tag="found" if network.found else ""),
        Cell(text.milliseconds(network.p50_ms)),
        Cell(f"{100 * network.accuracy:.2f} %", note=f"± {100 * network.accuracy_se:.2f}"),
        gain,
        Cell("" if network.speedup is None else f"{network.speedup:.2f} ×"),
    )
