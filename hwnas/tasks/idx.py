"""A folder of four IDX files with MNIST's names, gzipped or not.

The format (LeCun, Cortes, Burges: THE MNIST DATABASE): two zero bytes, the element type (8 = unsigned byte), the number of
dimensions, each dimension as a big-endian 32-bit number, the elements.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent
from hwnas.errors import InvalidData
from hwnas.task import Split, Task, make_split, make_task

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_LIMIT_BYTES = 8 * 2**30
_GZIP_MOST = 1032  # deflate cannot pack more than this many bytes into one


def open_idx(*, path: Path | None, seed: int, flip: bool | None, on_event: OnEvent) -> Task:
    """The images of one folder; classes are named by their numbers."""
    if path is None:
        raise ValueError("the task 'idx' needs a path: the folder of the IDX files")
    files = locate(path)
    for name in FILES[2:]:
        check_header(files[name], 3 if "idx3" in name else 1)
    train = read_split(files, FILES[0], FILES[1])
    return make_task("idx", train, lambda: read_split(files, FILES[2], FILES[3]), seed=seed, flip=bool(flip))


def locate(folder: Path) -> dict[str, Path]:
    """The file of each of :data:`FILES` in ``folder``.

    Raises:
        InvalidData: one is missing.
    """
    found: dict[str, Path] = {}
    for name in FILES:
        spellings = [name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz"]
        try:
            there = [folder / s for s in spellings if (folder / s).is_file()]
        except OSError as error:
            raise InvalidData(f"{folder} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
        if not there:
            raise InvalidData(
                f"{folder} holds no {name} or {name}.gz." if folder.is_dir() else f"{folder} is not a folder.",
                hint=f"The folder needs the four files {', '.join(FILES)}, gzipped or not.",
            )
        found[name] = there[0]
    return found


def read_split(files: Mapping[str, Path], images: str, labels: str, sha256: Mapping[str, str] | None = None) -> Split:
    """Read and check the images and labels of one split; see :func:`read`."""
    digests = sha256 or {}
    pixels = read(files[images], 3, digests.get(images))
    return make_split(pixels[:, None], read(files[labels], 1, digests.get(labels)), str(files[images].parent))


def read(path: Path, dimensions: int, sha256: str | None = None) -> NDArray[np.uint8]:
    """The array in one file. ``sha256``: of the unpacked file.

    Raises:
        InvalidData: not an IDX file of unsigned bytes with that many dimensions, shorter or longer than it says, damaged.
    """
    try:
        with _open(path) as file:
            header, shape = _header(file, path, dimensions)
            size = math.prod(shape)
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from error
    if len(content) != size:
        got = "more" if len(content) > size else f"{len(content)}"
        raise _damaged(path, f"its header promises {size} bytes of data, it holds {got}")
    if sha256 is not None and hashlib.sha256(header + content).hexdigest() != sha256:
        raise _damaged(path, "its SHA-256 is not the published one")
    return np.frombuffer(content, np.uint8).reshape(shape)


def check_header(path: Path, dimensions: int) -> None:
    """Fail early on what :func:`read` would refuse by the header alone, without a look at the data."""
    try:
        with _open(path) as file:
            _header(file, path, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from error


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _header(file: gzip.GzipFile | BufferedReader, path: Path, dimensions: int) -> tuple[bytes, tuple[int, ...]]:
    magic = file.read(4)
    if magic != bytes([0, 0, 8, dimensions]):
        raise _damaged(path, f"it must start with 0000080{dimensions}, it starts with {magic.hex() or 'nothing'}")
    raw = file.read(4 * dimensions)
    if len(raw) != 4 * dimensions:
        raise _damaged(path, "it ends within its header")
    shape = struct.unpack(f">{dimensions}I", raw)
    size, on_disk = math.prod(shape), path.stat().st_size
    if size > _LIMIT_BYTES or size > on_disk * (_GZIP_MOST if path.suffix == ".gz" else 1):
        raise _damaged(path, f"its header promises {size} bytes of data, the file has {on_disk}")
    return magic + raw, shape


def _damaged(path: Path, why: str) -> InvalidData:
    return InvalidData(f"{path} cannot be read as IDX: {why}.", hint="Fetch the file again, or check its permissions.")


PLUGIN = open_idx
