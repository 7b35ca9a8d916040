"""What a certificate says of a job that was repeated with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from hwnas.bundle.records import Record


class SeedRecord(Record):
    """The file to deploy of one seed's run; see :class:`hwnas.bundle.certificate.FileRecord`."""

    seed: int
    deploy: str
    validation_accuracy: float
    accuracy: float
    latency_ms: float
    p50_ms: float
    memory_bytes: int
    within_budget: bool


class Spread(Record):
    """Of a figure over all seeds; the standard deviation is the sample's."""

    mean: float
    standard_deviation: float


class Seeds(Record):
    """What repeating search and training with several seeds came to.

    Attributes:
        delivered: the seed whose file this is: of those within the budget, the best on validation images.
        runs: every seed's.
    """

    delivered: int
    runs: tuple[SeedRecord, ...]
    validation_accuracy: Spread
    accuracy: Spread
    p50_ms: Spread

    @classmethod
    def of(cls, runs: Sequence[SeedRecord], *, delivered: int) -> Seeds:
        """With mean and spread of two or more runs."""

        def spread(name: str) -> Spread:
            values = [getattr(run, name) for run in runs]
            return Spread(mean=fmean(values), standard_deviation=stdev(values))

        return cls(
            delivered=delivered,
            runs=tuple(runs),
            validation_accuracy=spread("validation_accuracy"),
            accuracy=spread("accuracy"),
            p50_ms=spread("p50_ms"),
        )

    def in_words(self) -> str:
        """Mean and spread in a sentence."""

        def points(spread: Spread) -> str:
            return f"{100 * spread.mean:.2f} ± {100 * spread.standard_deviation:.2f} %"

        return (
            f"Of {len(self.runs)} seeds, seed {self.delivered} was the best on validation images within the budget. Mean and "
            f"standard deviation: validation accuracy {points(self.validation_accuracy)}, test accuracy "
            f"{points(self.accuracy)}, p50 {self.p50_ms.mean:.3g} ± {self.p50_ms.standard_deviation:.2g} ms."
        )
