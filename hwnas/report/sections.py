"""The report's sections: headings, sentences, figures and tables, chosen by what there is to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.accuracy import is_score
from hwnas.report import figures, findings, text, times
from hwnas.report.elements import Cell, Plot, Section, Table

if TYPE_CHECKING:
    from hwnas.report.data import ReportData


def sections(data: ReportData) -> list[Section]:
    """All that this run has something for, in reading order."""
    made = [
        _search(data),
        findings.choices(data),
        _files(data),
        findings.seeds(data),
        findings.against(data),
        findings.mistakes(data),
        findings.training(data),
        times.stages(data),
        times.sensitivity(data),
        _prediction(data),
        _network(data),
    ]
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
        f"Each point is a network: further left is faster, higher is {_better(candidates.source)}. The line joins the "
        f"{len(candidates.front)} that no other beats in both; the star was chosen. {_ranking(candidates.source)}, latencies "
        "from the predictor."
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
    sentence = (
        f"{total:,} networks were looked at, {within:,} of them within the budget."
        if within < total
        else f"{total:,} networks were evaluated, all of them within the budget by the predictor’s upper bound."
    )
    if candidates.predictor_tau is not None:
        sentence += (
            f" A predictor of {text.measure(candidates.source)}, fitted to those before, proposed them; on networks held out of "
            f"it, its rank correlation with what was evaluated (Kendall’s τ) came to {candidates.predictor_tau:.2f}."
        )
    return Section(
        "search",
        "The search",
        (sentence,),
        tuple(plots),
    )


def _better(source: str) -> str:
    return f"a higher {source}" if is_score(source) else "more accurate"


def _ranking(source: str) -> str:
    if is_score(source):
        return f"Networks were ranked by their {source}, which is no accuracy, from 0 to 100 with the middle of the space at 50"
    return f"Accuracies come from the search’s own estimate ({source})"


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
    found = text.held_out_agreement(data.checks)
    sentences = []
    if found is not None:
        sentences.append(
            f"On {found.networks} networks that the predictor had not seen, {text.percent(found.within_5_percent)} of its "
            f"answers lie within ±5 % of the measurement and {text.percent(found.within_10_percent)} within ±10 % "
            f"(RMSPE {text.percent(found.rmspe)}, Kendall’s τ {found.tau:.3f})."
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
