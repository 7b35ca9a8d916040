"""The files of a bundle, and which of them a device runs: each runtime its own, where there are such, else the ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import devices
from devices import Graph, engine_file, engines
from devices.spec import runtime_of
from hwnas import native
from hwnas.certificate import FLOAT, INT8, Built
from hwnas.errors import InvalidData

FP16, INT8_FOR_TENSORRT = "model.fp16.onnx", "model.int8.tensorrt.onnx"
"""What engines are built of beside :data:`FLOAT`; where the whole run is for TensorRT its :data:`INT8` is in that flavour."""

OF_RUNTIME: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "tensorrt": {
        "model.fp32.engine": (FLOAT,),
        "model.fp16.engine": (FP16,),
        "model.int8.engine": (INT8_FOR_TENSORRT, INT8),
    },
    "openvino": {"model.xml": (FLOAT,), "model.int8.xml": (INT8,)},
    "torch": {"model.pt2": (FLOAT,)},
}
"""The files in a runtime's own format, from the most precise to the least, each with the ONNX files that it may be made of."""
ENGINES = tuple(OF_RUNTIME["tensorrt"])

_SOURCES = {name: sources for files in OF_RUNTIME.values() for name, sources in files.items()}
_NOT_ELSEWHERE = {
    "tensorrt": "an engine runs on TensorRT only; on a machine with the GPU: hwnas certify BUNDLE --device tensorrt",
    "openvino": "IR runs on OpenVINO only: hwnas certify BUNDLE --device openvino",
    "torch": "a program runs on torch only: hwnas certify BUNDLE --device torch",
}
_INSTEAD_OF_ONNX = {
    "tensorrt": "the engines are what runs on TensorRT",
    "openvino": "the IR made of it is what is shipped for OpenVINO",
    "torch": "torch runs the program instead",
}


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
    own = _present(folder, OF_RUNTIME.get(runtime, ()))
    if not any(source(folder, name).name == FLOAT for name in own):
        if runtime == "torch":
            raise InvalidData(
                f"{folder} holds no model.pt2, and torch runs no ONNX files.",
                hint='Run the run for torch: [device] spec = "torch". Or certify on a device that runs ONNX files.',
            )
        own = []
    unmeasured = dict.fromkeys(onnx_files, _INSTEAD_OF_ONNX[runtime]) if own else {}
    for other, files in OF_RUNTIME.items():
        if other != runtime:
            unmeasured |= dict.fromkeys(_present(folder, files), _NOT_ELSEWHERE[other])
    return Contents({name: graph(folder, name) for name in own or onnx_files}, unmeasured)


def natives(folder: Path) -> list[Path]:
    """Every file of a bundle that is in a runtime's own format, the parts that it is of included."""
    return [part for name in _present(folder, _SOURCES) for part in native.parts(folder / name)]


def runs_engines(spec: str) -> bool:
    """Whether a device is one of TensorRT, wherever it is."""
    return runtime_of(spec) == "tensorrt"


def source(folder: Path, name: str) -> Path:
    """The ONNX file that a file is made of; of an ONNX file itself."""
    candidates = [folder / candidate for candidate in _SOURCES.get(name, (name,))]
    return next((path for path in candidates if path.is_file()), candidates[0])


def graph(folder: Path, name: str) -> Graph:
    """What a file computes; of one in a runtime's own format with its content."""
    made_of = source(folder, name)
    loaded = devices.load_onnx(made_of)
    if name in ENGINES:
        return engines.with_engine(loaded, made_of.read_bytes(), folder / name)
    return replace(loaded, native=native.read(folder / name)) if name in _SOURCES else loaded


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
