"""Every expected error of hwnas, in one place.

HwnasError                      (devices) root; ``message`` says what we got and need, ``hint`` what to do
├── InvalidModel                (devices) the ONNX file is damaged, hostile, or not at one binding of shapes
│   └── DataDependentShape      (devices) a shape cannot be told before the model runs
├── DeviceError                 (devices) something went wrong on or on the way to a device
│   ├── DeviceUnavailable       (devices) not installed, no such hardware, in use by somebody else
│   │   └── ConnectionLost      (devices) the machine elsewhere cannot be reached, or no longer
│   ├── UnsupportedOp           (devices) this runtime cannot run the model
│   ├── DeviceOutOfMemory       (devices)
│   ├── DeviceCrashed           (devices) the worker process died
│   └── DeviceTimedOut          (devices) the worker process hung and was killed
├── JournalDamaged              (devices) a line of a profile or run journal cannot be read
├── ProvenanceMismatch          (devices) data of another device, version or configuration
├── MeasurementError            (profilers) a measurement could not be made or cannot be used
├── NotFitted                   (predictors) nothing is learnt yet, or there is too little to learn from
├── InvalidConfig               a configuration file with an unknown key or a value that cannot be
├── InvalidData                 a data set that is missing, damaged or has the wrong shape
├── SearchError
│   ├── InfeasibleBudget        no network of the space meets the budget; ``closest`` describes the nearest
│   └── JournalMismatch         the replayed search asks for other networks than the journal has
└── ExportError                 the ONNX file is invalid or differs from the module; gives the largest difference

A wrong argument is a plain ``ValueError`` or ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devices.errors import (
    ConnectionLost,
    DataDependentShape,
    DeviceCrashed,
    DeviceError,
    DeviceOutOfMemory,
    DeviceTimedOut,
    DeviceUnavailable,
    HwnasError,
    InvalidModel,
    JournalDamaged,
    ProvenanceMismatch,
    UnsupportedOp,
)
from predictors.errors import NotFitted
from profilers.errors import MeasurementError

__all__ = [
    "ConnectionLost",
    "DataDependentShape",
    "DeviceCrashed",
    "DeviceError",
    "DeviceOutOfMemory",
    "DeviceTimedOut",
    "DeviceUnavailable",
    "ExportError",
    "HwnasError",
    "InfeasibleBudget",
    "InvalidConfig",
    "InvalidData",
    "InvalidModel",
    "JournalDamaged",
    "JournalMismatch",
    "MeasurementError",
    "NotFitted",
    "ProvenanceMismatch",
    "SearchError",
    "UnsupportedOp",
]


class InvalidConfig(HwnasError):
    """A configuration that cannot be used; the message names the line."""


class InvalidData(HwnasError):
    """A data set that cannot be used; the message names the file and what is wrong with it."""


class SearchError(HwnasError):
    """A search cannot start or go on."""


class InfeasibleBudget(SearchError):
    """No network of the space meets the budget.

    Attributes:
        closest: the network that comes nearest: its genes and its costs, JSON-able.
    """

    def __init__(self, message: str, *, closest: Mapping[str, Any], hint: str = "") -> None:
        SearchError.__init__(self, message, hint=hint)
        self.closest = dict(closest)


class JournalMismatch(SearchError):
    """A replayed search asks for other networks than its journal has: another seed, space or version wrote it."""


class ExportError(HwnasError):
    """An exported file is not valid ONNX, or its outputs differ from the module's by more than rounding."""
