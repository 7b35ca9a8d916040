"""Steps of a run that are done once: each finished one is a unit of the journal, with the hashes of the files it left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.bundle.certificate import sha256

if TYPE_CHECKING:
    from devices.journal import Journal


class Steps:
    """The steps that a journal records."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def recorded(self, name: str) -> Mapping[str, Any] | None:
        """What the last finished step of that name recorded, or None."""
        return next((unit for unit in reversed(self._journal.units) if unit["unit"] == name), None)

    def once(self, name: str, work: Callable[[], Mapping[str, Any]], *files: Path) -> Mapping[str, Any]:
        """What the step recorded when it was done; it is done now if it was not, or if ``files`` are no longer as it
        left them, there or not."""
        unit = self.recorded(name)
        if unit is not None and unit["files"] == _hashes(files):
            return unit
        unit = {"unit": name, **work()}
        unit["files"] = _hashes(files)
        self._journal.append(unit)
        return unit


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    return {path.name: sha256(path) for path in files if path.exists()}
