"""Numbers and findings in words, for the report: units in one place, and sentences that follow from the figures alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy import is_score
from predictors import Agreement

if TYPE_CHECKING:
    from hwnas.report.data import ReportCheck, ReportData


def milliseconds(value: float) -> str:
    """Three significant digits: ``0.312 ms``, ``12.4 ms``."""
    return f"{digits(value)} ms"


def limit_ms(value: float) -> str:
    """A latency limit, three digits without trailing zeros: ``0.4 ms``."""
    written = digits(value)
    return (written.rstrip("0").rstrip(".") if "." in written else written) + " ms"


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{min(6, max(0, 2 - math.floor(math.log10(abs(value)))))}f}"


def percent(fraction: float) -> str:
    """One digit after the point: ``91.2 %``."""
    return f"{100 * fraction:.1f} %"


def count(number: int, noun: str) -> str:
    """``1 epoch``, ``8 epochs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(n_bytes: float) -> str:
    """In the binary unit that fits: ``812 B``, ``214 KiB``, ``1.53 MiB``."""
    if n_bytes < 1024:
        return f"{n_bytes:.0f} B"
    for unit, scale in (("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)):
        if n_bytes < 1024 * scale or unit == "GiB":
            return f"{digits(n_bytes / scale)} {unit}"
    raise AssertionError


def headline(data: ReportData) -> str:
    """What was found, in one sentence, whether it is pleasant or not."""
    if data.certificate is None:
        return _headline_of_search(data)
    file = data.certificate["files"][data.certificate["deploy"]]
    kept = bool(data.certificate["within_budget"])
    accuracy = file.get("accuracy")
    limit = data.budget.latency_ms
    speed = milliseconds(file["p50_ms"]) + (f" of {limit_ms(limit)}" if limit is not None else "")
    what = f"{percent(accuracy)} accuracy in {speed}" if accuracy is not None else speed
    if kept:
        return f"{what}: the budget is kept."
    elsewhere = [also["device"]["spec"] for also in data.certificate.get("also", ()) if not also["within_budget"]]
    if elsewhere and file["within_budget"]:
        return f"{what}: the budget is kept here, but not that of {', '.join(elsewhere)}."
    broken = [name for name, used, allowed in budget_use(data) if used > allowed]
    which = f" ({', '.join(broken)})" if broken else " (the measurement's upper bound is above the limit)"
    return f"{what}: the budget is not kept{which}."


def lead(data: ReportData) -> str:
    """Which file that is, how and where it was measured; empty without a certificate."""
    if data.certificate is None:
        return ""
    name = data.certificate["deploy"]
    file = data.certificate["files"][name]
    hardware = str(data.device.hardware.get("cpu") or data.device.hardware.get("gpu") or data.device.spec)
    interval = file.get("ci95_ms")
    between = f" (95 % interval {digits(interval[0])}–{digits(interval[1])})" if interval else ""
    sentences = [
        f"Deploy {name}: {size(file['bytes'])} on disk, {size(file['memory_bytes'])} of memory, "
        f"median latency {milliseconds(file['p50_ms'])}{between}, measured on {hardware} in a fresh process.",
        data.certificate["deploy_reason"],
    ]
    return " ".join(s for s in sentences if s)


def measure(source: str) -> str:
    """What numbers from ``source`` are called."""
    return source if is_score(source) else "accuracy"


def notes(data: ReportData) -> list[str]:
    """What the reader must know before believing the figures."""
    certificate = data.certificate or {}
    unstable = [name for name, file in certificate.get("files", {}).items() if not file["stable"]]
    disturbed = [
        f"The machine was disturbed while {name} was measured; its figures may not repeat." for name in unstable
    ]
    return list(dict.fromkeys([*data.notes, *certificate.get("notes", ()), *disturbed]))


def _headline_of_search(data: ReportData) -> str:
    candidates = data.candidates
    if candidates.winner is None:
        return f"No network has been chosen yet; {len(candidates.accuracy):,} were looked at."
    accuracy, latency = candidates.accuracy[candidates.winner], candidates.latency_ms[candidates.winner]
    ranked_by = f"a {candidates.source} of {100 * accuracy:.2f} of 100"
    estimate = ranked_by if is_score(candidates.source) else f"{percent(accuracy)} ({candidates.source})"
    return (
        f"The search chose a network of {milliseconds(latency)} (predicted) and {estimate}; "
        "nothing has been certified yet."
    )


def budget_use(data: ReportData) -> list[tuple[str, float, float]]:
    """Name, use and limit of each limit that the budget has, for the file to deploy; empty without a certificate."""
    if data.certificate is None:
        return []
    file = data.certificate["files"][data.certificate["deploy"]]
    uses = [
        ("latency", file["p50_ms"], data.budget.latency_ms),
        ("memory", file.get("memory_bytes"), data.budget.memory_bytes),
        ("file size", file.get("bytes"), data.budget.model_bytes),
    ]
    return [(name, float(used), float(limit)) for name, used, limit in uses if used is not None and limit is not None]


def int8_verdict(files: Mapping[str, Mapping[str, Any]]) -> str:
    """How the INT8 file compares with the FP32 one; empty unless there are both."""
    by_precision = {str(f.get("precision", "")).lower(): f for f in files.values()}
    fp32, int8 = by_precision.get("fp32"), by_precision.get("int8")
    if fp32 is None or int8 is None:
        return ""
    speedup = fp32["p50_ms"] / int8["p50_ms"]
    parts = [
        f"INT8 runs {speedup:.2f} times as fast as FP32 here"
        if speedup >= 1
        else f"INT8 is slower here, at {speedup:.2f} times the speed of FP32"
    ]
    if fp32.get("bytes") and int8.get("bytes"):
        parts.append(f"its file has {int8['bytes'] / fp32['bytes']:.0%} of the size".replace("%", " %"))
    if fp32.get("accuracy") is not None and int8.get("accuracy") is not None:
        points = 100 * (fp32["accuracy"] - int8["accuracy"])
        word = "less" if points > 0 else "more"
        parts.append(f"it is {abs(points):.2f} points {word} accurate" if abs(points) >= 0.005 else "it is as accurate")
    return "; ".join(parts) + "."


def held_out_agreement(checks: Sequence[ReportCheck]) -> Agreement | None:
    """Of the held-out networks; None for fewer than two."""
    held_out = [(c.predicted_ms, c.measured_ms) for c in checks if c.group == "validation"]
    return Agreement.of(*np.array(held_out).T) if len(held_out) > 1 else None


def class_figures(confusion: NDArray[np.int64]) -> list[dict[str, float]]:
    """Precision, recall and F1 of each class from ``(classes, classes)`` counts, true by predicted; 0 where undefined."""
    from sklearn.metrics import precision_recall_fscore_support

    true, predicted = np.indices(confusion.shape).reshape(2, -1)
    found = precision_recall_fscore_support(
        true, predicted, labels=range(len(confusion)), sample_weight=confusion.ravel(), zero_division=0.0
    )
    return [dict(zip(("precision", "recall", "f1"), row, strict=True)) for row in np.stack(found[:3], axis=1).tolist()]
