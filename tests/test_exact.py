"""The solver's optimum is the optimum, its proof holds, and what does not add up is refused."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.budget import Budget
from hwnas.costs import Costs
from hwnas.errors import InfeasibleBudget, SearchError
from hwnas.exact import solve
from hwnas.problem import Problem
from hwnas.space import Genotypes
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
    with pytest.raises(SearchError, match="the accuracy is not a sum over the genes"):
        solve(problem, Product())


def test_an_impossible_budget_is_named() -> None:
    with pytest.raises(InfeasibleBudget):
        solve(Problem(SMALL, Terms(SMALL, 0), Budget(latency_ms=1.01), 0), Terms(SMALL, 1))
