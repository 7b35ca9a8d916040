"""``hwnas certify``, ``engines``, ``report`` and ``compare``: what was made, looked at again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.commands.answer import NOT_WITHIN_BUDGET, Answer, Json, kibibytes, milliseconds, percent, settings, table

Runs = Annotated[list[Path], typer.Argument(help="Folders of runs.", show_default=False)]


def certify(
    bundle: Annotated[Path, typer.Argument(help="A run's bundle folder: RUN/bundle.", show_default=False)],
    device: Annotated[
        str | None,
        typer.Option(
            help="This device alone. Default: every device of the certificate, on this machine.", show_default=False
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Classify this task's images again, e.g. digits.")] = None,
    data: Annotated[Path | None, typer.Option(help="The task's file or folder, where it needs one.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A key of the task's own, as in a configuration: size=64."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The run's seed: it decided which images are validation images.")] = 0,
    json: Json = False,
) -> Answer:
    """Measure a bundle again, from the bundle alone, and issue its certificate anew.

    Without `--task` the accuracies are those of the former certificate, and a note says so.

    Examples: `hwnas certify runs/digits/bundle --device onnxruntime:threads=2 --task digits` · `hwnas certify
    runs/photos/bundle --device ssh://pi@board/onnxruntime --task folder --data photos --setting size=64`
    """
    from hwnas import progress, tasks
    from hwnas.bundle.certify import certify_again
    from hwnas.commands.runs import certificate_shown

    given = settings(setting)
    if "path" in given:
        raise ValueError(f"--setting path={given['path']!r}: give the file or folder with --data")
    if task is not None:
        tasks.check(task, given)
    with progress.shown() as on_event:
        opened = None if task is None else tasks.open(task, path=data, seed=seed, on_event=on_event, **given)
        certificate = certify_again(bundle, device=device, task=opened, seed=seed, on_event=on_event)
    status = 0 if certificate.within_budget else NOT_WITHIN_BUDGET
    return Answer(certificate.to_json(), certificate_shown(certificate), status)


def engines(
    bundle: Annotated[Path, typer.Argument(help="A run's bundle folder: RUN/bundle.", show_default=False)],
    target: Annotated[
        list[str] | None, typer.Option(metavar="sm86", help="A kind of GPU; several may be given. Default: all.")
    ] = None,
    json: Json = False,
) -> Answer:
    """Build a bundle's TensorRT engines again, of its ONNX files, by the TensorRT of this machine.

    Example: `hwnas engines runs/digits/bundle --target sm86 --target sm89`
    """
    from hwnas import progress
    from hwnas.bundle.engines import build_engines

    with progress.shown() as on_event:
        records = build_engines(bundle, targets=target or (), on_event=on_event)
    rows = [
        (name, r.precision, kibibytes(r.plan_bytes), f"{r.build_s:.1f} s", ", ".join(r.targets) or "all")
        for name, r in records.items()
    ]
    titles = {f"{r.library} {r.version}" for r in records.values()}
    value = {"bundle": str(bundle), "engines": {name: record.to_json() for name, record in records.items()}}
    columns = ("engine", "precision", "size", "built in", "for")
    return Answer(value, [table(columns, rows, title=", ".join(titles)), "hwnas certify BUNDLE --device tensorrt"])


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    baselines: Annotated[
        Path | None, typer.Option(help="comparison.json of benchmarks/against_hand_designed.py.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write the figures into this folder too; needs Chromium.")] = None,
    json: Json = False,
) -> Answer:
    """Write the report of a run anew, RUN/report.html, as far as the run went.

    Example: `hwnas report runs/digits --png figures`
    """
    from hwnas.report.write import write_pictures, write_report

    page = write_report(run, baselines)
    pictures = [] if png is None else write_pictures(run, png, baselines)
    shown = [f"Report: {page}", *([f"{len(pictures)} figures: {png}"] if pictures else [])]
    return Answer({"report": str(page), "pictures": [str(path) for path in pictures]}, shown)


def compare(
    runs: Runs,
    plot: Annotated[
        Path | None, typer.Option(help="Write the course of the searches, by strategy, into this HTML file.")
    ] = None,
    json: Json = False,
) -> Answer:
    """Runs side by side: budget, the network's cost and accuracy, the file to deploy.

    With `--plot` also fitness and hypervolume by evaluation of each strategy, with the spread over its seeds.

    Example: `hwnas compare runs/seed0 runs/seed1 --plot course.html`
    """
    from hwnas.report import course
    from hwnas.report.summary import summary

    found = [summary(run) for run in runs]
    value: dict[str, Any] = {"runs": found}
    shown: list[Any] = [table(_COLUMNS, [_row(line) for line in found])]
    if plot is not None:
        courses = course.courses(runs)
        course.write_plot(courses, plot)
        ends = [each.to_json() for each in courses]
        left_out = [str(folder) for folder in course.searched(runs)[1]]
        value |= {"strategies": ends, "plot": str(plot), "left_out": left_out}
        shown += [table(_ENDS, [_end(line) for line in ends]), f"Plot: {plot}"]
        shown += [f"Left out, as no network is evaluated there yet: {', '.join(left_out)}"] if left_out else []
    return Answer(value, shown)


_COLUMNS = ("run", "task", "evaluated", "budget", "deploy", "p50", "memory", "size", "test accuracy", "within budget")


def _row(value: dict[str, Any]) -> tuple[object, ...]:
    return (
        value["run"],
        value["task"],
        value["evaluated"],
        milliseconds(value["budget"]["latency_ms"]),
        value["deploy"] or "–",
        milliseconds(value["p50_ms"]),
        kibibytes(value["memory_bytes"]),
        kibibytes(value["model_bytes"]),
        percent(value["accuracy"]),
        {True: "yes", False: "no", None: "–"}[value["within_budget"]],
    )


_ENDS = ("strategy", "seeds", "evaluated", "fitness", "±", "hypervolume", "±")


def _end(value: dict[str, Any]) -> tuple[object, ...]:
    ends = [value[name][of] for name in ("fitness", "hypervolume") for of in ("mean", "standard_deviation")]
    return (
        value["strategy"],
        value["seeds"],
        value["evaluations"],
        *("–" if end is None else f"{end:.4g}" for end in ends),
    )
