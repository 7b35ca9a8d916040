"""``hwnas predict``: latency and memory of models from a profile."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.commands.answer import (
    Answer,
    Inputs,
    Json,
    Models,
    data_dependent,
    inputs,
    kibibytes,
    milliseconds,
    percent,
    table,
)

if TYPE_CHECKING:
    from devices import Graph
    from predictors import Estimates


def predict(
    models: Models,
    profile: Annotated[Path, typer.Option("--profile", help="A profile file that hwnas profile wrote.")],
    input: Inputs = None,  # noqa: A002 - the option's name
    learned: Annotated[
        bool,
        typer.Option("--learned", help="Kernels as the profile lets expect, even where the runtime could be asked."),
    ] = False,
    json: Json = False,
) -> Answer:
    """Latency with its 90 % interval, memory, and a table of the kernels, from a profile.

    The profile's runtime, in its version, is asked which kernels it executes if it is here; else they are learned from the
    profile, and the answer says so.

    Examples: `hwnas predict model.onnx --profile cpu.profile.jsonl --input image=1x3x224x224` · `hwnas predict a.onnx b.onnx
    --profile board.profile.jsonl --learned`
    """
    import devices
    import predictors
    from devices.profile import load
    from hwnas import profiles, progress

    known = load(profile)
    with progress.shown() as on_event, nullcontext() if learned else profiles.device_of(known, on_event) as device:
        weights = device is not None
        graphs = [devices.load_onnx(path, inputs(input), weights=weights, device=device) for path in models]
        estimates = predictors.load_or_fit(profile).predict(graphs, device, learned=learned)
    found = [_value(path, graph, estimates, i) for i, (path, graph) in enumerate(zip(models, graphs, strict=True))]
    return Answer({"models": found}, [part for value in found for part in _tables(value)])


def _value(path: Path, graph: Graph, estimates: Estimates, i: int) -> dict[str, Any]:
    from devices.kernels import has_bodies

    return {
        "path": str(path),
        "latency_ms": float(estimates.latency_ms[i]),
        "p50_ms": float(estimates.p50_ms[i]),
        "lower_ms": float(estimates.lower_ms[i]),
        "upper_ms": _finite(estimates.upper_ms[i]),
        "p50_upper_ms": _finite(estimates.p50_upper_ms[i]),
        "memory_bytes": estimates.memory[i].memory_bytes,
        "memory_source": estimates.memory[i].source,
        "lowering": estimates.lowering[i],
        "data_dependent": list(graph.data_dependent),
        "unprofiled": sorted({k.kind for k in estimates.kernels[i] if not k.profiled}),
        "unbounded": sorted({k.kind for k in estimates.kernels[i] if has_bodies(k.kind)}),
        "kernels": [asdict(kernel) for kernel in estimates.kernels[i]],
    }


def _tables(value: dict[str, Any]) -> list[Any]:
    rows = [
        (k["kind"], ", ".join(k["nodes"]) or "–", milliseconds(k["latency_ms"]), k["bound"])
        for k in sorted(value["kernels"], key=lambda k: -k["latency_ms"])
    ]
    summary = (
        f"latency {milliseconds(value['latency_ms'])} ({milliseconds(value['lower_ms'])} to "
        f"{milliseconds(value['upper_ms'])}), p50 {milliseconds(value['p50_ms'])}, memory {kibibytes(value['memory_bytes'])}, "
        + (
            "kernels as the runtime makes them"
            if value["lowering"] == "exact"
            else "kernels as the profile lets expect"
        )
    )
    parts: list[Any] = [table(("kernel", "nodes", "latency", "bound"), rows, title=value["path"]), summary]
    if value["data_dependent"]:
        parts.append(data_dependent(value["data_dependent"]))
    if value["unprofiled"]:
        share = sum(k["latency_ms"] for k in value["kernels"] if not k["profiled"]) / value["latency_ms"]
        parts.append(
            f"Not in the profile, so estimated from their size alone ({percent(share)} of the time): "
            + ", ".join(value["unprofiled"])
        )
    if value["unbounded"]:
        parts.append(
            f"What the bodies of {', '.join(value['unbounded'])} take is not known, so there is no upper end: "
            "hwnas measure runs the model."
        )
    return parts


def _finite(ms: float) -> float | None:
    return float(ms) if math.isfinite(ms) else None
