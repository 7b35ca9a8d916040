"""The files of a bundle, and which of them a device runs: each runtime its own, where there are such, else the ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import devices
from devices import Graph, engine_file, engines
from devices.spec import runtime_of
from hwnas.bundle import native
from hwnas.bundle.certificate import FLOAT, INT8, Built
from hwnas.bundle.formats import FORMATS, of_file
from hwnas.errors import InvalidData

ENGINES = tuple(FORMATS["tensorrt"].files)


@dataclass(frozen=True)
class Contents:
    """What a device makes of a bundle.

    Attributes:
        measured: the files that it runs, the float32 one first.
        unmeasured: why it does not run the others, by name.
    """

    measured: Mapping[str, Graph]
    unmeasured: Mapping[str, str]


def contents(folder: Path, spec: str) -> Contents:
    """The files of a bundle for the device of that specification.

    Raises:
        InvalidData: there is no :data:`FLOAT`, or nothing that the device runs.
        InvalidModel, ProvenanceMismatch: a file is damaged, or an engine is not of its ONNX file.
    """
    if not (folder / FLOAT).is_file():
        raise InvalidData(f"{folder} holds no {FLOAT}.", hint="Give the bundle folder of a run: RUN/bundle.")
    runtime = runtime_of(spec)
    onnx_files = _present(folder, (FLOAT, INT8))
    form = FORMATS.get(runtime)
    own = [] if form is None else _present(folder, form.files)
    if form is not None and not any(source(folder, name).name == FLOAT for name in own):
        if form.onnx_refused:
            raise InvalidData(
                f"{folder} holds no {next(iter(form.files))}, and {runtime} runs no ONNX files.",
                hint=f'Run the run for {runtime}: [device] spec = "{runtime}". Or certify on a device that runs ONNX files.',
            )
        own = []
    unmeasured = dict.fromkeys(onnx_files, form.instead_of_onnx) if form is not None and own else {}
    for other in FORMATS.values():
        if other is not form:
            unmeasured |= dict.fromkeys(_present(folder, other.files), other.not_elsewhere)
    return Contents({name: graph(folder, name) for name in own or onnx_files}, unmeasured)


def natives(folder: Path) -> list[Path]:
    """Every file of a bundle that is in a runtime's own format, the parts that it is of included."""
    return [
        part
        for form in FORMATS.values()
        for name in _present(folder, form.files)
        for part in native.parts(folder / name)
    ]


def runs_engines(spec: str) -> bool:
    """Whether a device is one of TensorRT, wherever it is."""
    return runtime_of(spec) == "tensorrt"


def source(folder: Path, name: str) -> Path:
    """The ONNX file that a file is made of; of an ONNX file itself."""
    form = of_file(name)
    candidates = [folder / candidate for candidate in ((name,) if form is None else form.files[name])]
    return next((path for path in candidates if path.is_file()), candidates[0])


def graph(folder: Path, name: str) -> Graph:
    """What a file computes; of one in a runtime's own format with its content."""
    made_of = source(folder, name)
    loaded = devices.load_onnx(made_of)
    if name in ENGINES:
        return engines.with_engine(loaded, made_of.read_bytes(), folder / name)
    return replace(loaded, native=native.read(folder / name)) if of_file(name) is not None else loaded


def built(folder: Path, name: str) -> Built | None:
    """What an engine was built of and for; None for another file."""
    if name not in ENGINES:
        return None
    record = engine_file.read(folder / name).record
    return Built(
        onnx=source(folder, name).name,
        onnx_sha256=record.onnx_sha256,
        library=record.library,
        version=record.version,
        targets=record.targets,
        gpu=record.gpu,
    )


def precision(name: str) -> Literal["fp32", "fp16", "int8"]:
    """Of a file, by its name."""
    return "int8" if ".int8." in name else "fp16" if ".fp16." in name else "fp32"


def _present(folder: Path, names: Mapping[str, object] | tuple[str, ...]) -> list[str]:
    return [name for name in names if (folder / name).is_file()]
