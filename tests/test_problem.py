"""What is within the budget is found where chance does not find it; what is not found is told in words, by device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas import searchers
from hwnas.budget import Budget
from hwnas.costs import CostModel, Costs
from hwnas.errors import InfeasibleBudget
from hwnas.problem import Problem
from hwnas.search import search
from hwnas.space import Gene, Genotypes
from hwnas.spaces.nasbench_macro import NasBenchMacro
from hwnas.worst_case import WorstCase

GENES, OPTIONS = 20, 6


class Large(NasBenchMacro):
    """Twenty genes of six options, far too many to list; nothing is the same as anything else."""

    def __init__(self) -> None:
        self.genes = tuple(Gene(f"g{i}", tuple(range(OPTIONS))) for i in range(GENES))

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        return np.array(genotypes, np.int64)

    def smallest(self) -> NDArray[np.int64]:
        return np.zeros(GENES, np.int64)


@dataclass(frozen=True)
class Sums:
    """Latency and memory are sums of terms ``(G, K)``; so is the accuracy."""

    latency: NDArray[np.float64]
    memory: NDArray[np.float64]
    source: str = "made up"

    def costs(self, genotypes: Genotypes) -> Costs:
        latency, memory = (terms[np.arange(GENES), genotypes].sum(axis=1) for terms in (self.latency, self.memory))
        return Costs(latency, latency, latency, memory, memory)

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        return np.asarray(genotypes.mean(axis=1) / OPTIONS, np.float64)


def several(seed: int, tables: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return [rng.lognormal(0, 1, (GENES, OPTIONS)) for _ in range(tables)]


def balanced(tables: Sequence[NDArray[np.float64]]) -> Genotypes:
    """A network ``(1, G)`` that is cheap in all respects."""
    return np.asarray(np.sum([terms / terms.mean() for terms in tables], axis=0).argmin(axis=1))[None]


@pytest.mark.parametrize("slack", [1.0, 1.02])
def test_two_limits_that_one_kind_of_network_keeps(slack: float) -> None:
    for seed in range(15):
        tables = several(seed, 2)
        model = Sums(tables[0], tables[1])
        kept = model.costs(balanced(tables))
        limits = Budget(float(kept.upper_ms[0]) * slack, float(kept.memory_bytes[0]) * slack)
        problem = Problem(Large(), model, limits, seed)
        problem.require_feasible()
        assert len(problem.sample(np.random.default_rng(0), 5))


def test_four_devices_that_one_kind_of_network_is_for() -> None:
    for seed in range(15):
        tables = several(seed, 4)
        models = [Sums(terms, terms) for terms in tables]
        devices = [(m, Budget(float(m.costs(balanced(tables)).upper_ms[0]) * 1.03)) for m in models]
        both = WorstCase(devices)
        problem = Problem(Large(), both, both.budget, seed)
        found = search(problem, searchers.open("random", problem), models[0], evaluations=5, generation=5).candidates
        for model, budget in devices:
            assert budget.feasible(model.costs(found.genotypes)).all()


def test_what_is_not_found_is_not_said_to_be_impossible_and_names_the_device() -> None:
    first, second = (Sums(terms, 1000 * terms) for terms in several(0, 2))
    lowest = float(second.memory.min(axis=1).sum())
    devices: list[tuple[CostModel, Budget]] = [
        (first, Budget(latency_ms=1000.0)),
        (second, Budget(latency_ms=2000.0, memory_bytes=lowest - 1)),
    ]
    for names, shown in ((["phone", "box"], "box"), ([], "device 2")):
        both = WorstCase(devices, names)
        with pytest.raises(InfeasibleBudget, match="No network was found that meets the budget") as caught:
            Problem(Large(), both, both.budget, 0).require_feasible()
        needs = caught.value.message.partition("the closest found needs ")[2]
        assert f"memory_bytes {lowest:.4g} on {shown}" in needs
        assert (
            f"latency_ms {second.costs(np.array([caught.value.closest['genotype']])).upper_ms[0]:.4g} on {shown}"
            in needs
        )


def test_devices_may_be_limited_in_different_things() -> None:
    first, second = (Sums(terms, 1000 * terms) for terms in several(1, 2))
    drawn = Large().sample(np.random.default_rng(0), 400)
    limits = Budget(latency_ms=float(np.median(first.costs(drawn).upper_ms)))
    others = Budget(memory_bytes=float(np.median(second.costs(drawn).memory_bytes)))
    both = WorstCase([(first, limits), (second, others)])
    kept = limits.feasible(first.costs(drawn)) & others.feasible(second.costs(drawn))
    np.testing.assert_array_equal(both.budget.feasible(both.costs(drawn)), kept)
    assert 0 < kept.sum() < 400
    with pytest.raises(ValueError, match="2 devices need as many names, got 1"):
        WorstCase([(first, limits), (second, others)], ["phone"])
