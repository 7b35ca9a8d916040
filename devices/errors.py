"""Errors of devices, and the root of every error that hwnas raises on purpose: every package may import ``devices``.

``profilers``, ``predictors`` and ``hwnas`` add their own branches; the whole tree is in ``hwnas.errors``.
A wrong argument is a plain ``ValueError`` or ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class HwnasError(Exception):
    """Root of all expected errors. ``hint`` says what the user can do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        Exception.__init__(self, message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, whatever arguments its class takes: errors travel from worker processes to whoever asked."""
        return Exception.__new__, (type(self), *self.args), vars(self)


class InvalidModel(HwnasError):
    """An ONNX model that cannot be used as it is."""


class DataDependentShape(InvalidModel):
    """A shape within the model depends on the values of its inputs."""


class DeviceError(HwnasError):
    """Something went wrong on or on the way to a device."""


class DeviceUnavailable(DeviceError):
    """The runtime is not installed or its hardware is not here; ``hint`` has the install line."""


class ConnectionLost(DeviceUnavailable):
    """The connection to a machine elsewhere broke, or cannot be made; it may come back."""


class UnsupportedOp(DeviceError):
    """The runtime refuses the model, with the runtime's own words."""


class DeviceOutOfMemory(DeviceError):
    """The model did not fit into the device's memory."""


class DeviceCrashed(DeviceError):
    """The worker process ended while it held the model."""


class DeviceTimedOut(DeviceError):
    """The worker process did not answer in time and was killed."""


class JournalDamaged(HwnasError):
    """A line other than a torn last one cannot be read; the message names the line."""


class ProvenanceMismatch(HwnasError):
    """Recorded data does not belong to this device, version or configuration."""

    def __init__(self, what: str, fields: Sequence[str], *, hint: str = "") -> None:
        HwnasError.__init__(self, f"{what} differs in: " + "; ".join(fields), hint=hint)
        self.fields = tuple(fields)
