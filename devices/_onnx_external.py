"""Weights that an ONNX model keeps in other files: they are read from the model's own folder and from nowhere else.

Where the model is a link, as in the cache of Hugging Face (``snapshots/REVISION/model.onnx`` to ``blobs/SHA``), its own are the
folder that the link lies in and the one that it leads to. What a file or a link names beyond those is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from devices import _onnx_checks as checks
from devices.errors import InvalidModel


def bring_in(model: onnx.ModelProto, path: Path, room: int, *, most: int | None = None) -> None:
    """Read the external data of the model at ``path`` into it, ``room`` bytes at most; of tensors of up to ``most`` bytes if that
    is given.

    Raises:
        InvalidModel: it is elsewhere, missing, of another length than declared, or too much.
    """
    for tensor in checks.tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        source, offset, length = _place(tensor, path)
        if most is not None and length > most:
            continue
        room -= length
        if room < 0:
            raise InvalidModel(f"{path} has more than 2 GiB of weights.", hint="This is not supported.")
        with source.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _place(tensor: onnx.TensorProto, path: Path) -> tuple[Path, int, int]:
    """File, offset and length of the data."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    own = (path.parent.resolve(), path.resolve().parent)
    named = isinstance(location, str) and location and "\0" not in location and not os.path.isabs(location)
    sources = [Path(os.path.realpath(folder / location)) for folder in own] if named else [Path("/")]
    source = next((source for source in sources if source.is_file()), sources[0])
    if not any(source.is_relative_to(folder) for folder in own):
        raise InvalidModel(
            f"The weights {tensor.name!r} lie outside the model's folder, in {location!r}.",
            hint="Save the model again with its external data beside it.",
        )
    if not source.is_file():
        raise InvalidModel(
            f"The file {location!r} with the weights {tensor.name!r} is missing.",
            hint="Copy it into the folder of the model.",
        )
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
    except ValueError:
        offset, length = -1, -1
    available = source.stat().st_size - offset
    length = available if length == -1 else length
    wanted = checks.declared_bytes(tensor)
    if offset < 0 or length != wanted or length > available:
        raise InvalidModel(
            f"The weights {tensor.name!r} need {wanted:,} bytes of {location!r}, which the file does not have for them.",
            hint="Export or copy the model with its external data again.",
        )
    return source, offset, length
