"""Errors of the profilers; the whole tree is in ``hwnas.errors``."""

from __future__ import annotations

from devices.errors import HwnasError


class MeasurementError(HwnasError):
    """A measurement could not be made or cannot be used."""
