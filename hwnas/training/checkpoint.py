"""Checkpoints: tensors and a few JSON values in one safetensors file that appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from devices.atomic import write_bytes
from devices.errors import HwnasError, ProvenanceMismatch
from devices.journal import differences


def write(
    path: Path, tensors: Mapping[str, torch.Tensor], *, header: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    """Replace ``path``. ``header`` says what the tensors belong to, ``state`` how far it got; both JSON-able.

    Raises:
        HwnasError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    metadata = {"header": json.dumps(header, allow_nan=False), "state": json.dumps(state, allow_nan=False)}
    write_bytes(path, save(whole, metadata))


def read(path: Path, header: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Tensors and state, or None if there is no such file.

    Raises:
        ProvenanceMismatch: the file was written for something else; lists the fields.
        HwnasError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found, state = json.loads(metadata["header"]), json.loads(metadata["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise HwnasError(
            f"Checkpoint {path} cannot be read ({error}).", hint="Delete it: the training then starts again."
        ) from error
    differing = differences(found, json.loads(json.dumps(header)))
    if differing:
        raise ProvenanceMismatch(
            f"Checkpoint {path} was written for something else; it",
            differing,
            hint="Use another output folder, or delete it to train from the start.",
        )
    return tensors, state
