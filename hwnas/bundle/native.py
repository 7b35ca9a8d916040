"""Files in a runtime's own format (:meth:`devices.Device.native`), in the parts that :mod:`hwnas.bundle.formats` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import devices
from devices.atomic import write_bytes
from hwnas.bundle.formats import Beside, of_file
from hwnas.errors import ExportError, InvalidData

if TYPE_CHECKING:
    from torch import nn

    from devices import Device, Graph

_TOLERANCE = 1e-3  # of the largest output, as between module and ONNX file


def parts(path: Path) -> list[Path]:
    """The files that it is of."""
    beside = _beside(path)
    return [path] if beside is None else [path, path.with_suffix(beside.suffix)]


def read(path: Path) -> bytes:
    """The content of all parts.

    Raises:
        InvalidData: one is missing.
    """
    try:
        first, *second = (part.read_bytes() for part in parts(path))
    except OSError as error:
        raise InvalidData(
            f"{error.filename} cannot be read: {error.strerror}.", hint="Restore it from a copy, or run the run again."
        ) from error
    return b"".join((first.rstrip(), *second)) if second else first


def write(content: bytes, path: Path) -> None:
    """Write the parts; the one that the name is of comes last.

    Raises:
        HwnasError: the folder cannot be written.
    """
    if (beside := _beside(path)) is not None:
        first, end, second = content.partition(beside.end)
        write_bytes(path.with_suffix(beside.suffix), second)
        content = first + end
    write_bytes(path, content)


def _beside(path: Path) -> Beside | None:
    form = of_file(path.name)
    return None if form is None else form.beside


def translate(device: Device, source: Path, path: Path, make_module: Callable[[], nn.Module] | None = None) -> None:
    """Write the network of an ONNX file in the device's own format.

    Args:
        device: of a runtime that has one.
        source: the ONNX file.
        path: what to write.
        make_module: makes the torch module of the same network, for a device that runs such.

    Raises:
        DeviceError: the device cannot run it.
        HwnasError: the folder cannot be written.
    """
    content = device.native(replace(devices.load_onnx(source), make_module=make_module))
    if content is None:
        raise ValueError(f"{device.info.spec} runs ONNX files and has no format of its own")
    write(content, path)


def difference(device: Device, graph: Graph, images: NDArray[np.float32], wanted: NDArray[np.float64]) -> float:
    """The largest by which the outputs of a graph's native file differ from those wanted, over ``(n, C, H, W)`` images.

    Raises:
        ExportError: it is more than rounding.
    """
    with device.load(graph) as session:
        found = float(np.abs(session.infer(images) - wanted).max())
    limit = _TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    if not found <= limit:
        raise ExportError(
            f"In the format of {device.info.spec} the network's outputs differ from the ONNX file's by up to {found:.3g}; "
            f"{limit:.3g} is allowed.",
            hint="The runtime does not compute what the ONNX file says: please report it.",
        )
    return found
