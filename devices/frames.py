"""Frames between a host and its worker: a JSON header and raw binary blobs. Standard library and numpy only."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Blob = bytes | bytearray | memoryview
_LENGTH = struct.Struct(">Q")
PREFIX = _LENGTH.size


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
