"""Networks that were looked at, as a struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hwnas.costs import Costs
    from hwnas.space import Genotypes


@dataclass(frozen=True)
class Candidates:
    """n networks with what is known of them.

    Attributes:
        genotypes: ``(n, G)``, canonical.
        accuracy: ``(n,)`` fractions on validation data.
        accuracy_source: what the accuracies are: ``"supernet"``, ``"training"``, ``"tabulated"`` …
        costs: latency, its upper bound, memory and model size, ``(n,)`` each, as the search sees them.
    """

    genotypes: Genotypes
    accuracy: NDArray[np.float64]
    accuracy_source: str
    costs: Costs

    def __len__(self) -> int:
        return len(self.genotypes)

    def __getitem__(self, index: Any) -> Candidates:
        """The rows that a slice, a mask or an array of positions selects."""
        return Candidates(self.genotypes[index], self.accuracy[index], self.accuracy_source, self.costs[index])

    def followed_by(self, more: Candidates) -> Candidates:
        """These, then ``more`` of the same source."""
        if more.accuracy_source != self.accuracy_source:
            raise ValueError(
                f"accuracies of one source cannot be compared with another's: {self.accuracy_source}, {more.accuracy_source}"
            )
        return Candidates(
            np.concatenate([self.genotypes, more.genotypes]),
            np.concatenate([self.accuracy, more.accuracy]),
            self.accuracy_source,
            self.costs.followed_by(more.costs),
        )

    def best(self) -> int:
        """Position of the highest accuracy; among equals, of the lowest latency.

        Raises:
            ValueError: there are no candidates.
        """
        if not len(self):
            raise ValueError("there are no candidates to choose from")
        return int(np.lexsort((self.costs.p50_ms, -self.accuracy))[0])

    def front(self) -> NDArray[np.int64]:
        """Positions of the Pareto front of accuracy (up) and p50 latency (down), by rising latency."""
        order = np.lexsort((-self.accuracy, self.costs.p50_ms))
        accuracy = self.accuracy[order]
        before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy)[:-1]])
        return order[accuracy > before]
