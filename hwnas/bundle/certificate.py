"""The certificate: what was promised of exported files, what was measured, on what, when, with which versions."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from devices.atomic import write_text
from devices.device import DeviceInfo
from devices.errors import ProvenanceMismatch
from hwnas.bundle.records import Record
from hwnas.bundle.seed_records import Seeds
from hwnas.errors import InvalidData

NAME, FLOAT, INT8 = "certificate.json", "model.onnx", "model.int8.onnx"


class Limits(Record):
    """The budget; None where there is no limit."""

    latency_ms: int | float | None = None
    memory_bytes: int | float | None = None
    model_bytes: int | float | None = None


class Resize(Record):
    """How images of another size become the network's input."""

    size: int
    method: Literal["bilinear"] = "bilinear"
    antialias: bool = True


class NetworkInput(Record):
    """What the network is fed: pixels scaled to ``range``, resized, less ``mean``, over ``std``."""

    name: str
    shape: tuple[int, int, int, int]
    layout: Literal["NCHW"] = "NCHW"
    range: tuple[float, float] = (0, 1)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize | None


class Built(Record):
    """What an engine was built of, by which library, and for which GPUs; see :class:`devices.engine_file.EngineRecord`."""

    onnx: str
    onnx_sha256: str
    library: str
    version: str
    targets: tuple[str, ...]
    gpu: str | None


class Weights(Record):
    """The file beside a file that holds its weights."""

    name: str
    sha256: str
    bytes: int


class File(Record):
    """One file of the bundle.

    Attributes:
        sha256: of the file on disk.
        bytes: of the file, with those of its weights.
        accuracy, validation_accuracy: fractions of the test and of the validation images that the file itself gets right.
        agreement: fraction of the test images that it classifies as the float32 file does.
        accuracy_lost, accuracy_lost_ci95: how much less accurate than the float32 file on the same test images, with the 95 %
            interval of that; None for the float32 file itself.
        engine: of an engine, what it was built of.
        weights: of OpenVINO's IR, its other file.
    """

    sha256: str
    bytes: int
    precision: Literal["fp32", "fp16", "int8"]
    accuracy: float
    validation_accuracy: float
    agreement: float
    accuracy_lost: float | None = None
    accuracy_lost_ci95: tuple[float, float] | None = None
    engine: Built | None = None
    weights: Weights | None = None


class FileRecord(File):
    """A file that was measured.

    Attributes:
        latency_ms, p50_ms, p95_ms, ci95_ms: see the README, "What the numbers mean"; ``ci95_ms`` is of the median.
        memory_bytes, memory_source, resident_bytes: weights and activations, who says so, growth of a fresh process.
        predicted_latency_ms, predicted_p50_ms: what the predictor said; None if it was not asked.
        stable: false if the machine was disturbed while it was measured.
        within_budget: the upper end of ``ci95_ms``, memory and size are all within the limits.
    """

    latency_ms: float
    p50_ms: float
    p95_ms: float
    ci95_ms: tuple[float, float]
    memory_bytes: int
    memory_source: str
    resident_bytes: int | None
    predicted_latency_ms: float | None = None
    predicted_p50_ms: float | None = None
    stable: bool
    within_budget: bool


class UnmeasuredFile(File):
    """A file that the device does not run: nothing is said of its time and memory. What is said of its accuracy is that of its
    ONNX file, run by ONNX Runtime on a CPU.

    Attributes:
        reason: why, in words.
    """

    reason: str


