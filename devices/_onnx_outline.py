"""An ONNX file without its large weights: they become external data that lies in the file itself.

Protobuf copies every byte that it parses. This walks over the wire format (protobuf.dev, "Encoding") instead, steps over the raw
data of large tensors, and copies the rest, so that the time is for nodes and not for bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from mmap import mmap

LARGE_BYTES = 8192

_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _NODE_ATTRIBUTE = 7, 1, 5, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 5, 6, 9, 13, 14
_Rewrite = Callable[[mmap, int, int, bytes], bytes]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def outlined(data: mmap, location: str) -> bytes:
    """The serialised model in ``data``; large tensors refer to ``location``, the name of the file that ``data`` is.

    Raises:
        ValueError: this is no protobuf.
    """
    return _message(data, 0, len(data), location.encode(), {_MODEL_GRAPH: _graph})


def _graph(data: mmap, start: int, end: int, location: bytes) -> bytes:
    return _message(data, start, end, location, {_GRAPH_NODE: _node, _GRAPH_INITIALIZER: _tensor})


def _node(data: mmap, start: int, end: int, location: bytes) -> bytes:
    return _message(data, start, end, location, {_NODE_ATTRIBUTE: _attribute})


def _attribute(data: mmap, start: int, end: int, location: bytes) -> bytes:
    return _message(data, start, end, location, {_ATTRIBUTE_TENSOR: _tensor, _ATTRIBUTE_GRAPH: _graph})


def _tensor(data: mmap, start: int, end: int, location: bytes) -> bytes:
    parts = []
    for field, wire, at, first, last in _fields(data, start, end):
        if (field, wire) == (_RAW_DATA, _BYTES) and last - first > LARGE_BYTES:
            entries = {b"location": location, b"offset": b"%d" % first, b"length": b"%d" % (last - first)}
            parts += [_nested(_EXTERNAL_DATA, _nested(1, k) + _nested(2, v)) for k, v in entries.items()]
            parts.append(_varint(_DATA_LOCATION << 3 | _VARINT) + b"\x01")
        else:
            parts.append(data[at:last])
    return b"".join(parts)


def _message(data: mmap, start: int, end: int, location: bytes, inside: dict[int, _Rewrite]) -> bytes:
    """A message whose large fields in ``inside`` are rewritten."""
    parts = []
    for field, wire, at, first, last in _fields(data, start, end):
        rewrite = inside.get(field)
        if rewrite is None or wire != _BYTES or last - first <= LARGE_BYTES:
            parts.append(data[at:last])
        else:
            parts.append(_nested(field, rewrite(data, first, last, location)))
    return b"".join(parts)


def _fields(data: mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Number and wire type of each field, where it begins, and where its content begins and ends."""
    at = start
    while at < end:
        tag, first = _number(data, at, end)
        wire = tag & 7
        if wire == _VARINT:
            _, last = _number(data, first, end)
        elif wire == _BYTES:
            size, first = _number(data, first, end)
            last = first + size
        elif wire in (_FIXED64, _FIXED32):
            last = first + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if last > end:
            raise ValueError(f"a field at byte {at} does not end")
        yield tag >> 3, wire, at, first, last
        at = last


def _number(data: mmap, at: int, end: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"a number at byte {at} does not end")


def _varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _nested(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content
