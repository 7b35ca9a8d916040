"""The report: one HTML page that says what a run found, shows why, and needs nothing but itself to be read.

:class:`ReportData` is everything the page shows, as plain records; :func:`render` makes the page. What is not there yet (no
certificate, no training) is left out of the page, so a run that was stopped half-way can be looked at too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from devices import DeviceInfo

if TYPE_CHECKING:
    from hwnas.budget import Budget


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
    """

    latency_ms: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    feasible: NDArray[np.bool_]
    generation: NDArray[np.int64]
    source: str
    front: tuple[int, ...]
    winner: int | None


@dataclass(frozen=True, slots=True)
class Check:
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
        bound: what limits it: ``"compute"``, ``"memory"`` or ``"overhead"``.
    """

    kind: str
    nodes: tuple[str, ...]
    latency_ms: float
    bound: str


@dataclass(frozen=True)
class ReportHistory:
    """The winner's training, one value per epoch.

    Attributes:
        loss: ``(e,)`` mean training loss.
        validation_accuracy: ``(e,)`` fraction; NaN for epochs without an evaluation.
    """

    loss: NDArray[np.float64]
    validation_accuracy: NDArray[np.float64]


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
        history: the winner's training.
        certificate: the object of ``certificate.json`` (design of the file: README, "Command line").
        deploy_reason: one sentence on why the certificate's ``deploy`` file was chosen.
        config: the resolved configuration, TOML.
        notes: sentences that the reader must know, e.g. that a measurement was unstable.
    """

    title: str
    task: str
    device: DeviceInfo
    budget: Budget
    candidates: ReportCandidates
    choices: Mapping[str, Any] | None = None
    checks: tuple[Check, ...] = ()
    noise_floor: float | None = None
    kernels: tuple[ReportKernel, ...] = ()
    history: ReportHistory | None = None
    certificate: Mapping[str, Any] | None = None
    deploy_reason: str = ""
    config: str = ""
    notes: tuple[str, ...] = ()


def render(data: ReportData) -> str:
    """The page: UTF-8 HTML, self-contained, at most one million bytes beside the plotting library."""
    raise NotImplementedError
