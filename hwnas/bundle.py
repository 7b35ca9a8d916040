"""The files of a bundle, and which of them a device runs: engines run on TensorRT, ONNX files on everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import devices
from devices import Graph, engine_file, engines
from hwnas.certificate import FLOAT, INT8, Built
from hwnas.errors import InvalidData

FP16, INT8_FOR_TENSORRT = "model.fp16.onnx", "model.int8.tensorrt.onnx"
"""What engines are built of beside :data:`FLOAT`; where the whole run is for TensorRT its :data:`INT8` is in that flavour."""

_SOURCES = {
    "model.fp32.engine": (FLOAT,),
    "model.fp16.engine": (FP16,),
    "model.int8.engine": (INT8_FOR_TENSORRT, INT8),
}
ENGINES = tuple(_SOURCES)
"""From the most precise to the least."""


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
        InvalidData: there is no :data:`FLOAT`.
        InvalidModel, ProvenanceMismatch: a file is damaged, or an engine is not of its ONNX file.
    """
    if not (folder / FLOAT).is_file():
        raise InvalidData(f"{folder} holds no {FLOAT}.", hint="Give the bundle folder of a run: RUN/bundle.")
    onnx_files, built = [[name for name in names if (folder / name).is_file()] for names in ((FLOAT, INT8), ENGINES)]
    if ENGINES[0] in built and runs_engines(spec):
        measured, others, why = built, onnx_files, "the engines are what runs on TensorRT"
    else:
        measured, others = onnx_files, built
        why = "an engine runs on TensorRT only; on a machine with the GPU: hwnas certify BUNDLE --device tensorrt"
    return Contents({name: graph(folder, name) for name in measured}, dict.fromkeys(others, why))


def runs_engines(spec: str) -> bool:
    """Whether a device is one of TensorRT, wherever it is."""
    return spec.rpartition("/")[2].partition(":")[0] == "tensorrt"


def source(folder: Path, name: str) -> Path:
    """The ONNX file that a file is built of; of an ONNX file itself."""
    candidates = [folder / candidate for candidate in _SOURCES.get(name, (name,))]
    return next((path for path in candidates if path.is_file()), candidates[0])


def graph(folder: Path, name: str) -> Graph:
    """What a file computes; of an engine with the engine."""
    made_of = source(folder, name)
    loaded = devices.load_onnx(made_of)
    return engines.with_engine(loaded, made_of.read_bytes(), folder / name) if name in ENGINES else loaded


def built(folder: Path, name: str) -> Built | None:
    """What an engine was built of and for; None for an ONNX file."""
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
