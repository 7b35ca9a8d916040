"""The report's sections on where the network's time goes, and on what INT8 does to its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwnas.report import figures, figures_network, text
from hwnas.report.elements import Cell, Plot, Section, Table

if TYPE_CHECKING:
    from hwnas.report.data import ReportData, ReportKernel


def stages(data: ReportData) -> Section | None:
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
        return Section("int8", "INT8", (quantized["verdict"],)) if "refused" in quantized else None
    kept = set(quantized.get("float_layers", ()))
    head = tuple(Cell(h) for h in ("layer", "points lost", "µs gained", "is"))
    return Section(
        "int8",
        "INT8, layer by layer",
        (
            f"{quantized.get('verdict', '')} Calibrated by: {quantized.get('calibration', 'the runtime')}. Each row is what INT8 "
            "in that layer alone costs on validation images, and the time that it is predicted to gain.",
        ),
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


def _stage_table(data: ReportData) -> Table:
    total = sum(place.latency_ms for place in data.places)
    stages = list(dict.fromkeys(place.stage for place in data.places))
    rows, taken = [], {stage: sum(p.latency_ms for p in data.places if p.stage == stage) for stage in stages}
    most = max(taken.values())
    for stage in stages:
        places = [place for place in data.places if place.stage == stage]
        chosen = [_choice(k, v) for k, v in (data.choices or {}).items() if k.partition(".")[0] == stage]
        rows.append(
            (
                Cell(stage, note=", ".join(c for c in chosen if c)),
                Cell(str(len(places))),
                Cell(" × ".join(map(str, places[-1].shape))),
                Cell(f"{1000 * taken[stage]:.1f}", share=taken[stage] / most if most else 0.0),
                Cell(text.percent(taken[stage] / total if total else 0.0)),
            )
        )
    return Table("Stages", tuple(Cell(h) for h in ("stage", "blocks", "output", "µs", "share")), tuple(rows))


def _choice(gene: str, option: object) -> str:
    """A stage's gene in words: ``kernel 5``; a switch only where it is on, and not the depth, which is the number of blocks."""
    name = gene.partition(".")[2].replace("_", "-")
    if name == "depth" or option is False:
        return ""
    return name if option is True else f"{name} {option}"


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
