"""Engines built before, kept for this user; a network is built once, however often it is measured."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from devices import engine_file
from devices.engine_file import Engine
from devices.errors import HwnasError
from devices.frames import Blob
from devices.runtimes._cuda import Gpu
from devices.runtimes._tensorrt_build import Options
from devices.runtimes._tensorrt_library import Library

LARGEST_BYTES = 1 << 30
"""What the folder may hold; the engines used least recently go."""


def folder() -> Path:
    """Where engines are kept for this user (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas" / "engines"


def key(library: Library, model: Blob, options: Options, gpu: Gpu | None) -> str:
    """Names what decides an engine. Not its content: two builds of the same differ in their bytes."""
    built_on = gpu and asdict(gpu)
    parts = [hashlib.sha256(model).hexdigest(), library.name, library.version, built_on, asdict(options)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def cached(name: str, build: Callable[[], Engine]) -> Engine:
    """The engine of that key, built if it is not there or damaged. A disk that is full costs the copy only."""
    path = folder() / f"{name}.engine"
    with suppress(HwnasError):
        found = engine_file.read(path)
        with suppress(OSError):
            os.utime(path)
        return found
    made = build()
    with suppress(HwnasError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        engine_file.write(made, path)
        _tidy(path.parent)
    return made


def _tidy(kept_in: Path) -> None:
    """Remove what was used least recently, beyond :data:`LARGEST_BYTES`."""
    plans = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in kept_in.glob("*.engine")), reverse=True)
    total = 0
    for _, size, path in plans:
        total += size
        if total > LARGEST_BYTES:
            path.unlink(missing_ok=True)
            engine_file.record_path(path).unlink(missing_ok=True)
