"""Files appear whole or not at all: written under a temporary name, fsynced, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devices.errors import HwnasError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name, with the same suffix and in the same folder, that becomes ``path`` if the block succeeds.

    A kill at any byte leaves either the old file or the new one; the temporary name is always the same, so that a rest
    from an earlier kill is overwritten.

    Raises:
        HwnasError: the disk is full or the folder cannot be written; ``path`` is untouched.
    """
    final = Path(path)
    partial = final.with_name(f".partial-{final.name}")
    try:
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, final)
        _sync_folder(final.parent)
    except OSError as error:
        raise HwnasError(
            f"Could not write {final}: {error.strerror or error}.",
            hint="Free some space or use a folder that you may write to, then repeat the same command.",
        ) from error
    finally:
        with suppress(OSError):  # what cannot be written cannot be removed either, and that is no news
            partial.unlink()


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file. Raises as :func:`replacing` does."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write a whole file as UTF-8. Raises as :func:`replacing` does."""
    write_bytes(path, content.encode())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
