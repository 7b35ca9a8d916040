"""The best network with its proof, where accuracy and costs add up over the genes: a multiple-choice knapsack (Kellerer, Pferschy
& Pisinger 2004, "Knapsack problems", chapter 11), given to a branch-and-bound solver (HiGHS; Huangfu & Hall 2018)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.candidates import Candidates
from hwnas.errors import InfeasibleBudget, SearchError
from hwnas.objectives import Pareto
from hwnas.worst_case import apart

if TYPE_CHECKING:
    from hwnas.accuracy import AccuracyModel
    from hwnas.costs import CostModel
    from hwnas.problem import Problem
    from hwnas.space import Genotypes

Floats = NDArray[np.float64]
Figure = Callable[["Genotypes"], Floats]

_CHECKED = 500  # networks on which sums are compared with what they stand for
_EQUAL = 1e-6  # relative to the spread: how far they may differ
_SCALE = 1e4  # of all sums as the solver sees them, from the least to the most possible
_TOLERANCE = 1e-6  # the solver's, absolute, of what it maximises and of what is limited
_SURE = 3 * _TOLERANCE / _SCALE  # of the spread: what the bound is above what the solver says, for its rounding
_CUTS = 100  # solutions that were over a limit by less than the solver's tolerance


@dataclass(frozen=True)
class Proven:
    """A network, and how much better any other could be.

    Attributes:
        genotype: ``(G,)``.
        accuracy, fitness: its own; the fitness is of the problem's objective, and by default the accuracy.
        bound: no network within the budget is fitter. Where the solver had time enough, it is above ``fitness`` by a few
            10⁻¹⁰ of the spread of fitness over the space, which is as far as a solver with rounding errors proves.
    """

    genotype: NDArray[np.int64]
    accuracy: float
    fitness: float
    bound: float


def solve(problem: Problem, accuracy: AccuracyModel, *, time_limit_s: float = 60.0) -> Proven:
    """The fittest network within the budget, out of any number of networks.

    Args:
        problem: its costs, as far as they are limited, must be sums over genes; of several devices each one's
            (:class:`hwnas.worst_case.WorstCase`). So must be its objective: accuracy, or accuracy and such a cost, weighted.
        accuracy: a proxy that is a sum over genes.
        time_limit_s: after that the best found so far is returned, with the bound that was reached.

    Raises:
        SearchError: the objective or a cost does not add up, or nothing was found in time.
        InfeasibleBudget: no network meets the budget.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    space = problem.space
    if space.rows is not None or isinstance(problem.objective, Pareto):
        what = (
            "The rows of a table are no sums over genes"
            if space.rows is not None
            else "A Pareto front is no one network"
        )
        raise SearchError(f"{what}, so there is nothing to solve.", hint="Search with 'guided' or 'exhaustive'.")

    def fitness(genotypes: Genotypes) -> Floats:
        accuracies, costs = accuracy.accuracy(genotypes), problem.costs.costs(genotypes)
        return problem.objective.fitness(Candidates.of(genotypes, accuracies, costs, "", ""))

    gains = _Sum(problem, fitness, "the objective")
    costs = [(_Sum(problem, cost, name), limit) for name, cost, limit in _limits(problem)]
    counts = [len(gene.options) for gene in space.genes]
    gene = np.repeat(np.arange(len(counts)), counts)
    one_each = csr_array((np.ones(len(gene)), (gene, np.arange(len(gene)))))
    constraints = [LinearConstraint(one_each, 1, 1)]
    constraints += [
        LinearConstraint(_SCALE / cost.spread * cost.terms[None], -np.inf, _SCALE / cost.spread * (limit - cost.base))
        for cost, limit in costs
    ]
    for _ in range(_CUTS):
        found = milp(
            -_SCALE / gains.spread * gains.terms,
            constraints=constraints,
            integrality=np.ones(len(gene)),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0.0, "time_limit": time_limit_s},
        )
        if found.status == 2:
            raise InfeasibleBudget("No network of the space meets the budget.", closest={}, hint="Raise the budget.")
        if found.x is None:
            raise SearchError(f"The solver found no network: {found.message}", hint="Give it more time: time_limit_s.")
        ones = found.x > 0.5
        (genotype,) = space.canonical(np.array([[int(np.flatnonzero(ones[gene == g])[0]) for g in range(len(counts))]]))
        if problem.feasible(genotype[None])[0]:
            own = float(fitness(genotype[None])[0])
            proven = gains.base - found.mip_dual_bound * gains.spread / _SCALE
            bound = max(own, proven) + _SURE * gains.spread + gains.apart
            return Proven(genotype, float(accuracy.accuracy(genotype[None])[0]), own, bound)
        constraints.append(LinearConstraint(ones.astype(float)[None], -np.inf, len(counts) - 1))
    raise SearchError(
        f"{_CUTS} networks are over the budget by less than the solver can tell.",
        hint="Change the limit by a little: it lies among sums that are nearly equal.",
    )


class _Sum:
    """A figure as a sum: ``base``, the least possible, and, for each option of each gene in a row, what it adds; together
    that is at most ``spread``, which is 1 where nothing differs. Of random networks the figure is up to ``apart`` off the sum.

    Raises:
        SearchError: the sums are not the figure.
    """

    def __init__(self, problem: Problem, figure: Figure, name: str) -> None:
        start = problem.space.smallest()
        counts = [len(gene.options) for gene in problem.space.genes]
        of_start = float(figure(start[None])[0])
        self.terms = figure(problem.neighbours(start[None])[0]) - of_start
        self.base = of_start
        sample = problem.space.sample(np.random.default_rng(problem.seed), _CHECKED)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        sums, figures = self.base + self.terms[first + sample].sum(axis=1), figure(sample)
        self.apart = float(np.abs(sums - figures).max(initial=0))
        least, most = np.minimum.reduceat(self.terms, first), np.maximum.reduceat(self.terms, first)
        self.base += float(least.sum())
        self.terms -= np.repeat(least, counts)
        self.spread = float((most - least).sum()) or 1.0
        if not self.apart <= _EQUAL * max(float(np.ptp(figures)), 1e-300):
            raise SearchError(
                f"{name} is not a sum over the genes: random networks differ from it by up to {self.apart:.3g}.",
                hint="Search with 'guided' instead, or with an accuracy and costs that add up.",
            )


def _limits(problem: Problem) -> list[tuple[str, Figure, float]]:
    """What the budget limits: name, figure, limit; of every device."""
    found: list[tuple[str, Figure, float]] = []
    for _, model, budget in apart(problem.costs, problem.budget):
        for name, column in (("latency_ms", "upper_ms"), ("memory_bytes",) * 2, ("model_bytes",) * 2):
            limit = getattr(budget, name)
            if limit is not None:
                found.append((name, _figure(model, column), limit))
    return found


def _figure(model: CostModel, column: str) -> Figure:
    return lambda genotypes: np.asarray(getattr(model.costs(genotypes), column), np.float64)
