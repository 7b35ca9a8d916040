"""A NumPy ``.npz`` file with ``images`` and ``labels``, or ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

Images are uint8: ``(n, H, W)``, ``(n, H, W, C)`` or ``(n, C, H, W)`` with 1, 3 or 4 channels. Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from devices.events import OnEvent
from hwnas.errors import InvalidData
from hwnas.task import Split, Task, make_split, make_task

_APART = ("x_train", "y_train", "x_test", "y_test")
_TOGETHER = ("images", "labels")
_CHANNELS = (1, 3, 4)
_LIMIT_BYTES = 8 * 2**30


def open_npz(*, path: Path | None, seed: int, flip: bool | None, on_event: OnEvent) -> Task:
    """The arrays of one file; where no test is given, the same sixth of every class is the test whatever the seed."""
    if path is None:
        raise ValueError("the task 'npz' needs a path: the .npz file")
    shapes = _shapes(path)
    if all(name in shapes for name in _APART):
        train = _split(path, "x_train", "y_train")
        return make_task("npz", train, lambda: _split(path, "x_test", "y_test"), seed=seed, flip=bool(flip))
    if not all(name in shapes for name in _TOGETHER):
        raise InvalidData(
            f"{path} holds {', '.join(sorted(shapes)) or 'nothing'}.",
            hint=f"It needs the arrays {' and '.join(_TOGETHER)}, or {', '.join(_APART)}.",
        )
    return make_task("npz", _split(path, *_TOGETHER), None, seed=seed, flip=bool(flip))


def _split(path: Path, images: str, labels: str) -> Split:
    return make_split(_channels_first(_read(path, images), f"{path}: {images}"), _read(path, labels), str(path))


def _channels_first(images: NDArray[Any], where: str) -> NDArray[Any]:
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise InvalidData(
            f"{where} has shape {images.shape}.", hint="Images are (n, H, W), (n, H, W, C) or (n, C, H, W)."
        )
    first, last = images.shape[1] in _CHANNELS, images.shape[3] in _CHANNELS
    if first == last:
        raise InvalidData(
            f"{where} has shape {images.shape}; it does not say which axis holds the channels.",
            hint=f"Images are (n, H, W, C) or (n, C, H, W) with {_CHANNELS} channels and larger H and W.",
        )
    return images if first else images.transpose(0, 3, 1, 2)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every array, from the headers; refuses what would not fit in memory or would need pickle."""
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    continue
                with archive.open(member) as file:
                    version = npy.read_magic(file)
                    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = read(file)
                    start = file.tell()
                if dtype.hasobject:
                    raise InvalidData(
                        f"{path}: {member.filename} holds Python objects, which are never unpickled.",
                        hint="Save plain arrays: images as uint8, labels as integers.",
                    )
                size = math.prod(shape) * dtype.itemsize
                if size != member.file_size - start or size > _LIMIT_BYTES:
                    raise InvalidData(
                        f"{path}: {member.filename} says {size} bytes for shape {shape} and holds "
                        f"{member.file_size - start}; up to {_LIMIT_BYTES} are read.",
                        hint="Save the file again, or use a smaller part of the data.",
                    )
                shapes[member.filename.removesuffix(".npy")] = shape
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return shapes


def _read(path: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            array: NDArray[Any] = arrays[name]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error
    return array


def _damaged(path: Path, error: Exception) -> InvalidData:
    return InvalidData(
        f"{path} cannot be read as .npz: {error}.", hint="Save it with numpy.savez_compressed, or fetch it again."
    )


PLUGIN = open_npz
