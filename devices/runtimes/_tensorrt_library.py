"""TensorRT, whichever flavour is here: ``tensorrt`` from 10.12 to 11, or TensorRT for RTX, ``tensorrt_rtx``.

The latter builds without a GPU. Without a driver, classic TensorRT ends the process, so a driver is looked for before it is
touched.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass
from typing import Any

from devices.errors import DeviceUnavailable
from devices.runtimes import _cuda

CLASSIC, RTX = "tensorrt", "tensorrt_rtx"
INSTALL = "pip install tensorrt-rtx-cu13 (GeForce and RTX, builds without a GPU) or pip install tensorrt-cu13 (any GPU)"
_TITLES = {CLASSIC: "TensorRT", RTX: "TensorRT for RTX"}
_NEEDS = (10, 12)  # of the classic flavour
# Without a driver each real error is followed by one about that, which says nothing about the model.
_ECHO = "catchCudaError"
_SEVERE = ("ERROR", "INTERNAL_ERROR")


@dataclass(frozen=True)
class Library:
    """An imported flavour.

    Attributes:
        trt: the module.
        name: the module's.
        version: the module's.
    """

    trt: Any
    name: str
    version: str

    @property
    def title(self) -> str:
        """For messages."""
        return f"{_TITLES[self.name]} {self.version}"


def installed() -> list[str]:
    """Names of the flavours that are installed, without importing them."""
    return [name for name in (CLASSIC, RTX) if importlib.util.find_spec(name)]


def load() -> Library:
    """The flavour to use here: classic TensorRT where it is installed and there is a GPU, else TensorRT for RTX.

    Raises:
        DeviceUnavailable: neither can be used.
    """
    names, no_gpu = installed(), _cuda.missing()
    name = CLASSIC if CLASSIC in names and not no_gpu else RTX
    if name not in names:
        if names:
            raise DeviceUnavailable(
                f"TensorRT builds on a machine with a GPU only, and this one is {no_gpu.partition(':')[0]}.",
                hint="Build there, or with TensorRT for RTX: pip install tensorrt-rtx-cu13",
            )
        raise DeviceUnavailable("TensorRT is not installed.", hint=INSTALL)
    try:
        trt = importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise DeviceUnavailable(
            f"{_TITLES[name]} cannot be imported: {error}", hint=f"Install it again: {INSTALL}"
        ) from error
    version = str(trt.__version__)
    if name == CLASSIC and tuple(map(int, re.findall(r"\d+", version)[:2])) < _NEEDS:
        raise DeviceUnavailable(
            f"TensorRT {version} is too old; {'.'.join(map(str, _NEEDS))} is needed.",
            hint="pip install -U tensorrt-cu13",
        )
    return Library(trt, name, version)


def logger(library: Library) -> Any:
    """A TensorRT logger that keeps what it is told, in ``lines`` of severity and text."""

    class Log(library.trt.ILogger):  # type: ignore[misc, name-defined] # the module is known at run time only
        def __init__(self) -> None:
            library.trt.ILogger.__init__(self)
            self.lines: list[tuple[str, str]] = []

        def log(self, severity: Any, text: str) -> None:
            self.lines.append((severity.name, text))

    return Log()


def errors(log: Any) -> str:
    """What a logger was told of errors, without the echoes of a missing driver."""
    said = [plain(text) for severity, text in log.lines if severity in _SEVERE]
    return " ".join(dict.fromkeys(filter(None, said)))


def plain(text: str) -> str:
    """A message of the library in one line, without echoes and places in its source."""
    lines = []
    for line in text.splitlines():
        if _ECHO in line:
            continue
        inner = re.search(r"Error Code \d+: [\w ]+\((.*?)\.?(?: In \w+ at .*)?\)$", line)
        line = re.sub(r"\[?\S+\.(cpp|h)(::?\s?\w+)*\]?:?", "", inner[1] if inner else line)
        lines.append(re.sub(r"^\s*Assertion failed: .*?: (?=[A-Z])", "", line))
    return " ".join(" ".join(lines).split())
