"""Errors of measuring.

HwnasError
└── MeasurementError
    └── UnstableMeasurement     the machine is too busy to measure on
"""

from __future__ import annotations

from devices.errors import HwnasError


class MeasurementError(HwnasError):
    """A measurement could not be made or cannot be used."""


class UnstableMeasurement(MeasurementError):
    """The sentinel networks drifted, and measuring again did not help."""
