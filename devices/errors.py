"""Every error that hwnas raises on purpose has one root, defined here because every package may import ``devices``.

HwnasError
├── InvalidModel               the ONNX file is damaged, hostile, or not at one binding of shapes
│   └── DataDependentShape     a shape cannot be told before the model runs
├── DeviceError
│   ├── DeviceUnavailable      not installed, no such hardware, in use by somebody else
│   │   └── ConnectionLost     the machine elsewhere cannot be reached, or no longer
│   ├── UnsupportedOp          this runtime cannot run the model
│   ├── DeviceOutOfMemory
│   ├── DeviceCrashed          the worker process died
│   └── DeviceTimedOut         the worker process hung and was killed
├── JournalDamaged             a line of a profile or run journal cannot be read
└── ProvenanceMismatch         data of another device, version or configuration

``profilers``, ``predictors`` and ``hwnas`` add their own branches; ``hwnas.errors`` re-exports all of them.
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
