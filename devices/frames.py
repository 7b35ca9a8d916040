"""Frames between a host and its worker: a JSON header and raw binary blobs. Standard library and numpy only."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Blob = bytes | bytearray | memoryview
B = TypeVar("B", bytes, bytearray)
_LENGTH = struct.Struct(">Q")
PREFIX = _LENGTH.size
WITH_MODEL = frozenset({"load", "trace", "memory", "lower", "resident", "build"})
"""Requests whose first blob is a serialised model."""
_WORTH_COMPRESSING, _SAMPLE = 1 << 10, 1 << 14


def header_length(prefix: Blob) -> int:
    """Bytes of the header, from the first :data:`PREFIX` bytes of a frame."""
    length: int = _LENGTH.unpack(prefix)[0]
    return length


def encode(header: Mapping[str, Any], blobs: Sequence[Blob] = ()) -> list[Blob]:
    """The parts of a frame, to be written one after the other."""
    head = json.dumps({**header, "blobs": [len(b) for b in blobs]}).encode()
    return [_LENGTH.pack(len(head)) + head, *blobs]


def decode_header(raw: Blob) -> tuple[dict[str, Any], list[int]]:
    """Header and the lengths of the blobs that follow it."""
    header: dict[str, Any] = json.loads(bytes(raw))
    return header, header.pop("blobs")


def deflate(header: Mapping[str, Any], blobs: Sequence[Blob]) -> tuple[dict[str, Any], list[Blob]]:
    """The same frame with those blobs compressed for which it pays; trained float weights, for one, hardly get smaller."""
    packed = [zlib.compress(b, 1) if _compressible(b) else b for b in blobs]
    return {**header, "deflated": [i for i, b in enumerate(blobs) if packed[i] is not b]}, packed


def inflate(header: dict[str, Any], blobs: Sequence[B]) -> tuple[dict[str, Any], list[B | bytes]]:
    """Inverse of :func:`deflate`; other frames stay as they are."""
    packed = set(header.pop("deflated", ()))
    return header, [zlib.decompress(b) if i in packed else b for i, b in enumerate(blobs)]


def _compressible(blob: Blob) -> bool:
    """Whether a blob gets smaller by a tenth, from three samples of it."""
    if len(blob) < _WORTH_COMPRESSING:
        return False
    view = memoryview(blob).cast("B")
    starts = (0, (len(view) - _SAMPLE) // 2, len(view) - _SAMPLE) if len(view) > 3 * _SAMPLE else (0,)
    sample = b"".join(view[s : s + _SAMPLE] for s in starts) if len(starts) > 1 else bytes(view)
    return len(zlib.compress(sample, 1)) < 0.9 * len(sample)


def pack(arrays: Mapping[str, NDArray[Any]]) -> tuple[list[Any], list[Blob]]:
    """Named arrays as a JSON description and blobs."""
    whole = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    described = [[name, a.dtype.str, list(a.shape)] for name, a in whole.items()]
    return described, [a.tobytes() for a in whole.values()]


def unpack(described: Sequence[Any], blobs: Sequence[Blob]) -> dict[str, NDArray[Any]]:
    """Inverse of :func:`pack`. The arrays are read-only views."""
    return {
        name: np.frombuffer(blob, np.dtype(dtype)).reshape(shape)
        for (name, dtype, shape), blob in zip(described, blobs, strict=True)
    }
