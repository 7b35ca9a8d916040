"""How well the files of a bundle do on images: on the device itself, or by the certificate of before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import devices
from devices import Device
from devices.events import OnEvent, Progress
from hwnas.bundle import files as bundles
from hwnas.bundle.certificate import File, NetworkInput
from hwnas.bundle.files import Contents
from hwnas.bundle.mistakes import infer
from hwnas.errors import InvalidData
from hwnas.int8.paired import paired_drop
from hwnas.onnx_inference import logits
from hwnas.task import Task


@dataclass(frozen=True)
class Quality:
    """Fractions of images that a file gets right; see :class:`hwnas.bundle.certificate.File`."""

    accuracy: float
    validation_accuracy: float
    agreement: float
    accuracy_lost: float | None
    accuracy_lost_ci95: tuple[float, float] | None


def qualities_of(
    folder: Path, device: Device, contents: Contents, task: Task, given: NetworkInput, on_event: OnEvent
) -> dict[str, Quality]:
    """What each file makes of the images: on the device, or as its ONNX file on this CPU if the device does not run it."""
    test = task.test()
    qualities: dict[str, Quality] = {}
    reference = None
    names = (*contents.measured, *contents.unmeasured)
    for done, name in enumerate(names):
        on_event(Progress("accuracy", done, len(names), name))
        with _running(folder, device, contents, name) as run:
            validation, tested = (infer(run, split, task, given).argmax(1) for split in (task.validation, test))
        reference = tested if reference is None else reference
        is_float = bundles.precision(name) == "fp32"
        drop = None if is_float else paired_drop(reference == test.labels, tested == test.labels)
        qualities[name] = Quality(
            float((tested == test.labels).mean()),
            float((validation == task.validation.labels).mean()),
            float((tested == reference).mean()),
            drop.lost if drop else None,
            (drop.low, drop.high) if drop else None,
        )
    on_event(Progress("accuracy", len(names), len(names)))
    return qualities


@contextmanager
def _running(
    folder: Path, device: Device, contents: Contents, name: str
) -> Iterator[Callable[[NDArray[np.float32]], NDArray[Any]]]:
    """What gives a file's outputs for examples."""
    if name in contents.measured:
        with device.load(contents.measured[name]) as session:
            yield session.infer
    else:
        model = devices.load_onnx(bundles.source(folder, name)).to_onnx()
        yield lambda examples: logits(model, examples)


def remembered(known: Mapping[str, File], contents: Contents) -> dict[str, Quality]:
    """What a certificate says of the files' quality.

    Raises:
        InvalidData: it does not know a file.
    """
    found = {}
    for name in (*contents.measured, *contents.unmeasured):
        if name not in known:
            raise InvalidData(
                f"{name} is younger than the certificate, so its accuracy is not known.",
                hint="Have it classify the task's images: hwnas certify BUNDLE --task NAME",
            )
        f = known[name]
        found[name] = Quality(f.accuracy, f.validation_accuracy, f.agreement, f.accuracy_lost, f.accuracy_lost_ci95)
    return found
