"""What a search is for. The budget holds in any case; an objective says which of the networks within it is the better one.

``[objective] name`` in a configuration is one of :data:`OBJECTIVES`, its further keys the fields of that class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from devices.plugins import require_known
from hwnas.candidates import front
from hwnas.settings import check_arguments

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.costs import Costs

Floats = NDArray[np.float64]
Cost = Literal["latency_ms", "p50_ms", "upper_ms", "memory_bytes", "model_bytes"]


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}.")


class Objective(Protocol):
    """An objective; its methods are functions of their arguments."""

    @property
    def counted(self) -> Cost | None:
        """The cost that it counts beside the accuracy; None where that alone counts."""

    def fitness(self, found: Candidates) -> Floats:
        """``(n,)``: the higher the better, among ``found``."""

    def gain(self, accuracy: Floats, costs: Costs, known: Candidates) -> Floats:
        """What networks would add to the networks ``known``: ``(n, K)``, for K values that the accuracy of each may have."""

    def losses(self, found: Candidates) -> Floats:
        """``(n, M)``: the M numbers that are to be as low as possible, as other libraries want them."""


class _Value(ABC):
    """An objective that is one number for each network."""

    def fitness(self, found: Candidates) -> Floats:
        """See the class."""
        return self._value(found.accuracy, found.costs)

    def gain(self, accuracy: Floats, costs: Costs, known: Candidates) -> Floats:
        """By how much each would be better than the best known."""
        return _over_best(self._value(accuracy.T, costs).T, self.fitness(known))

    def losses(self, found: Candidates) -> Floats:
        """The fitness, negative."""
        return -self.fitness(found)[:, None]

    @abstractmethod
    def _value(self, accuracy: Floats, costs: Costs) -> Floats:
        """``(n,)``, or ``(…, n)`` for several accuracies of each."""


@dataclass(frozen=True)
class Weighted(_Value):
    """``accuracy_weight`` · accuracy − ``cost_weight`` · cost, both over a baseline: accuracy as the difference to the
    baseline's, cost as a multiple of it. As it stands, accuracy alone.

    Attributes:
        accuracy_weight: α.
        cost_weight: β: what is lost at the baseline's cost.
        cost: which cost.
        baseline_accuracy: a fraction.
        baseline_cost: in the unit of ``cost``.

    Raises:
        ValueError: a negative weight, or a baseline that costs nothing.
    """

    accuracy_weight: float = 1.0
    cost_weight: float = 0.0
    cost: Cost = "p50_ms"
    baseline_accuracy: float = 0.0
    baseline_cost: float = 1.0

    def __post_init__(self) -> None:
        if min(self.accuracy_weight, self.cost_weight) < 0:
            raise ValueError(f"weights must be at least 0, got {self.accuracy_weight} and {self.cost_weight}.")
        _positive("baseline_cost", self.baseline_cost)

    @property
    def counted(self) -> Cost | None:
        """The cost, unless it weighs nothing."""
        return self.cost if self.cost_weight else None

    def _value(self, accuracy: Floats, costs: Costs) -> Floats:
        value: Floats = self.accuracy_weight * (accuracy - self.baseline_accuracy)
        if self.cost_weight:
            value = value - self.cost_weight * getattr(costs, self.cost) / self.baseline_cost
        return value


@dataclass(frozen=True)
class Reward(_Value):
    """accuracy · (cost / target) ^ exponent (Tan et al. 2019, "MnasNet", equations 2 and 3).

    Soft: the same exponent, -0.07, on both sides of the target. Hard: ``within`` 0, ``beyond`` -1.

    Attributes:
        target: in the unit of ``cost``.
        within, beyond: exponents up to the target and above it.
        cost: which cost.

    Raises:
        ValueError: the target is not positive, or an exponent is.
    """

    target: float
    within: float = -0.07
    beyond: float = -0.07
    cost: Cost = "p50_ms"

    def __post_init__(self) -> None:
        _positive("target", self.target)
        if max(self.within, self.beyond) > 0:
            raise ValueError(f"exponents must be at most 0, got {self.within} and {self.beyond}.")

    @property
    def counted(self) -> Cost | None:
        """The cost."""
        return self.cost

    def _value(self, accuracy: Floats, costs: Costs) -> Floats:
        share = getattr(costs, self.cost) / self.target
        value: Floats = accuracy * share ** np.where(share <= 1, self.within, self.beyond)
        return value


@dataclass(frozen=True)
class Pareto:
    """A whole front of accuracy and a cost.

    Attributes:
        cost: which cost.
    """

    cost: Cost = "p50_ms"

    @property
    def counted(self) -> Cost | None:
        """The cost."""
        return self.cost

    def fitness(self, found: Candidates) -> Floats:
        """Fronts first, and within a front the lonely ones (Deb et al. 2002, "NSGA-II", sections III.A and III.B)."""
        cost = getattr(found.costs, self.cost)
        fitness, left = np.zeros(len(found)), np.arange(len(found))
        rank = 0
        while len(left):
            rows = left[front(found.accuracy[left], cost[left])]
            fitness[rows] = -rank + _crowding(found.accuracy[rows], cost[rows])
            left, rank = np.setdiff1d(left, rows), rank + 1
        return fitness

    def gain(self, accuracy: Floats, costs: Costs, known: Candidates) -> Floats:
        """What each would add to the area that the known ones dominate (Emmerich et al. 2006), which counts from the least
        accurate and the dearest of both."""
        cost, known_cost = getattr(costs, self.cost), getattr(known.costs, self.cost)
        lowest, dearest = known.accuracy.min(), max(cost.max(initial=0), known_cost.max())
        rows = front(known.accuracy, known_cost)
        edges = np.append(known_cost[rows], dearest)
        heights = known.accuracy[rows]
        before = np.maximum(edges[0] - cost, 0)[:, None] * np.maximum(accuracy - lowest, 0)
        widths = np.maximum(edges[1:] - np.maximum(edges[:-1], cost[:, None]), 0)
        above = [np.maximum(column[:, None] - heights, 0) * widths for column in accuracy.T]
        return np.asarray(before + np.stack([area.sum(axis=1) for area in above], axis=1), np.float64)

    def losses(self, found: Candidates) -> Floats:
        """Accuracy, negative, and the cost."""
        return np.stack([-found.accuracy, getattr(found.costs, self.cost)], axis=1)


ACCURACY = Weighted()
"""The most accurate network within the budget."""
OBJECTIVES: dict[str, type[Weighted | Reward | Pareto]] = {"weighted": Weighted, "reward": Reward, "pareto": Pareto}


def open(name: str, **settings: Any) -> Objective:  # noqa: A001 - read as hwnas.objectives.open
    """The objective ``name``.

    Raises:
        ValueError: unknown objective or setting (names the nearest match), one that is missing, or a value that cannot be.
    """
    require_known("unknown objective", [name], list(OBJECTIVES))
    known = list(OBJECTIVES[name].__dataclass_fields__)
    require_known(f"objective {name!r} has no setting", settings, known)
    check_arguments(f"objective {name!r}", OBJECTIVES[name], known, settings)
    return OBJECTIVES[name](**settings)


def _over_best(value: Floats, fitness: Floats) -> Floats:
    gain: Floats = np.maximum(value - fitness.max(), 0)
    return gain


def _crowding(accuracy: Floats, cost: Floats) -> Floats:
    """``(n,)`` from 0 to below 1: how far apart the neighbours of each are on a front that is sorted by cost; ends are the
    loneliest."""
    spans = np.ones(len(cost))
    for values in (accuracy, cost):
        reach = np.ptp(values) or 1.0
        spans[1:-1] += np.abs(values[2:] - values[:-2]) / reach - 0.5
    spans[[0, -1]] = 3.0
    return spans / 4.0