class DeviceRecord(Record):
    """The same files on a further device that the network is for.

    Attributes:
        device: its fingerprint.
        budget: its own.
        deploy, deploy_reason: which file to use there, and why, in a sentence.
        within_budget: whether that file keeps the device's budget.
        files: those that it runs, as measured there.
        unmeasured: why it does not run the others, by name.
    """

    device: dict[str, Any]
    budget: Limits
    deploy: str
    deploy_reason: str
    within_budget: bool
    files: dict[str, FileRecord]
    unmeasured: dict[str, str] = Field(default_factory=dict)

    @property
    def device_info(self) -> DeviceInfo:
        """The device as the device packages have it."""
        return DeviceInfo.from_json(self.device)

    def in_words(self) -> str:
        """What it says, in two sentences."""
        file, kept = self.files[self.deploy], "is kept" if self.within_budget else "is NOT kept"
        return (
            f"On {self.device_info.spec}, with a budget of its own, deploy {self.deploy}: {file.p50_ms:.3g} ms median latency, "
            f"{file.memory_bytes:,} bytes of memory, {file.accuracy:.2%} accuracy; the budget {kept}. {self.deploy_reason}"
        )


class Certificate(Record):
    """What goes with a bundle of exported files, as ``certificate.json``.

    Attributes:
        deploy, deploy_reason: which file to use, and why, in a sentence.
        within_budget: whether that file keeps the budget, and on every further device the one to deploy there that device's.
        max_accuracy_drop: how much validation accuracy INT8 may lose and still be deployed.
        device: the fingerprint of the device that measured.
        also: further devices that the network is for, with what was measured there.
        unmeasured: files that this device does not run, such as engines where there is no GPU.
        notes: what the reader should know, in sentences.
        seeds: where search and training were repeated, what each came to.
    """

    schema_version: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    created: str
    budget: Limits
    deploy: str
    deploy_reason: str
    within_budget: bool
    max_accuracy_drop: float
    task: str
    input: NetworkInput
    classes: tuple[str, ...]
    device: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, FileRecord]
    also: tuple[DeviceRecord, ...] = ()
    unmeasured: dict[str, UnmeasuredFile] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seeds: Seeds | None = None

    @property
    def device_info(self) -> DeviceInfo:
        """The device as the device packages have it."""
        return DeviceInfo.from_json(self.device)

    @property
    def all_files(self) -> dict[str, File]:
        """Measured or not."""
        return {**self.files, **self.unmeasured}

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        content: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return content

    def save(self, bundle: str | os.PathLike[str]) -> None:
        """Write it into a bundle.

        Raises:
            HwnasError: the folder cannot be written.
        """
        write_text(Path(bundle, NAME), self.model_dump_json(by_alias=True, indent=2) + "\n")


def read(bundle: str | os.PathLike[str]) -> Certificate:
    """The certificate of a bundle.

    Raises:
        InvalidData: there is none, or it is damaged; names the key.
    """
    path = Path(bundle, NAME)
    try:
        return Certificate.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidData(
            f"{path} cannot be read: {error.strerror}.", hint="Give the bundle folder of a run: RUN/bundle."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InvalidData(
            f"{path} is damaged: {where}: {first['msg']}.", hint="Restore it from a copy, or run the run again."
        ) from error


def require_unchanged(folder: Path, former: Certificate) -> None:
    """Check that the files of a bundle are those that were certified. An engine may be built anew, of the same ONNX file.

    Raises:
        ProvenanceMismatch: one is changed, missing or new.
    """
    certified: dict[str, str] = {}
    for name, record in former.all_files.items():
        certified |= {record.engine.onnx: record.engine.onnx_sha256} if record.engine else {name: record.sha256}
        certified |= {record.weights.name: record.weights.sha256} if record.weights else {}
    changed = []
    for name, wanted in certified.items():
        found = sha256(folder / name) if (folder / name).is_file() else "no file"
        if found != wanted:
            changed.append(f"{name}: found {found}, wanted {wanted}")
    unknown = [n for n in (FLOAT, INT8) if (folder / n).is_file() and n not in former.all_files]
    changed += [f"{name}: found a file, wanted none" for name in unknown]
    if changed:
        raise ProvenanceMismatch(
            f"{folder} is not as it was certified; it", changed, hint="Restore the files, or run the run again."
        )


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
