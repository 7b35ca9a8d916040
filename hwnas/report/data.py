"""Everything that a report shows, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from devices import DeviceInfo

if TYPE_CHECKING:
    from hwnas.budget import Budget
    from hwnas.report.comparison import Comparison
    from hwnas.report.effects import Effects


@dataclass(frozen=True)
class ReportCandidates:
    """The n networks the search looked at, one row each, in the order they were told.

    Attributes:
        latency_ms: ``(n,)`` p50 latency, the figure that the budget applies to.
        accuracy: ``(n,)`` fraction; NaN where a network was dismissed without an accuracy.
        feasible: ``(n,)`` bool, whether it kept every limit.
        generation: ``(n,)`` int, counted from 0.
        source: where the accuracies come from, e.g. ``"supernet"``; one word for all.
        front: positions of the Pareto front among the feasible, by rising latency.
        winner: position of the network that was trained and exported; None if there is none yet.
        predictor_tau: rank correlation, on networks held out of it, of the accuracy predictor that made the last proposals;
            None if none did.
    """

    latency_ms: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    feasible: NDArray[np.bool_]
    generation: NDArray[np.int64]
    source: str
    front: tuple[int, ...]
    winner: int | None
    predictor_tau: float | None = None


@dataclass(frozen=True, slots=True)
class ReportCheck:
    """One network whose latency was both predicted and measured.

    Attributes:
        name: for people: a digest or a file name.
        predicted_ms: what the predictor said before the measurement.
        measured_ms: what the device did, the same statistic.
        group: ``"validation"`` for networks held out of the profile, ``"exported"`` for the files of this run.
    """

    name: str
    predicted_ms: float
    measured_ms: float
    group: Literal["validation", "exported"]


@dataclass(frozen=True, slots=True)
class ReportKernel:
    """One kernel of the winner, in order of execution.

    Attributes:
        kind: the runtime's name, e.g. ``com.microsoft.nchwc:Conv``.
        nodes: the graph's nodes in it, empty if the runtime inserted it.
        latency_ms: its share of the network's latency.
        bound: what limits it: ``"compute"``, ``"bytes"`` or ``"overhead"``.
        reads: positions of the kernels that it reads; -1 for the network's inputs.
    """

    kind: str
    nodes: tuple[str, ...]
    latency_ms: float
    bound: str
    reads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportPlace:
    """One place of the winner (stem, block, head), in order of execution.

    Attributes:
        name: e.g. ``stage2.0``.
        stage: what it is part of, e.g. ``stage2``.
        shape: ``(C, H, W)`` of its output, before pooling.
        latency_ms: what its kernels take together.
    """

    name: str
    stage: str
    shape: tuple[int, int, int]
    latency_ms: float


@dataclass(frozen=True)
class ReportHistory:
    """One training of the winner, one value per epoch.

    Attributes:
        name: what it started from, in words.
        loss: ``(e,)`` mean training loss.
        accuracy: ``(e,)`` fraction of the training images, as augmented.
        validation_accuracy: ``(e,)`` fraction; NaN for epochs without an evaluation.
        final: fraction of the validation images that the result gets right.
    """

    name: str
    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    validation_accuracy: NDArray[np.float64]
    final: float


@dataclass(frozen=True)
class ReportMistakes:
    """What the deployed file does on the test images; see :class:`hwnas.bundle.mistakes.Mistakes`.

    Attributes:
        classes: names.
        confusion: ``(classes, classes)`` counts, true by predicted.
        worst: the worst images.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    worst: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows. Only the first five fields must be there; the page leaves out what is missing.

    Attributes:
        title: the run's name.
        task: the data set's name.
        device: the device that the budget is about.
        budget: the limits.
        candidates: what the search looked at.
        choices: the winner's genes by name, e.g. ``{"stage 1 width": 24}``.
        checks: predicted against measured, any order.
        noise_floor: relative difference of two measurements of the same network, e.g. 0.004.
        kernels: the winner's kernels in the order of execution.
        places: the winner's places in the order of execution.
        histories: the winner's trainings, the delivered one first.
        effects: which decisions matter, over the candidates.
        mistakes: of the deployed file.
        comparison: networks trained and measured beside hand-designed ones.
        quantized: what the journal says of INT8.
        certificate: the content of ``certificate.json``, see :class:`hwnas.bundle.certificate.Certificate`.
        config: the resolved configuration, TOML.
        notes: sentences that the reader must know, beside those of the certificate.
    """

    title: str
    task: str
    device: DeviceInfo
    budget: Budget
    candidates: ReportCandidates
    choices: Mapping[str, Any] | None = None
    checks: tuple[ReportCheck, ...] = ()
    noise_floor: float | None = None
    kernels: tuple[ReportKernel, ...] = ()
    places: tuple[ReportPlace, ...] = ()
    histories: tuple[ReportHistory, ...] = ()
    effects: Effects | None = None
    mistakes: ReportMistakes | None = None
    comparison: Comparison | None = None
    quantized: Mapping[str, Any] | None = None
    certificate: Mapping[str, Any] | None = None
    config: str = ""
    notes: tuple[str, ...] = ()
