"""What is searched: a space, what its networks cost, the limits, and the aim. Hard constraints live here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InfeasibleBudget, SearchError
from hwnas.objectives import ACCURACY, Objective
from hwnas.worst_case import apart

if TYPE_CHECKING:
    from hwnas.budget import Budget
    from hwnas.candidates import Candidates
    from hwnas.costs import CostModel, Costs
    from hwnas.space import Genotypes, SearchSpace

Floats = NDArray[np.float64]
Loss = Callable[[Floats, NDArray[np.intp]], Floats]
"""Of shares ``(n, L)`` and of the positions ``(n,)`` of their networks."""

_FIRST_BATCH = 256
_LARGEST_BATCH = 16_384
_BATCHES = 6
_REPAIRED = 32
_ROUNDS = 40
_CHANGE = 0.5, 2.0  # of a weight in a round
_ROWS = 1024  # networks repaired at a time: each has dozens of neighbours


@dataclass(frozen=True)
class Problem:
    """One search problem. All methods work on arrays and are functions of their arguments.

    Raises:
        ValueError: the seed is negative.
    """

    space: SearchSpace
    costs: CostModel
    budget: Budget
    seed: int
    objective: Objective = ACCURACY

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}.")

    @cached_property
    def listed(self) -> Genotypes | None:
        """``(m, G)``: all networks within the budget, where the space is small enough to list; else None."""
        every = self.space.networks()
        return None if every is None else self.admit(every)

    def admit(self, proposals: Genotypes, seen: Container[bytes] = ()) -> Genotypes:
        """The ``(m, G)`` networks among ``(n, G)`` proposals that may be evaluated: canonical, within the budget, each once
        and none of ``seen`` (:func:`keys`); in the order proposed."""
        proposals = self.space.canonical(proposals)
        return unseen(proposals[self.feasible(proposals)], seen)

    def feasible(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """``(n,)`` whether each canonical genotype is a network within the budget."""
        within: NDArray[np.bool_] = self.excess(genotypes) == 0
        return within

    def excess(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` how far canonical genotypes are over the budget (:meth:`hwnas.budget.Budget.excess`); infinitely, where they
        are no networks of the space or the objective counts a cost of theirs that is not known."""
        costs = self.costs.costs(genotypes)
        known = self.space.has(genotypes)
        if self.objective.counted is not None:
            known &= ~np.isnan(getattr(costs, self.objective.counted))
        return np.where(known, self.budget.excess(costs), np.inf)

    def sample(self, rng: np.random.Generator, n: int, seen: Container[bytes] = ()) -> Genotypes:
        """Up to ``n`` networks that :meth:`admit` lets pass, drawn at random.

        From a space that is listed they are drawn evenly, and all are found. From a larger one the number of tries is bounded:
        fewer than ``n`` come back where hardly any are left. Where chance alone finds too few, the nearest of what it drew are
        repaired; where that gives none, those known to be within the budget are looked around.
        """
        if self.listed is not None:
            left = self.listed[rng.permutation(len(self.listed))]
            return left[[key not in seen for key in keys(left)]][:n]
        found = drawn = self.space.sample(rng, 0)
        for batch in range(_BATCHES):
            if len(found) >= n:
                break
            drawn = self.space.sample(rng, max(n, min(_FIRST_BATCH * 4**batch, _LARGEST_BATCH)))
            found = self.admit(np.concatenate([found, drawn]), seen)
        if len(found) < n:
            found = self.admit(np.concatenate([found, self.repair(self._nearest(drawn, _REPAIRED))]), seen)
        if not len(found):
            known = self._looked_at[self.feasible(self._looked_at)][:_REPAIRED]
            around = self.neighbours(known).reshape(-1, drawn.shape[1])
            found = self.admit(np.concatenate([known, around]), seen)
        return found[:n]

    def repair(self, genotypes: Genotypes) -> Genotypes:
        """``(n, G)``: each network moved towards the budget, one gene at a time, by steepest descent on the sum of what all
        limits of all devices are exceeded by, until it is within or no single gene helps."""
        return self._descended(genotypes, lambda shares, _: np.maximum(shares - 1, 0).sum(axis=1))

    def neighbours(self, genotypes: Genotypes) -> Genotypes:
        """``(n, K, G)``: every network that differs from a row in one gene, canonical; K is the number of all options."""
        options = [(g, option) for g, gene in enumerate(self.space.genes) for option in range(len(gene.options))]
        out = np.repeat(genotypes[:, None, :], len(options), axis=1)
        for k, (g, option) in enumerate(options):
            out[:, k, g] = option
        return self.space.canonical(out.reshape(-1, genotypes.shape[1])).reshape(out.shape)

    def best(self, found: Candidates) -> int:
        """Position of the fittest; among equals, of the most accurate, then of the fastest.

        Raises:
            ValueError: there are no candidates.
        """
        if not len(found):
            raise ValueError("there are no candidates to choose from")
        return int(np.lexsort((found.costs.p50_ms, -found.accuracy, -self.objective.fitness(found)))[0])

    def require_feasible(self) -> None:
        """Look for one network within the budget: among all where they are listed; else at random, then by descent from the
        smallest network and from the nearest of those drawn.

        Raises:
            InfeasibleBudget: none was found, which proves that there is none where they are listed; ``closest`` is the nearest.
            SearchError: the objective counts a cost that is not known.
        """
        excess, costs = self.excess(self._looked_at), self.costs.costs(self._looked_at)
        if (excess == 0).any():
            return
        counted = self.objective.counted
        if counted is not None and np.isnan(getattr(costs, counted)).all():
            raise SearchError(
                f"The objective counts {counted}, which is not known of any network.",
                hint="Give costs that have it, or an objective that counts another cost.",
            )
        best = int(excess.argmin())
        genotype, limits, needs = self._looked_at[best], [], []
        for name, model, budget in apart(self.costs, self.budget):
            on, own = f" on {name}" if name else "", describe_costs(model.costs(genotype[None]), 0)
            for limit, value in budget.given().items():
                limits.append(f"{limit} {value:.4g}{on}")
                needs.append(f"{limit} {'unknown' if own[limit] is None else format(own[limit], '.4g')}{on}")
        listed = self.space.networks() is not None
        said = "No network of the space meets the budget" if listed else "No network was found that meets the budget"
        raise InfeasibleBudget(
            f"{said} ({', '.join(limits)}): the closest found needs {', '.join(needs)}.",
            closest={
                "genotype": genotype.tolist(),
                "genes": self.space.describe(genotype),
                **describe_costs(costs, best),
            },
            hint="Raise the budget to what the closest network needs, or search a space with smaller networks.",
        )

    @cached_property
    def _looked_at(self) -> Genotypes:
        """``(m, G)``: all networks where they are listed; else random ones, and where none of those is within the budget, what
        the smallest and the nearest of them become by repair, and by weighing limits against each other."""
        every = self.space.networks()
        if every is not None:
            return every
        drawn = self.space.sample(np.random.default_rng(self.seed), _LARGEST_BATCH)
        if self.feasible(drawn).any():
            return drawn
        starts = np.concatenate([self.space.smallest()[None], self._nearest(drawn, _REPAIRED)])
        repaired = self.repair(starts)
        return repaired if self.feasible(repaired).any() else np.concatenate([repaired, self._weighed(starts)])

    def _weighed(self, genotypes: Genotypes) -> Genotypes:
        """``(m, G)`` what each network becomes by descent on weighted sums of what is limited, and by repair. From round to round
        limits that are broken weigh more (multiplicative weights; Arora et al. 2012, section 3.2), until a network is within all.
        """
        weights, found = np.ones_like(self._shares(genotypes)), [genotypes]

        def weighed(shares: Floats, rows: NDArray[np.intp]) -> Floats:
            return np.asarray((shares * weights[rows]).sum(axis=1), np.float64)

        for _ in range(_ROUNDS):
            genotypes = self._descended(genotypes, weighed)
            found += [genotypes, self.repair(genotypes)]
            if self.feasible(found[-1]).any():
                break
            weights *= np.clip(self._shares(genotypes), *_CHANGE)
        return np.concatenate(found)

    def _descended(self, genotypes: Genotypes, loss: Loss) -> Genotypes:
        """``(n, G)``: each network moved one gene at a time by steepest descent on a loss of its shares, until it is within the
        budget or no single gene helps."""
        genotypes = self.space.canonical(genotypes)
        positions = np.arange(len(genotypes))
        for first in range(0, len(genotypes), _ROWS):
            moving = positions[first : first + _ROWS]
            for _ in range(sum(len(gene.options) for gene in self.space.genes)):
                moving = moving[~self.feasible(genotypes[moving])]
                if not len(moving):
                    break
                neighbours = self.neighbours(genotypes[moving])
                n, k, genes = neighbours.shape
                before = loss(self._shares(genotypes[moving]), moving)
                after = loss(self._shares(neighbours.reshape(n * k, genes)), np.repeat(moving, k)).reshape(n, k)
                rows, best = np.arange(n), after.argmin(axis=1)
                better = after[rows, best] < before
                moving = moving[better]
                genotypes[moving] = neighbours[rows, best][better]
        return genotypes

    def _shares(self, genotypes: Genotypes) -> Floats:
        """``(n, L)``: what is limited as multiples of the limits, of all devices; infinite where it is no network."""
        shares = [budget.shares(model.costs(genotypes)) for _, model, budget in apart(self.costs, self.budget)]
        return np.where(self.space.has(genotypes)[:, None], np.concatenate(shares, axis=1), np.inf)

    def _nearest(self, genotypes: Genotypes, n: int) -> Genotypes:
        """The ``n`` that are over the budget by the least."""
        excess = self.excess(genotypes)
        over = np.flatnonzero(excess > 0)
        return genotypes[over[np.argsort(excess[over], kind="stable")[:n]]]


def keys(genotypes: Genotypes) -> list[bytes]:
    """One hashable key per row."""
    rows = np.ascontiguousarray(genotypes)
    width = rows.itemsize * rows.shape[1]
    raw = rows.tobytes()
    return [raw[i : i + width] for i in range(0, len(raw), width)]


def unseen(genotypes: Genotypes, seen: Container[bytes]) -> Genotypes:
    """``(m, G)``: of ``(n, G)`` networks each once and none of ``seen`` (:func:`keys`), in their order."""
    names = keys(genotypes)
    first = dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))
    return genotypes[sorted(i for name, i in first.items() if name not in seen)]


def describe_costs(costs: Costs, i: int) -> dict[str, Any]:
    """Costs of the i-th network by the names of the budget's limits; ``latency_ms`` is what the limit applies to, the upper
    bound of p50. None is what is not known."""
    latency, memory, model = (float(c[i]) for c in (costs.upper_ms, costs.memory_bytes, costs.model_bytes))
    return {
        "latency_ms": None if math.isnan(latency) else latency,
        "memory_bytes": None if math.isnan(memory) else int(memory),
        "model_bytes": None if math.isnan(model) else int(model),
    }
