"""``hwnas run`` and its steps: ``search``, ``train``, ``export``. The same command again goes on where the last one stopped."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.accuracy import is_score
from hwnas.commands.answer import NOT_WITHIN_BUDGET, Answer, Json, kibibytes, milliseconds, percent, table

if TYPE_CHECKING:
    from hwnas.bundle.certificate import Certificate
    from hwnas.result import RunResult
    from hwnas.run import Step

ConfigFile = Annotated[Path, typer.Argument(help="Configuration, e.g. examples/digits.toml.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="The run's folder; a run that is there is gone on with.")]

Workers = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N|ray|ray://HOST:PORT",
        help="Evaluate networks in N processes or on a Ray cluster (extra ray), one thread each; the same result for any N.",
        show_default=False,
    ),
]

Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Write scalars into OUT/tensorboard; needs the extra tensorboard.")
]


def run(
    config: ConfigFile, out: Out, workers: Workers = None, tensorboard: Tensorboard = False, json: Json = False
) -> Answer:
    """The whole job: profile, search, train, export, INT8, certificate, report. What was interrupted goes on.

    docs/configuration.md has every key of the configuration. Exit status 3: the budget cannot be met, or was not.

    Examples: `hwnas run examples/digits.toml --out runs/digits` · `hwnas run examples/digits.toml --out runs/digits --workers 4`
    """
    return _answer(config, out, "report", workers, tensorboard)


def search(
    config: ConfigFile, out: Out, workers: Workers = None, tensorboard: Tensorboard = False, json: Json = False
) -> Answer:
    """Only as far as the network: profile, search, and measure the best before it is trained.

    Examples: `hwnas search examples/digits.toml --out runs/digits` · `hwnas search examples/digits.toml --out runs/digits
    --workers ray://host:10001`
    """
    return _answer(config, out, "search", workers, tensorboard)


def train(
    config: ConfigFile, out: Out, workers: Workers = None, tensorboard: Tensorboard = False, json: Json = False
) -> Answer:
    """As far as the trained network.

    Example: `hwnas train examples/digits.toml --out runs/digits`
    """
    return _answer(config, out, "train", workers, tensorboard)


def export(
    config: ConfigFile,
    out: Out,
    engine: Annotated[
        bool, typer.Option("--engine", help="Build TensorRT engines too; without a GPU by TensorRT for RTX.")
    ] = False,
    workers: Workers = None,
    tensorboard: Tensorboard = False,
    json: Json = False,
) -> Answer:
    """As far as the ONNX file, its INT8 version, and TensorRT engines if they are asked for.

    Example: `hwnas export examples/digits.toml --out runs/digits --engine`
    """
    return _answer(config, out, "export", workers, tensorboard, engine=engine)


def _answer(
    config: Path, out: Path, until: Step, workers: str | None, tensorboard: bool, *, engine: bool = False
) -> Answer:
    from hwnas import progress, scalars
    from hwnas.config import load
    from hwnas.run import run as run_job

    loaded = load(config)
    with ExitStack() as opened:
        on_event = opened.enter_context(progress.shown())
        if tensorboard:
            on_event = opened.enter_context(scalars.written(out / "tensorboard", on_event))
        result = run_job(loaded, out, until=until, engine=engine, workers=workers, on_event=on_event)
    return Answer(_value(result, until), _shown(result), 0 if result.within_budget else NOT_WITHIN_BUDGET)


def _value(result: RunResult, until: Step) -> dict[str, Any]:
    return {
        "run": str(result.folder),
        "until": until,
        "budget": asdict(result.budget),
        "genotype": list(result.genotype),
        "genes": dict(result.genes),
        "accuracy": None if is_score(result.accuracy_source) else result.accuracy,
        "accuracy_source": result.accuracy_source,
        "predicted": dict(result.predicted),
        "measured": dict(result.measured),
        "within_budget": result.within_budget,
        "certificate": None if result.certificate is None else result.certificate.to_json(),
        "bundle": None if result.certificate is None else str(result.folder / "bundle"),
        "report": None if result.report is None else str(result.report),
    }


def _shown(result: RunResult) -> list[Any]:
    parts: list[Any] = [table(("gene", "choice"), result.genes.items(), title=str(result.folder))]
    if result.certificate is not None:
        parts += certificate_shown(result.certificate)
    else:
        rows = [
            ("p50", milliseconds(result.predicted["p50_ms"]), milliseconds(result.measured["p50_ms"])),
            ("memory", kibibytes(result.predicted["memory_bytes"]), kibibytes(result.measured["memory_bytes"])),
        ]
        parts.append(table(("before training", "predicted", "measured"), rows))
        parts.append("Within the budget." if result.within_budget else "The budget is NOT kept.")
    if result.report is not None:
        parts.append(f"Report: {result.report}")
    return parts


def certificate_shown(certificate: Certificate) -> list[Any]:
    """The certificate for people."""
    rows = [
        (
            name,
            milliseconds(f.p50_ms),
            milliseconds(f.predicted_p50_ms),
            kibibytes(f.memory_bytes),
            kibibytes(f.bytes),
            percent(f.accuracy),
            "yes" if f.within_budget else "no",
        )
        for name, f in certificate.files.items()
    ]
    limits = certificate.budget
    budget = (
        "budget",
        milliseconds(limits.latency_ms),
        "",
        kibibytes(limits.memory_bytes),
        kibibytes(limits.model_bytes),
        "",
        "",
    )
    columns = ("file", "p50", "predicted", "memory", "size", "test accuracy", "within budget")
    kept = "Within the budget." if certificate.within_budget else "The budget is NOT kept."
    seeds = [] if certificate.seeds is None else [certificate.seeds.in_words()]
    return [
        table(columns, [*rows, budget]),
        f"Deploy {certificate.deploy}: {certificate.deploy_reason} {kept}",
        *seeds,
        *certificate.notes,
    ]
