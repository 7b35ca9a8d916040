"""Models that came to a machine once are kept there by their content, within bounds."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from devices.frames import Blob

LIMIT_BYTES = 1 << 30
_SHARE_OF_DISK = 0.1  # of what is free and what the store has


class ModelStore:
    """A folder of models named by their SHA-256; those not used for longest go first. It only saves time: where it cannot
    write, nothing is kept, and what is damaged is not there."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            for torn in folder.glob(".partial-*"):
                torn.unlink()
        self._sizes = {p.name: p.stat().st_size for p in sorted(_files(folder), key=lambda p: p.stat().st_mtime)}
        free = shutil.disk_usage(folder).free if folder.is_dir() else 0
        self._limit = min(limit_bytes, int(_SHARE_OF_DISK * (free + sum(self._sizes.values()))))

    def digests(self) -> list[str]:
        """What is there."""
        return list(self._sizes)

    def get(self, digest: str) -> bytes | None:
        """A model, if it is there as it was."""
        if digest not in self._sizes:
            return None
        path = self._folder / digest
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest:
            self._drop(digest)
            return None
        self._sizes[digest] = self._sizes.pop(digest)  # the one used last stands last
        return content

    def put(self, digest: str, content: Blob) -> None:
        """Keep a model.

        Raises:
            ValueError: the content is not that of the digest.
        """
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("the model was damaged on its way")
        if len(content) > self._limit:
            return
        while self._sizes and sum(self._sizes.values()) + len(content) > self._limit:
            self._drop(next(iter(self._sizes)))
        partial = self._folder / f".partial-{os.getpid()}"
        try:
            partial.write_bytes(content)
            partial.replace(self._folder / digest)
            self._sizes[digest] = len(content)
        except OSError:  # a full disk: it will come again
            with suppress(OSError):
                partial.unlink()

    def _drop(self, digest: str) -> None:
        del self._sizes[digest]
        with suppress(OSError):
            (self._folder / digest).unlink()


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []
