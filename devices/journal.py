"""Append-only JSON Lines: the file format of profiles and of run journals.

Line 1 is the header; every later line is one finished unit, flushed and fsynced. A torn last line (a kill while writing)
is dropped; any other damage is an error that names the line. Each line carries the CRC-32 of its content, so that a flipped
digit is damage too. There is one writer at a time, held by a lock on the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devices.errors import HwnasError, JournalDamaged, ProvenanceMismatch

_CRC = "crc32"


class Journal:
    """An open journal. Use as a context manager; ``header`` and ``units`` hold what was there when it was opened.

    Args:
        path: the file; created with ``header`` if it does not exist or has no complete line.
        header: JSON-able. An existing file must carry the same header, else :class:`ProvenanceMismatch` lists the fields.
    """

    def __init__(self, path: str | os.PathLike[str], header: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - closed by __exit__
        try:
            self._lock()
            found, self.units, self._end = _parse(self.path)
            self._file.truncate(self._end)
            wanted = json.loads(json.dumps(header))
            if found is None:
                self._write(wanted)
            else:
                differing = differences(found, wanted)
                if differing:
                    raise ProvenanceMismatch(
                        f"{self.path} was written for something else; it",
                        differing,
                        hint="Use another output path, or repeat the command that wrote this file.",
                    )
            self.header: dict[str, Any] = wanted
        except BaseException:
            self._file.close()
            raise

    def append(self, unit: Mapping[str, Any]) -> None:
        """Write one finished unit; it is on the disk when this returns."""
        self._write(unit)
        self.units.append(dict(unit))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HwnasError(
                f"{self.path} is being written by another process.",
                hint="Wait for it to end, or use another output path.",
            ) from None

    def _write(self, unit: Mapping[str, Any]) -> None:
        line = _line(unit)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
            self._end += len(line)
        except OSError as error:
            with suppress(OSError):  # what is torn would be dropped by the next reader too
                self._file.truncate(self._end)
            raise HwnasError(
                f"Could not write {self.path}: {error.strerror}.",
                hint="Free some space and repeat the same command: it goes on after the last finished unit.",
            ) from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and units of a journal that nobody needs to write to.

    Raises:
        JournalDamaged: a line cannot be read, or there is no header.
        FileNotFoundError: no such file.
    """
    header, units, _ = _parse(Path(path))
    if header is None:
        raise JournalDamaged(
            f"{path} holds no complete line.", hint="Delete it and run the command that writes it again."
        )
    return header, units


def differences(found: Any, wanted: Any, prefix: str = "") -> list[str]:
    """``"a.b: found 1, wanted 2"`` for every leaf in which two JSON values differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        out: list[str] = []
        for key in sorted(found.keys() | wanted.keys()):
            out += differences(found.get(key), wanted.get(key), f"{prefix}.{key}" if prefix else key)
        return out
    return [] if found == wanted else [f"{prefix}: found {found!r}, wanted {wanted!r}"]


def _line(unit: Mapping[str, Any]) -> bytes:
    body = json.dumps(unit, allow_nan=False, separators=(",", ":"))
    crc = zlib.crc32(body.encode())
    comma = "," if body != "{}" else ""
    return f'{body[:-1]}{comma}"{_CRC}":{crc}}}\n'.encode()


def _parse(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]], int]:
    """Header, units, and the length of the part that is whole."""
    raw = path.read_bytes()
    end = raw.rfind(b"\n") + 1
    units = [_unit(path, number, line) for number, line in enumerate(raw[:end].splitlines(), start=1)]
    return (units[0] if units else None), units[1:], end


def _unit(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        unit: dict[str, Any] = json.loads(line)
        crc = unit.pop(_CRC)
        if _line(unit) != line + b"\n":
            raise ValueError(f"checksum {crc} does not match")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise JournalDamaged(
            f"{path}, line {number} is damaged ({error}).",
            hint=f"Restore the file from a copy, or keep only the lines before {number}.",
        ) from error
    return unit
