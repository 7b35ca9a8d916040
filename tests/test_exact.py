"""The solver's optimum is the optimum, its proof holds, and what does not add up is refused."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.budget import Budget
from hwnas.costs import Costs
from hwnas.errors import InfeasibleBudget, SearchError
from hwnas.exact import solve
from hwnas.objectives import Pareto, Reward, Weighted
from hwnas.problem import Problem
from hwnas.space import Gene, Genotypes
from hwnas.spaces.fbnet import FBNet
from hwnas.spaces.nasbench_macro import NasBenchMacro
from hwnas.worst_case import WorstCase

SMALL = NasBenchMacro((3, 32, 32), 10)
LARGE = FBNet((3, 32, 32), 10)


@dataclass(frozen=True)
class Terms:
    """A table of terms per option and layer, summed; layers of one shape have the same."""

    space: NasBenchMacro | FBNet
    seed: int
    source: str = "made up"

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        shapes = list(dict.fromkeys(self.space.shapes))
        terms = np.random.default_rng(self.seed).random((len(shapes), 9))
        layers = [shapes.index(shape) for shape in self.space.shapes]
        return np.asarray(terms[layers, genotypes].sum(axis=1) / 30, np.float64)

    def costs(self, genotypes: Genotypes) -> Costs:
        latency = 1 + 30 * self.accuracy(genotypes)
        return Costs(latency, latency, latency, 100 * latency, 10 * latency)


@pytest.mark.parametrize("seed", range(5))
def test_no_network_of_a_listed_space_is_better(seed: int) -> None:
    costs = Terms(SMALL, seed)
    problem = Problem(SMALL, costs, Budget(latency_ms=4.0, memory_bytes=450), seed)
    proven = solve(problem, Terms(SMALL, 100 + seed))
    assert problem.listed is not None
    accuracy = Terms(SMALL, 100 + seed).accuracy(problem.listed)
    assert proven.accuracy == pytest.approx(accuracy.max(), abs=1e-12)
    assert proven.bound == pytest.approx(proven.accuracy, abs=1e-9)
    assert problem.budget.feasible(costs.costs(proven.genotype[None]))[0]


def test_a_space_of_trillions_is_solved_with_proof() -> None:
    assert math.prod(len(gene.options) for gene in LARGE.genes) >= 10**15
    problem = Problem(LARGE, Terms(LARGE, 0), Budget(latency_ms=8.0), 0)
    started = time.perf_counter()
    proven = solve(problem, Terms(LARGE, 1))
    assert time.perf_counter() - started < 60
    assert proven.bound == pytest.approx(proven.accuracy, abs=1e-9)
    drawn = problem.sample(np.random.default_rng(0), 2000)
    assert Terms(LARGE, 1).accuracy(drawn).max() < proven.accuracy


def test_several_devices_each_have_their_limit() -> None:
    devices = [(Terms(SMALL, 0), Budget(latency_ms=4.5)), (Terms(SMALL, 1), Budget(latency_ms=4.0))]
    both = WorstCase(devices)
    problem = Problem(SMALL, both, both.budget, 0)
    proven = solve(problem, Terms(SMALL, 2))
    assert problem.listed is not None
    assert proven.accuracy == pytest.approx(Terms(SMALL, 2).accuracy(problem.listed).max(), abs=1e-12)


def test_what_does_not_add_up_is_refused() -> None:
    class Product:
        source = "made up"

        def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
            return np.asarray((1.0 + genotypes).prod(axis=1) / 1e4, np.float64)

    problem = Problem(SMALL, Terms(SMALL, 0), Budget(latency_ms=4.0), 0)
    with pytest.raises(SearchError, match="the objective is not a sum over the genes"):
        solve(problem, Product())


def test_an_impossible_budget_is_named() -> None:
    with pytest.raises(InfeasibleBudget):
        solve(Problem(SMALL, Terms(SMALL, 0), Budget(latency_ms=1.01), 0), Terms(SMALL, 1))


@dataclass(frozen=True)
class Sums:
    """Accuracy and costs as sums of terms ``(G, K)`` per gene and option."""

    gains: NDArray[np.float64]
    latency: NDArray[np.float64]
    memory: NDArray[np.float64]
    source: str = "made up"

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        return _summed(self.gains, genotypes)

    def costs(self, genotypes: Genotypes) -> Costs:
        latency, memory = _summed(self.latency, genotypes), _summed(self.memory, genotypes)
        return Costs(latency, latency, latency, memory, memory)


def _summed(terms: NDArray[np.float64], genotypes: Genotypes) -> NDArray[np.float64]:
    return np.asarray(terms[np.arange(len(terms)), genotypes].sum(axis=1), np.float64)


GENES = tuple(Gene(f"g{i}", (0, 1, 2, 3)) for i in range(7))
EVERY = np.indices((4,) * 7).reshape(7, -1).T


class Options(NasBenchMacro):
    """Seven genes of four options; nothing is the same as anything else."""

    def __init__(self) -> None:
        self.genes = GENES

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        return np.array(genotypes, np.int64)

    def smallest(self) -> NDArray[np.int64]:
        return np.zeros(7, np.int64)


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("step", [0.0, 0.1, 1.0])
def test_the_proof_holds_at_any_scale_and_at_ties(scale: float, step: float) -> None:
    """With steps, many networks are exactly at the limits, as far as rounding lets them."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        latency, memory = (np.round(rng.random((7, 4)) * 5) * step if step else rng.random((7, 4)) for _ in range(2))
        sums = Sums(rng.random((7, 4)) * scale, latency + step, (memory + step) * scale)
        costs = sums.costs(EVERY)
        at = int(np.argsort(costs.latency_ms, kind="stable")[len(EVERY) // 4])
        limits = Budget(latency_ms=float(costs.latency_ms[at]), memory_bytes=float(np.median(costs.memory_bytes)))
        problem = Problem(Options(), sums, limits, seed)
        proven = solve(problem, sums)
        best = sums.accuracy(EVERY)[limits.feasible(costs)].max()
        assert problem.feasible(proven.genotype[None])[0]
        assert best <= proven.bound <= best + 1e-9 * 7 * scale
        assert proven.accuracy == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("below", [0.0, 1e-8])
def test_a_limit_among_thousands_of_equal_sums(below: float) -> None:
    tenths = np.tile(np.arange(1, 5) * 0.1, (7, 1))
    sums = Sums(np.random.default_rng(0).random((7, 4)) / 100, tenths, tenths)
    problem = Problem(Options(), sums, Budget(latency_ms=1.8 - below), 0)
    proven = solve(problem, sums)
    within = problem.budget.feasible(sums.costs(EVERY))
    assert proven.accuracy == pytest.approx(sums.accuracy(EVERY)[within].max(), abs=1e-12)
    assert within.sum() > 1000


def test_the_objective_is_honoured_or_refused() -> None:
    rng = np.random.default_rng(0)
    sums = Sums(rng.random((7, 4)) / 10, rng.random((7, 4)), rng.random((7, 4)))
    aim = Weighted(cost_weight=0.1)
    problem = Problem(Options(), sums, Budget(latency_ms=4.0), 0, aim)
    proven = solve(problem, sums)
    costs = sums.costs(EVERY)
    within = problem.budget.feasible(costs)
    fitness = sums.accuracy(EVERY) - 0.1 * costs.p50_ms
    assert proven.fitness == pytest.approx(fitness[within].max(), abs=1e-12)
    assert proven.accuracy < solve(replace(problem, objective=Weighted()), sums).accuracy
    with pytest.raises(SearchError, match="the objective is not a sum"):
        solve(replace(problem, objective=Reward(target=1.0)), sums)
    with pytest.raises(SearchError, match="A Pareto front is no one network"):
        solve(replace(problem, objective=Pareto()), sums)
