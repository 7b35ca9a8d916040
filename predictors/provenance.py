"""What a kept predictor rests on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.versions import versions

SCHEMA = 9


def provenance(profile_path: str | os.PathLike[str]) -> dict[str, Any]:
    """The form of the file, the profile's content, and the versions that decide what was learnt from it."""
    return {
        "schema": SCHEMA,
        "profile_sha256": hashlib.sha256(Path(profile_path).read_bytes()).hexdigest(),
        "versions": versions(("numpy", "sklearn", "scipy", "xgboost")),
    }


def sealed(value: Mapping[str, Any]) -> str:
    """As JSON with a checksum; :func:`unsealed` is the inverse."""
    return _json({**value, "sha256": _sha256(value)})


def unsealed(text: str) -> dict[str, Any]:
    """What was sealed.

    Raises:
        ValueError: it is damaged.
    """
    value: dict[str, Any] = json.loads(text)
    if value.pop("sha256", None) != _sha256(value):
        raise ValueError("its checksum does not match")
    return value


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _sha256(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json(value).encode()).hexdigest()
