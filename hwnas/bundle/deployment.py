"""Which of the files that were measured to deploy."""

from __future__ import annotations

from collections.abc import Mapping

from hwnas.bundle.certificate import FileRecord


def choose(files: Mapping[str, FileRecord], max_accuracy_drop: float) -> tuple[str, str]:
    """Name of the file to deploy, and why, in a sentence."""
    float_name, *others = sorted(files, key=lambda name: files[name].precision != "fp32")
    full = files[float_name]
    if not others:
        return float_name, "There is no INT8 file for this device."

    def lost(name: str) -> float:
        return full.validation_accuracy - files[name].validation_accuracy

    keeping = [name for name in others if lost(name) <= max_accuracy_drop]
    name = (
        min(keeping, key=lambda n: (not files[n].within_budget, files[n].p50_ms)) if keeping else min(others, key=lost)
    )
    other, word = files[name], files[name].precision.upper()
    changes = f"{'gains' if lost(name) < 0 else 'loses'} {100 * abs(lost(name)):.2f} points of validation accuracy"
    if not keeping:
        return float_name, f"{word} {changes}; {100 * max_accuracy_drop:.2f} are allowed."
    times = f"{other.p50_ms:.3g} ms against {full.p50_ms:.3g} ms"
    if other.within_budget != full.within_budget:
        keeps, fails = (word, "FP32") if other.within_budget else ("FP32", word)
        return (
            name if other.within_budget else float_name
        ), f"{keeps} keeps the budget and {fails} does not ({times})."
    if other.p50_ms >= full.p50_ms:
        slower = f"{word} is {other.p50_ms / full.p50_ms:.2f} times as slow here, {times}"
        return float_name, f"{slower}, and {changes}: the float32 file is deployed."
    return name, f"{word} is {full.p50_ms / other.p50_ms:.2f} times as fast here, {times}, and {changes}."
