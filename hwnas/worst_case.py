"""One network for several devices: it has to keep every device's budget, and costs what it costs where it is worst off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from hwnas.budget import Budget
from hwnas.costs import CostModel, Costs

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_KINDS = {  # limits, and the costs that are scaled by them
    "latency_ms": ("latency_ms", "p50_ms", "upper_ms"),
    "memory_bytes": ("memory_bytes",),
    "model_bytes": ("model_bytes",),
}


@final
@dataclass(frozen=True)
class WorstCase:
    """Costs on several devices as those of the first: another device's are scaled by how the first one's limit compares with its
    own, and the largest counts. So :attr:`budget` holds exactly where every budget does. With equal limits nothing is scaled.
    What only some devices limit is counted on those, in terms of the first of them.

    Attributes:
        devices: each with its budget.
        names: of the devices, for messages; by default they are numbered.

    Raises:
        ValueError: no device, or not as many names.
    """

    devices: Sequence[tuple[CostModel, Budget]]
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.devices:
            raise ValueError("several devices need at least one")
        if self.names and len(self.names) != len(self.devices):
            raise ValueError(f"{len(self.devices)} devices need as many names, got {len(self.names)}")

    @property
    def budget(self) -> Budget:
        """Each limit of the first device that has it, which stands for all."""
        return together([budget for _, budget in self.devices])

    @property
    def source(self) -> str:
        """Where the devices' costs came from."""
        return ", ".join(dict.fromkeys(model.source for model, _ in self.devices))

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` genotypes."""
        return worst([(model.costs(genotypes), budget) for model, budget in self.devices])


def together(budgets: Sequence[Budget]) -> Budget:
    """Each limit of the first budget that has it."""
    limits = {name: [given for b in budgets if (given := getattr(b, name)) is not None] for name in _KINDS}
    return Budget(**{name: given[0] for name, given in limits.items() if given})


def worst(on: Sequence[tuple[Costs, Budget]]) -> Costs:
    """From the costs ``(n,)`` on every device those that :class:`WorstCase` gives."""
    found = {}
    for name, columns in _KINDS.items():
        limits = [getattr(budget, name) for _, budget in on]
        first = next((limit for limit in limits if limit is not None), None)
        counted = [
            (costs, 1.0 if limit is None or first is None else first / limit)
            for (costs, _), limit in zip(on, limits, strict=True)
            if limit is not None or first is None
        ]
        for column in columns:
            found[column] = _largest([getattr(costs, column) * scale for costs, scale in counted])
    return Costs(**found)


def apart(costs: CostModel, budget: Budget) -> Sequence[tuple[str, CostModel, Budget]]:
    """Every device that costs are of, with its name, its costs and its budget; a single one has no name."""
    if not isinstance(costs, WorstCase):
        return [("", costs, budget)]
    names = costs.names or [f"device {number}" for number in range(1, len(costs.devices) + 1)]
    return [(name, *device) for name, device in zip(names, costs.devices, strict=True)]


def _largest(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Largest of each row; what is not known of one device is not known."""
    return np.asarray(np.max(np.stack(values), axis=0), np.float64)
