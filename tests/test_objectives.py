"""What a search is for: one number, a reward, a front, one network for several devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from hwnas import objectives, searchers, spaces
from hwnas.budget import Budget
from hwnas.candidates import Candidates, front, hypervolume
from hwnas.costs import Costs
from hwnas.objectives import Pareto, Reward, Weighted
from hwnas.problem import Problem
from hwnas.search import search
from hwnas.space import Genotypes, SearchSpace
from hwnas.worst_case import WorstCase

SPACE = spaces.open("mobile", (1, 8, 8), 10, activations=["relu"], squeeze_excite=[False])


@dataclass(frozen=True)
class Sums:
    """Costs that add up, each option of a gene as much as the gene's weight; accuracy saturates with cost."""

    space: SearchSpace
    weights: tuple[float, float]
    source: ClassVar[str] = "tabulated"

    def costs(self, genotypes: Genotypes) -> Costs:
        total = 1.0 + genotypes @ np.linspace(*self.weights, genotypes.shape[1])
        return Costs(total, total * 1.02, total * 1.05, 1000 * total, 100 * total)

    def accuracy(self, genotypes: Genotypes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        total = genotypes @ np.linspace(0.1, 2, genotypes.shape[1])
        return np.asarray(1 - np.exp(-total / 5), np.float64)


def candidates(accuracy: list[float], cost: list[float]) -> Candidates:
    rows = np.arange(len(cost))[:, None]
    return Candidates.of(rows, np.array(accuracy), Costs(*[np.array(cost)] * 5), "tabulated", "tabulated")


def test_weighted_is_over_a_baseline() -> None:
    found = candidates([0.9, 0.95], [1.0, 4.0])
    np.testing.assert_allclose(Weighted().fitness(found), [0.9, 0.95])
    aim = Weighted(accuracy_weight=2, cost_weight=0.1, baseline_accuracy=0.9, baseline_cost=2.0)
    np.testing.assert_allclose(aim.fitness(found), [-0.05, 0.1 - 0.2])
    with pytest.raises(ValueError, match="weights must be at least 0"):
        Weighted(cost_weight=-1)
    with pytest.raises(ValueError, match="baseline_cost must be positive, got 0"):
        Weighted(baseline_cost=0)


def test_reward_is_soft_or_hard() -> None:
    found = candidates([0.8, 0.8], [1.0, 4.0])
    np.testing.assert_allclose(Reward(target=2.0).fitness(found), [0.8 * 0.5**-0.07, 0.8 * 2**-0.07])
    np.testing.assert_allclose(Reward(target=2.0, within=0, beyond=-1).fitness(found), [0.8, 0.4])
    with pytest.raises(ValueError, match="exponents must be at most 0"):
        Reward(target=1.0, beyond=0.1)


def test_pareto_prefers_fronts_and_then_the_lonely() -> None:
    found = candidates([0.5, 0.6, 0.61, 0.9, 0.55], [1.0, 2.0, 2.1, 4.0, 3.0])
    fitness = Pareto().fitness(found)
    assert fitness.argmin() == 4, "the only one that is dominated"
    assert fitness[[0, 3]].min() > fitness[[1, 2]].max(), "the ends are the loneliest"
    assert Pareto().fitness(found[:0]).shape == (0,)


def test_what_a_network_adds_to_a_front_is_the_area_it_adds() -> None:
    known = candidates([0.5, 0.7, 0.4], [2.0, 3.0, 5.0])
    accuracy = np.array([[0.45, 0.6], [0.6, 0.8], [0.65, 0.75], [0.3, 0.45]])
    costs = Costs(*[np.array([1.0, 2.5, 4.0, 6.0])] * 5)
    gain = Pareto().gain(accuracy, costs, known)
    before = hypervolume(known.accuracy, known.costs.p50_ms, (0.4, 6.0))
    for i, j in np.ndindex(accuracy.shape):
        after = hypervolume(
            np.append(known.accuracy, accuracy[i, j]), np.append(known.costs.p50_ms, costs.p50_ms[i]), (0.4, 6.0)
        )
        assert gain[i, j] == pytest.approx(after - before)


@pytest.mark.parametrize("aim", [Weighted(cost_weight=0.02), Reward(target=8.0), Pareto()])
@pytest.mark.parametrize("name", ["genetic", "guided", "local_search", "reinforce", "optuna", "pymoo"])
def test_searchers_pursue_the_objective(name: str, aim: objectives.Objective) -> None:
    model = Sums(SPACE, (2, 0.5))
    problem = Problem(SPACE, model, Budget(latency_ms=30.0), 0, aim)
    reached = {}
    for searcher in (name, "random"):
        found = search(problem, searchers.open(searcher, problem), model, evaluations=80, generation=8).candidates
        if isinstance(aim, Pareto):
            reached[searcher] = hypervolume(found.accuracy, found.costs.p50_ms, (0.0, 30.0))
        else:
            reached[searcher] = float(aim.fitness(found).max())
    assert reached[name] >= reached["random"]


def test_a_front_has_no_network_that_another_beats() -> None:
    rng = np.random.default_rng(0)
    accuracy, cost = rng.random(200), rng.random(200)
    rows = front(accuracy, cost)
    beaten = ((accuracy > accuracy[:, None]) & (cost <= cost[:, None])) | (
        (accuracy >= accuracy[:, None]) & (cost < cost[:, None])
    )
    assert sorted(rows.tolist()) == np.flatnonzero(~beaten.any(axis=1)).tolist()
    assert (np.diff(cost[rows]) > 0).all()


def test_one_network_for_several_devices_keeps_every_budget() -> None:
    first, second = Sums(SPACE, (2, 0.5)), Sums(SPACE, (0.5, 3))
    drawn = SPACE.sample(np.random.default_rng(0), 500)
    limits = [float(np.median(model.costs(drawn).upper_ms)) for model in (first, second)]
    both = WorstCase([(first, Budget(latency_ms=limits[0])), (second, Budget(latency_ms=limits[1]))])
    problem = Problem(SPACE, both, both.budget, 0)
    found = search(problem, searchers.open("guided", problem), first, evaluations=60, generation=10).candidates
    for model, limit in zip((first, second), limits, strict=True):
        assert (model.costs(found.genotypes).upper_ms <= limit).all()
    kept = (first.costs(drawn).upper_ms <= limits[0]) & (second.costs(drawn).upper_ms <= limits[1])
    np.testing.assert_array_equal(problem.budget.feasible(both.costs(drawn)), kept)
    assert 0 < kept.sum() < 500


def test_unknown_objective_and_setting_name_the_nearest() -> None:
    assert objectives.open("weighted", cost_weight=0.5) == Weighted(cost_weight=0.5)
    with pytest.raises(ValueError, match="did you mean 'pareto'"):
        objectives.open("paretto")
    with pytest.raises(ValueError, match="did you mean 'cost_weight'"):
        objectives.open("weighted", costweight=1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("reward", {}, "objective 'reward' needs a value for target"),
        ("reward", {"target": "5"}, "objective 'reward': target: Input should be a valid number, got '5'"),
        ("reward", {"target": 0}, "target must be positive, got 0"),
        ("reward", {"target": float("nan")}, "target: Input should be a finite number, got nan"),
        ("weighted", {"cost_weight": True}, "cost_weight: Input should be a valid number, got True"),
        ("pareto", {"cost": "latency"}, "cost: Input should be 'latency_ms', .* got 'latency'"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objectives.open(name, **settings)
