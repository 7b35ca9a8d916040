"""``hwnas devices``, ``measure`` and ``profile``: what runs here, and how fast."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.commands.answer import (
    Answer,
    DeviceSpec,
    Inputs,
    Json,
    Models,
    data_dependent,
    inputs,
    kibibytes,
    milliseconds,
    percent,
    seconds,
    shape,
    table,
)

if TYPE_CHECKING:
    from devices import DeviceStatus
    from hwnas.space import SearchSpace


def devices(
    where: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[setup] [ssh://USER@HOST:PORT[/RUNTIME]]", help="A machine elsewhere.", show_default=False
        ),
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="setup: a Python there that has numpy and the runtime; nothing is fetched then.")
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="setup: a folder of wheels to send; then the machine fetches none itself.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="setup: take away what it put there.")] = False,
    json: Json = False,
) -> Answer:
    """What can run here, and for the rest why not and what to install. With an address: what can run there.

    `setup` puts a runtime on a machine elsewhere: hwnas's worker, numpy and the runtime, in `~/.hwnas` there, with pip. It goes
    through your `ssh`, with your configuration, keys and known hosts. From then on the address is a device like any other.

    Examples: `hwnas devices --json` · `hwnas devices setup ssh://pi@board/onnxruntime` · `hwnas devices ssh://pi@board` ·
    `hwnas measure model.onnx --device ssh://pi@board/onnxruntime:threads=4` · `hwnas devices setup ssh://pi@board/onnxruntime
    --remove`
    """
    import devices as package
    from devices.hardware import hardware

    words = list(where or ())
    setting_up = words[:1] == ["setup"]
    if len(words) != setting_up + 1 and (words or setting_up):
        raise ValueError(f"written hwnas devices [setup] [ssh://HOST/RUNTIME], got {' '.join(words)!r}")
    if (python or wheels or remove) and not setting_up:
        raise ValueError("--python, --wheels and --remove are for hwnas devices setup ssh://HOST/RUNTIME")
    if words:
        found, machine, shown = _elsewhere(words[-1], setting_up, python, wheels, remove)
    else:
        found, machine, shown = package.describe(), hardware(), []
    rows = [
        (
            d.spec,
            d.unavailable or "ready",
            ", ".join(f"{k} {v}" for k, v in d.versions.items()),
            ", ".join(f"{k}: {v}" for k, v in d.settings.items()),
        )
        for d in found
    ]
    if machine:
        shown.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['machine']}, {machine['system']}")
    return Answer(
        {"devices": [asdict(d) | {"available": not d.unavailable} for d in found], "hardware": machine},
        [*([table(("device", "status", "versions", "settings"), rows)] if rows else []), *shown],
    )


def _elsewhere(
    spec: str, setting_up: bool, python: str | None, wheels: Path | None, remove: bool
) -> tuple[list[DeviceStatus], dict[str, Any], list[str]]:
    """Status of devices on another machine, its hardware, and what is to be said."""
    import devices as package
    from devices.ssh import address, target
    from hwnas import progress

    at, local = address.split(spec)
    runtime = local.partition(":")[0]
    if at is None or (setting_up and not runtime):
        raise ValueError(f"a machine elsewhere is written ssh://USER@HOST:PORT{'/RUNTIME' * setting_up}, got {spec!r}")
    if remove:
        target.remove(at, runtime)
        return [], {}, [f"{runtime} is removed from {at}."]
    if setting_up:
        with progress.shown() as on_event:
            target.setup(at, runtime, python=python, wheels=wheels, on_event=on_event)
    told = [target.describe(at, name) for name in ([runtime] if runtime else package.names())]
    return [status for status, _ in told], next((machine for _, machine in told if machine), {}), []


def measure(
    models: Models,
    device: DeviceSpec = "onnxruntime:threads=1",
    input: Inputs = None,  # noqa: A002 - the option's name
    json: Json = False,
) -> Answer:
    """Measure ONNX files on a device: interleaved rounds beside sentinel networks, then memory.

    `p50` is the median of a run, in milliseconds, with the batch that the file has; `latency` is how fast the network is with the
    machine at its best, which is what predictors learn.

    Example: `hwnas measure model.onnx --device onnxruntime:threads=2 --input image=1x3x224x224`
    """
    import devices as package
    import profilers
    from hwnas import progress

    with progress.shown() as on_event, package.open(device, on_event=on_event) as opened:
        graphs = [package.load_onnx(path, inputs(input), device=opened) for path in models]
        timings = profilers.measure_graphs(opened, graphs, on_event=on_event)
        memories = []
        for graph in graphs:
            with opened.load(graph) as session:
                memories.append(session.memory())
        resident = [package.resident_bytes(device, graph) for graph in graphs]
        spec = opened.info.spec
    results: list[dict[str, Any]] = [
        {
            "path": str(path),
            "latency_ms": timing.latency_ms,
            "p50_ms": timing.p50_ms,
            "p95_ms": timing.p95_ms,
            "ci95_ms": [timing.p50_low_ms, timing.p50_high_ms],
            "memory_bytes": memory.memory_bytes,
            "memory_source": memory.source,
            "resident_bytes": grown,
            "stable": timing.stable,
            "data_dependent": list(graph.data_dependent),
        }
        for path, graph, timing, memory, grown in zip(models, graphs, timings, memories, resident, strict=True)
    ]
    rows = [
        (
            r["path"],
            milliseconds(r["latency_ms"]),
            milliseconds(r["p50_ms"]),
            milliseconds(r["p95_ms"]),
            kibibytes(r["memory_bytes"]),
            "yes" if r["stable"] else "no",
        )
        for r in results
    ]
    return Answer(
        {"device": spec, "models": results},
        [
            table(("model", "latency", "p50", "p95", "memory", "stable"), rows, title=spec),
            *(f"{r['path']}: {data_dependent(r['data_dependent'])}" for r in results if r["data_dependent"]),
        ],
    )


def profile(
    out: Annotated[Path, typer.Option("--out", help="The profile file; what it already has is not measured again.")],
    device: DeviceSpec = "onnxruntime:threads=1",
    space: Annotated[str | None, typer.Option("--space", help="Cover this search space and nothing else.")] = None,
    input_shape: Annotated[str, typer.Option(help="One example of your task, channels first.")] = "1x28x28",
    classes: Annotated[int, typer.Option(help="Number of classes of your task.", min=2)] = 10,
    for_: Annotated[
        list[Path] | None, typer.Option("--for", help="Measure this ONNX file first; random ones follow.")
    ] = None,
    input: Inputs = None,  # noqa: A002 - the option's name
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Start from this profile of a similar device; ten networks are enough."),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="60s",
            help="Begin nothing new after these seconds, or minutes: 90s, 2m. Default: 300s; with --from 60s; none with --space.",
            show_default=False,
        ),
    ] = None,
    target_error: Annotated[
        float | None,
        typer.Option(
            metavar="0.1",
            min=0,
            max=1,
            help="Stop when 9 of 10 random networks held out are predicted within this fraction.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which networks are timed, and in which order.", min=0)] = 0,
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether the profile still holds; status 1 if not.")
    ] = False,
    json: Json = False,
) -> Answer:
    """Profile a device once; ends by fitting the predictor beside the profile. A killed profile goes on where it stopped.

    Examples: `hwnas profile --device onnxruntime:threads=1 --space mobile --input-shape 3x32x32 --out cpu.profile.jsonl
    --time-limit 90s` · `hwnas profile --for model.onnx --out cpu.profile.jsonl` ·
    `hwnas profile --target-error 0.1 --time-limit 20m --out cpu.profile.jsonl` · `hwnas profile --out cpu.profile.jsonl --check`
    """
    import devices as package
    import predictors
    from hwnas import profiles, progress

    limit = seconds(time_limit)
    if check:
        return _check(out, device)
    with progress.shown() as on_event, package.open(device, on_event=on_event) as opened:
        graphs = [package.load_onnx(path, inputs(input), device=opened) for path in for_ or ()]
        covered = None if space is None else _space(space, input_shape, classes)
        made = profiles.make(
            opened,
            out,
            space=covered,
            models=graphs,
            sibling=from_,
            seed=seed,
            time_limit_s=limit,
            target_error=target_error,
            on_event=on_event,
        )
    predictors.load_or_fit(out, seed=seed)
    value = {
        "profile": str(out),
        "predictor": str(predictors.predictor_path(out)),
        "device": made.info.to_json(),
        "networks": len(made.lowerings),
        "timed": len(made.timings),
        "failed": dict(made.failed),
        "noise_floor": made.noise_floor,
        "drift": made.drift,
    }
    rows = [
        ("networks", len(made.lowerings)),
        ("timed whole", len(made.timings)),
        ("failed", len(made.failed)),
        ("noise floor", percent(made.noise_floor)),
        ("drift while measuring", percent(made.drift)),
    ]
    return Answer(value, [table((made.info.spec, str(out)), rows)])


def _check(path: Path, spec: str) -> Answer:
    import devices as package
    import profilers
    from devices import profile as files
    from hwnas import progress

    with progress.shown() as on_event, package.open(spec, on_event=on_event) as opened:
        found = profilers.check(opened, files.load(path))
    word = "holds" if found.holds else "no longer holds: profile again into another file"
    rows = [(digest, percent(drift)) for digest, drift in found.drift.items()]
    return Answer(
        {"profile": str(path), "holds": found.holds, "drift": dict(found.drift)},
        [table(("sentinel", "drift"), rows), f"The profile {word}."],
        status=0 if found.holds else 1,
    )


def _space(name: str, input_shape: str, classes: int) -> SearchSpace:
    import hwnas.spaces

    sizes = shape(input_shape)
    if sizes is None or len(sizes) != 3:
        raise ValueError(f"--input-shape is written 3x32x32, got {input_shape!r}")
    return hwnas.spaces.open(name, (sizes[0], sizes[1], sizes[2]), classes)
