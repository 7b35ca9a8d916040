"""The command line. Each command answers with one JSON object under ``--json``; errors never show a traceback.

Exit status: 0 done · 2 bad input or usage · 3 the budget cannot be met, or was not · 4 the device is unavailable ·
130 interrupted · 1 anything else.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

import hwnas  # noqa: F401 - first of all the check that its siblings are its own
from hwnas import interrupts
from hwnas.commands import bundles, devices, prediction, runs
from hwnas.commands.answer import NOT_WITHIN_BUDGET, Answer
from hwnas.errors import (
    DeviceUnavailable,
    HwnasError,
    InfeasibleBudget,
    InvalidConfig,
    InvalidData,
    InvalidModel,
    JournalDamaged,
    ProvenanceMismatch,
    UnsupportedOp,
)

_BAD_INPUT = (InvalidConfig, InvalidData, InvalidModel, JournalDamaged, ProvenanceMismatch, UnsupportedOp, ValueError)
_INTERRUPTED = 130
_WIDTH_OF_FILES = 200
_RESUMES = "The same command goes on where this one stopped."

app = typer.Typer(
    name="hwnas",
    help="The most accurate network that fits your device: profile, predict, search, train, export, certify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    devices.devices,
    devices.measure,
    devices.profile,
    prediction.predict,
    runs.run,
    runs.search,
    runs.train,
    runs.export,
    bundles.certify,
    bundles.engines,
    bundles.report,
    bundles.compare,
):
    app.command()(command)


def main() -> None:
    """Entry point of ``hwnas``."""
    with interrupts.repeated():
        status = execute(sys.argv[1:])
    sys.exit(status)


def execute(arguments: Sequence[str]) -> int:
    """Run one command, print its answer, return the exit status."""
    as_json = "--json" in arguments
    with _standard_output_for_the_answer(as_json) as write:
        try:
            answer = typer.main.get_command(app).main(list(arguments), prog_name="hwnas", standalone_mode=False)
            if answer == _INTERRUPTED:  # what typer makes of Ctrl-C
                raise KeyboardInterrupt
        except (Exception, KeyboardInterrupt) as error:
            status, value = _explained(error)
            if as_json:
                write(json.dumps({"error": value}))
            else:
                _show_error(value)
            return status
        if not isinstance(answer, Answer):  # --help
            return answer or 0
        if as_json:
            write(json.dumps(answer.value, allow_nan=False))
        else:
            _show(answer)
        return answer.status


def _explained(error: BaseException) -> tuple[int, Mapping[str, Any]]:
    """Exit status and error object."""
    kind = type(error).__name__
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return _INTERRUPTED, {"kind": "Interrupted", "message": "Interrupted.", "hint": _RESUMES}
    if isinstance(error, typer.TyperException):
        return 2, {"kind": "Usage", "message": error.format_message(), "hint": "hwnas --help; hwnas COMMAND --help"}
    if isinstance(error, InfeasibleBudget):
        value = {"kind": kind, "message": error.message, "hint": error.hint, "closest": error.closest}
        return NOT_WITHIN_BUDGET, value
    if isinstance(error, HwnasError):
        status = 4 if isinstance(error, DeviceUnavailable) else 2 if isinstance(error, _BAD_INPUT) else 1
        return status, {"kind": kind, "message": error.message, "hint": error.hint}
    if isinstance(error, FileNotFoundError):
        return 2, {"kind": kind, "message": f"There is no file {error.filename}.", "hint": "Check the path."}
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = f"Free some space. {_RESUMES}" if full else "Check that the path exists and that you may use it."
        where = f"{error.filename}: " if error.filename else ""
        return 1, {"kind": kind, "message": f"{where}{error.strerror or error}.", "hint": hint}
    if "HWNAS_TRACEBACK" in os.environ:
        traceback.print_exception(error)
    if isinstance(error, ValueError):
        return 2, {"kind": kind, "message": str(error), "hint": "hwnas COMMAND --help lists what can be given."}
    hint = "This is a fault of hwnas. HWNAS_TRACEBACK=1 in the environment shows where, for a report."
    return 1, {"kind": kind, "message": str(error) or kind, "hint": hint}


def _show(answer: Answer) -> None:
    from hwnas.terminal import console, printable

    shown = console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
    for part in answer.shown:
        shown.print(printable(part) if isinstance(part, str) else part)


def _show_error(value: Mapping[str, Any]) -> None:
    from hwnas.terminal import console, printable

    shown = console(stderr=True)
    shown.print("Error:", style="bold red", end=" ")
    for text in filter(None, (value["message"], value["hint"])):
        shown.print(printable(text), soft_wrap=True)


@contextmanager
def _standard_output_for_the_answer(redirect: bool) -> Iterator[Any]:
    """While a JSON answer is being worked out, whatever a library prints goes to standard error, native code's too."""
    if not redirect:
        yield print
        return
    sys.stdout.flush()
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        yield lambda text: os.write(answer, f"{text}\n".encode())
    finally:
        sys.stdout.flush()
        os.dup2(answer, 1)
        os.close(answer)


if __name__ == "__main__":
    main()
