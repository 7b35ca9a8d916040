"""What a run has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwnas.budget import Budget
    from hwnas.bundle.certificate import Certificate


@dataclass(frozen=True)
class RunResult:
    """What a run has found, as far as it went.

    Attributes:
        folder: the run's.
        budget: its limits on the first device, absolute.
        genotype, genes: the network's.
        accuracy: what the search took its accuracy for.
        accuracy_source: where that number is from; see :func:`hwnas.accuracy.is_score`.
        predicted, measured: its costs before the training, by the names of :class:`hwnas.costs.Costs`; with several devices
            where it is worst off, see :class:`hwnas.worst_case.WorstCase`.
        within_budget: what the certificate says; before there is one, what the measurement before the training said.
        certificate: the one in ``bundle/``, or None.
        report: path of the page, or None.
    """

    folder: Path
    budget: Budget
    genotype: tuple[int, ...]
    genes: Mapping[str, Any]
    accuracy: float
    accuracy_source: str
    predicted: Mapping[str, float]
    measured: Mapping[str, float]
    within_budget: bool
    certificate: Certificate | None = None
    report: Path | None = None
