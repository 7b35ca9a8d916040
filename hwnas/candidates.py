"""Networks that were looked at, as a struct of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.costs import Costs

if TYPE_CHECKING:
    from hwnas.space import Genotypes

Floats = NDArray[np.float64]
Words = NDArray[np.str_]


@dataclass(frozen=True)
class Candidates:
    """n networks with what is known of them, and where each number came from.

    Attributes:
        genotypes: ``(n, G)``, canonical.
        accuracy: ``(n,)`` fractions on validation data; scores from 0 to 1 where the source says so.
        costs: latency, its upper bound, memory and model size, ``(n,)`` each, as the search sees them.
        accuracy_source: ``(n,)`` words: ``"supernet"``, ``"short_training"``, ``"tabulated"`` …
        costs_source: ``(n,)`` words: ``"measured"``, ``"predicted"``, ``"tabulated"`` …
    """

    genotypes: Genotypes
    accuracy: Floats
    costs: Costs
    accuracy_source: Words
    costs_source: Words

    @staticmethod
    def of(
        genotypes: Genotypes, accuracy: Floats, costs: Costs, accuracy_source: str | Sequence[str], costs_source: str
    ) -> Candidates:
        """Candidates; accuracies are all from the same place, or a word says for each where from."""
        n = len(genotypes)
        return Candidates(genotypes, accuracy, costs, np.full(n, accuracy_source), np.full(n, costs_source))

    @staticmethod
    def none(genes: int) -> Candidates:
        """No candidates yet, in a space of so many genes."""
        return Candidates.of(np.empty((0, genes), np.int64), np.empty(0), Costs(*[np.empty(0)] * 5), "", "")

    def __len__(self) -> int:
        return len(self.genotypes)

    def __getitem__(self, index: Any) -> Candidates:
        """The rows that a slice, a mask or an array of positions selects."""
        return Candidates(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def joined(parts: Sequence[Candidates]) -> Candidates:
        """All of at least one part, in order."""
        return Candidates(
            np.concatenate([part.genotypes for part in parts]),
            np.concatenate([part.accuracy for part in parts]),
            Costs.joined([part.costs for part in parts]),
            np.concatenate([part.accuracy_source for part in parts]),
            np.concatenate([part.costs_source for part in parts]),
        )

    def front(self) -> NDArray[np.int64]:
        """Positions of the Pareto front of accuracy (up) and p50 latency (down), by rising latency."""
        return front(self.accuracy, self.costs.p50_ms)


def front(accuracy: Floats, cost: Floats) -> NDArray[np.int64]:
    """Positions of the networks ``(n,)`` that no other beats in accuracy (up) and cost (down), by rising cost. Of equal ones
    the first."""
    order = np.lexsort((-accuracy, cost))
    best = accuracy[order]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(best)[:-1]])
    return order[best > before]


def hypervolume(accuracy: Floats, cost: Floats, reference: tuple[float, float]) -> float:
    """Area that the networks ``(n,)`` dominate, up to ``reference``: (lowest accuracy, highest cost) that counts."""
    lowest, dearest = reference
    counted = (accuracy > lowest) & (cost < dearest)
    accuracy, cost = accuracy[counted], cost[counted]
    rows = front(accuracy, cost)
    widths = np.diff(np.append(cost[rows], dearest))
    return float(((accuracy[rows] - lowest) * widths).sum())
