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


@final
@dataclass(frozen=True)
class WorstCase:
    """Costs on several devices as those of the first: another device's are scaled by how the first one's limit compares with its
    own, and the largest counts. So the first device's budget holds exactly where every budget does. With equal limits nothing is
    scaled.

    Attributes:
        devices: each with its budget; the same limits are given on all.

    Raises:
        ValueError: no device, or budgets that limit different things.
    """

    devices: Sequence[tuple[CostModel, Budget]]

    def __post_init__(self) -> None:
        if not self.devices:
            raise ValueError("several devices need at least one")
        for name in ("latency_ms", "memory_bytes", "model_bytes"):
            given = {getattr(budget, name) is None for _, budget in self.devices}
            if len(given) > 1:
                raise ValueError(f"{name} must be limited on all devices or on none.")

    @property
    def budget(self) -> Budget:
        """The first device's, which stands for all."""
        return self.devices[0][1]

    @property
    def source(self) -> str:
        """Where the devices' costs came from."""
        return ", ".join(dict.fromkeys(model.source for model, _ in self.devices))

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` genotypes."""
        return worst([(model.costs(genotypes), budget) for model, budget in self.devices])


def worst(on: Sequence[tuple[Costs, Budget]]) -> Costs:
    """From the costs ``(n,)`` on every device those that :class:`WorstCase` gives."""
    found = []
    for costs, budget in on:
        latency, memory, size = (
            _scale(getattr(on[0][1], name), getattr(budget, name))
            for name in ("latency_ms", "memory_bytes", "model_bytes")
        )
        found.append(
            (
                costs.latency_ms * latency,
                costs.p50_ms * latency,
                costs.upper_ms * latency,
                costs.memory_bytes * memory,
                costs.model_bytes * size,
            )
        )
    return Costs(*(_largest(column) for column in zip(*found, strict=True)))


def _scale(first: float | None, own: float | None) -> float:
    return 1.0 if first is None or own is None else first / own


def _largest(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Largest of each row; what is not known of one device is not known."""
    return np.asarray(np.max(np.stack(values), axis=0), np.float64)
