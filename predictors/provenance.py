"""What a kept predictor rests on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from devices.versions import versions

SCHEMA = 4


def provenance(profile_path: str | os.PathLike[str]) -> dict[str, Any]:
    """The form of the file, the profile's content, and the versions that decide what was learnt from it."""
    return {
        "schema": SCHEMA,
        "profile_sha256": hashlib.sha256(Path(profile_path).read_bytes()).hexdigest(),
        "versions": versions(("numpy", "sklearn", "scipy", "xgboost")),
    }
