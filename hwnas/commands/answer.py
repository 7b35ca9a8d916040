"""What a command answers, for programs and for people, and the options that several commands share."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.terminal import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import RenderableType

Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output; progress stays on standard error.")
]
DeviceSpec = Annotated[str, typer.Option("--device", help="Device, e.g. onnxruntime:threads=1.")]
Models = Annotated[list[Path], typer.Argument(help="ONNX files.", show_default=False)]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=1x3x224x224",
        help="Shape of an input that the file leaves open; or NAME=FILE.npy, its values, where they decide what is executed.",
    ),
]

NOT_WITHIN_BUDGET = 3


@dataclass(frozen=True)
class Answer:
    """The JSON object, what a person sees instead, and the exit status."""

    value: Mapping[str, Any]
    shown: Sequence[RenderableType] = field(default=())
    status: int = 0


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> RenderableType:
    """Rows of text and numbers; the first column is left-aligned, the others right."""
    from rich.table import Table

    made = Table(title=title and printable(title), title_justify="left")
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def inputs(options: Sequence[str] | None) -> dict[str, tuple[int, ...] | NDArray[Any]]:
    """Parsed ``NAME=1x3x224x224`` and ``NAME=FILE.npy`` options: shapes, and values.

    Raises:
        ValueError: one is not written like that, or its file cannot be read.
    """
    parsed: dict[str, tuple[int, ...] | NDArray[Any]] = {}
    for text in options or ():
        name, _, value = text.rpartition("=")
        if name and value.endswith(".npy"):
            parsed[name] = _values(Path(value))
        elif name and (sizes := shape(value)) is not None:
            parsed[name] = sizes
        else:
            raise ValueError(f"--input is written NAME=1x3x224x224 or NAME=FILE.npy, got {text!r}")
    return parsed


def shape(text: str) -> tuple[int, ...] | None:
    """Parsed ``1x3x224x224``; None if it is not written like that."""
    sizes = text.split("x")
    fits = all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes)
    return tuple(int(size) for size in sizes) if fits else None


def _values(file: Path) -> NDArray[Any]:
    import numpy as np

    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"--input: {file} cannot be read as an array of numpy: {error}") from error


def settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Parsed ``KEY=VALUE`` options, values as TOML has them.

    Raises:
        ValueError: one is not written like that.
    """
    try:
        return tomllib.loads("\n".join(pairs or ()))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"--setting is written KEY=VALUE as in a configuration file, got {pairs}: {error}") from None


def seconds(text: str | None) -> float | None:
    """A duration: ``90``, ``90s`` or ``2m``.

    Raises:
        ValueError: not positive, or not written like that.
    """
    if text is None:
        return None
    written = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)([sm]?)", text.strip())
    try:
        value = float(written[1]) * {"m": 60.0}.get(written[2], 1.0) if written else 0.0
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"a time limit is written 90, 90s or 2m, in seconds or minutes, got {text!r}")
    return value


def data_dependent(tensors: Sequence[str]) -> str:
    """A word on tensors that are as one run makes them."""
    return (
        f"{len(tensors)} tensors are shaped or made as the data decide, {tensors[0]!r} first; this is for the inputs given, "
        "or else for random ones."
    )


def milliseconds(value: float | None) -> str:
    """Three significant digits with their unit."""
    return "–" if value is None else f"{value:.3g} ms"


def kibibytes(value: float | None) -> str:
    """Whole KiB, or MiB with two digits."""
    if value is None:
        return "–"
    return f"{value / 1024:.0f} KiB" if value < 1 << 20 else f"{value / (1 << 20):.2f} MiB"


def percent(value: float | None) -> str:
    """A fraction as per cent."""
    return "–" if value is None else f"{value:.2%}"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))
