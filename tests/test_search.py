"""The search keeps hard constraints, evaluates nothing twice, ends, and resumes exactly."""

from __future__ import annotations

import itertools
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from devices.journal import Journal
from hwnas import searchers, spaces, tabulated
from hwnas.budget import Budget
from hwnas.candidates import Candidates, hypervolume
from hwnas.costs import Costs
from hwnas.errors import InfeasibleBudget, JournalMismatch, SearchError
from hwnas.finalist import CorrectedCosts, Finalist
from hwnas.objectives import Objective, Pareto, Weighted
from hwnas.problem import Problem, keys
from hwnas.search import Searcher, search
from hwnas.searchers._operators import CROSSOVERS, SELECTIONS
from hwnas.space import Genotypes, SearchSpace
from hwnas.training.distribution import even

SPACE = spaces.open("mobile", (1, 8, 8), 10)
SMALL = spaces.open(
    "mobile", (1, 8, 8), 10, depths=[1], kernels=[3], squeeze_excite=[False], activations=["relu"], resolutions=[8]
)
LISTED = spaces.open("mobile", (1, 8, 8), 10, depths=[1], squeeze_excite=[False], activations=["relu"], resolutions=[8])


@dataclass(frozen=True)
class SumOfOptions:
    """Tabulated costs: every gene adds its option's position."""

    space: SearchSpace
    source: ClassVar[str] = "tabulated"

    def costs(self, genotypes: Genotypes) -> Costs:
        total = 1.0 + genotypes.sum(axis=1)
        return Costs(total, total * 1.02, total * 1.05, 1000 * total, 100 * total)


@dataclass
class MostOptions:
    """Tabulated accuracy: the more the better, the first genes count more. Remembers what it was asked."""

    source: str = "tabulated"
    asked: list[bytes] = field(default_factory=list)

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        self.asked += keys(genotypes)
        weights = np.linspace(2, 1, genotypes.shape[1])
        return np.asarray(genotypes @ weights / 100, np.float64)


def problem(limit: float = 15.0, space: SearchSpace = SPACE, seed: int = 0) -> Problem:
    return Problem(space, SumOfOptions(space), Budget(latency_ms=limit), seed)


def run(
    path: Path, name: str, *, limit: float = 15.0, space: SearchSpace = SPACE, evaluations: int = 120, seed: int = 0
) -> tuple[Candidates, MostOptions]:
    if name == "exhaustive" and space is SPACE:
        space = LISTED
    asked = problem(limit, space, seed)
    accuracy = MostOptions()
    distribution = path.with_name("distribution.json")
    even(space).save(distribution, space)
    settings: dict[str, dict[str, Any]] = {"evolution": {"population": 20, "sample": 5}, "guided": {"initial": 20}}
    settings["gradient"] = {"distribution": str(distribution)}
    with Journal(path, {"seed": seed}) as journal:
        searcher = searchers.open(name, asked, **settings.get(name, {}))
        result = search(asked, searcher, accuracy, evaluations=evaluations, generation=8, journal=journal)
    assert result.candidates.accuracy[result.best] == result.candidates.accuracy.max()
    assert set(result.candidates.accuracy_source) == set(result.candidates.costs_source) == {"tabulated"}
    return result.candidates, accuracy


@pytest.mark.parametrize("name", searchers.names())
def test_every_searcher_keeps_the_budget_and_evaluates_nothing_twice(tmp_path: Path, name: str) -> None:
    found, accuracy = run(tmp_path / "j", name)
    assert len(found) == 120
    assert (found.costs.upper_ms <= 15.0).all()
    assert len(set(keys(found.genotypes))) == 120
    assert accuracy.asked == keys(found.genotypes)
    space = LISTED if name == "exhaustive" else SPACE
    np.testing.assert_array_equal(space.canonical(found.genotypes), found.genotypes)


@pytest.mark.parametrize("name", searchers.names())
def test_every_searcher_ends_when_the_space_is_exhausted(tmp_path: Path, name: str) -> None:
    every = np.array(list(itertools.product(*(range(len(g.options)) for g in SMALL.genes))))
    feasible = problem(7.0, SMALL).admit(every)
    found, _ = run(tmp_path / "j", name, limit=7.0, space=SMALL, evaluations=10_000)
    assert len(found) == len(feasible) > 20


@pytest.mark.parametrize("name", searchers.names())
def test_every_searcher_repeats_and_resumes_exactly(tmp_path: Path, name: str) -> None:
    whole, _ = run(tmp_path / "whole", name)
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for kept in (1, 4, len(lines)):
        cut = tmp_path / f"cut{kept}"
        cut.write_bytes(b"".join(lines[:kept]) + b'{"torn')
        again, accuracy = run(cut, name)
        np.testing.assert_array_equal(again.genotypes, whole.genotypes)
        np.testing.assert_array_equal(again.accuracy, whole.accuracy)
        assert len(accuracy.asked) == 120 - sum(len(json.loads(line)["accuracy"]) for line in lines[1:kept])
        assert cut.read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("crossover", CROSSOVERS)
def test_every_way_of_breeding_keeps_the_budget_and_finds_better_networks(selection: str, crossover: str) -> None:
    asked = problem()
    searcher = searchers.open("genetic", asked, selection=selection, crossover=crossover)
    found = search(asked, searcher, MostOptions(), evaluations=120, generation=8).candidates
    assert (found.costs.upper_ms <= 15.0).all()
    assert found.accuracy[60:].mean() > found.accuracy[:20].mean()


def test_a_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "j", "random")
    with pytest.raises(JournalMismatch, match="at this place"):
        run(tmp_path / "j", "random", limit=12.0)


@pytest.mark.parametrize(("evaluations", "generation"), [(20, 6), (30, 7)])
def test_a_search_of_another_size_is_refused_as_such(tmp_path: Path, evaluations: int, generation: int) -> None:
    def go(evaluations: int, generation: int) -> int:
        asked = problem()
        with Journal(tmp_path / "j", {}) as journal:
            searcher = searchers.open("random", asked)
            found = search(
                asked, searcher, MostOptions(), evaluations=evaluations, generation=generation, journal=journal
            )
        return len(found.candidates)

    assert go(30, 6) == 30
    with pytest.raises(JournalMismatch, match=r"asks for \d networks; its journal has 6") as caught:
        go(evaluations, generation)
    assert "generation" in caught.value.hint
    assert go(42, 6) == 42


@pytest.mark.parametrize("name", searchers.names())
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_every_searcher_finds_all_of_a_few_networks(tmp_path: Path, name: str, rows: int) -> None:
    path = tmp_path / "few.csv"
    path.write_text("depth,kind,ms,accuracy\n" + "".join(f"{i},same,{i + 1},{i / 10}\n" for i in range(rows)))
    table = tabulated.load(path, genotype=["depth", "kind"], accuracy="accuracy")
    costs = tabulated.TabulatedCosts(table, latency_ms="ms")
    even(table.space).save(tmp_path / "even.json", table.space)
    given: dict[str, Any] = {
        "gradient": {"distribution": str(tmp_path / "even.json")}, "evolution": {"population": 1, "sample": 1},
    }  # fmt: skip
    asked = Problem(table.space, costs, Budget(latency_ms=100), 2**40)
    searcher = searchers.open(name, asked, **given.get(name, {}))
    assert len(search(asked, searcher, table, evaluations=50, generation=3).candidates) == rows


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        problem(seed=-1)
    for evaluations, generation in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            search(
                problem(), searchers.open("random", problem()), MostOptions(), evaluations=evaluations,
                generation=generation,
            )  # fmt: skip


@pytest.mark.parametrize("objective", [Weighted(), Pareto()])
def test_a_model_that_gives_no_number_is_named(objective: Objective) -> None:
    class Gaps(MostOptions):
        def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
            return np.where(genotypes[:, 0] == 0, np.nan, 0.5)

    asked = Problem(SPACE, SumOfOptions(SPACE), Budget(latency_ms=15), 0, objective)
    with pytest.raises(SearchError, match=r"\(tabulated\) says nan of \{'resolution'"):
        search(asked, searchers.open("guided", asked), Gaps(), evaluations=50, generation=5)


def test_a_predictor_beats_evolution_beats_random(tmp_path: Path) -> None:
    best = {
        name: np.mean([run(tmp_path / f"{name}{seed}", name, seed=seed)[0].accuracy.max() for seed in range(5)])
        for name in ("guided", "evolution", "random")
    }
    assert best["guided"] > best["evolution"] > best["random"]


def test_a_proposal_after_thousands_of_networks_takes_seconds() -> None:
    asked = problem()
    rows = asked.sample(np.random.default_rng(0), 4000)
    known = Candidates.of(rows, MostOptions().accuracy(rows), asked.costs.costs(rows), "tabulated", "tabulated")
    searcher = searchers.open("predictor", asked)
    searcher.tell(known)
    started = time.perf_counter()
    proposed = searcher.ask(20)
    assert time.perf_counter() - started < 60, "all of them at once would take minutes"
    assert MostOptions().accuracy(proposed).mean() > np.quantile(known.accuracy, 0.99)


def test_a_predictor_says_in_the_journal_how_well_it_ranks(tmp_path: Path) -> None:
    run(tmp_path / "j", "guided")
    with Journal(tmp_path / "j", {"seed": 0}) as journal:
        taus = [unit.get("predictor_tau") for unit in journal.units]
    first, *others = taus[:2], *taus[3:]
    assert first == [None, None], "nothing is predicted before the first networks are known"
    assert all(tau is not None and 0.3 < tau <= 1 for tau in others)


def test_an_impossible_budget_ends_at_once_with_the_closest_network(tmp_path: Path) -> None:
    accuracy = MostOptions()
    impossible = problem(0.5)
    with Journal(tmp_path / "j", {}) as journal, pytest.raises(InfeasibleBudget) as caught:
        search(impossible, searchers.open("random", impossible), accuracy, evaluations=5, generation=5, journal=journal)
    assert caught.value.closest["genotype"] == [0] * len(SPACE.genes)
    assert caught.value.closest["latency_ms"] == pytest.approx(1.05)
    assert "latency_ms 0.5" in caught.value.message
    assert not accuracy.asked
    assert not journal.units


def test_a_budget_that_hardly_any_network_keeps_is_found_by_repair() -> None:
    rare = problem(1.05 * 2)
    rare.require_feasible()
    found = rare.sample(np.random.default_rng(0), 3)
    assert len(found)
    assert (found.sum(axis=1) <= 1).all()


def test_repair_never_makes_it_worse() -> None:
    tight = problem(6.0)
    drawn = SPACE.sample(np.random.default_rng(1), 50)
    repaired = tight.repair(drawn)
    before, after = (tight.budget.excess(tight.costs.costs(g)) for g in (drawn, repaired))
    assert (after <= before).all()
    assert (after == 0).all()
    within = drawn[before == 0]
    np.testing.assert_array_equal(tight.repair(within), within)


def test_whatever_a_searcher_proposes_is_made_to_fit_or_left_out(tmp_path: Path) -> None:
    class Wild(Searcher):
        def ask(self, n: int) -> Genotypes:
            return np.tile(SPACE.largest(), (n, 1))

        def tell(self, candidates: Candidates) -> None:
            told.append(candidates)

    told: list[Candidates] = []
    found = search(problem(), Wild(), MostOptions(), evaluations=8, generation=5).candidates
    assert len(found) == 8 == len(set(keys(found.genotypes)))
    assert (found.costs.upper_ms <= 15.0).all()
    assert [len(t) for t in told][:2] == [0, 1], "the largest network, repaired; then random ones"


def test_what_is_no_genotype_is_refused() -> None:
    class Flat(Searcher):
        def ask(self, n: int) -> Genotypes:
            return SPACE.largest()

        def tell(self, candidates: Candidates) -> None:
            pass

    with pytest.raises(SearchError, match="Flat proposed an array"):
        search(problem(), Flat(), MostOptions(), evaluations=5, generation=5)


def test_after_a_correction_earlier_results_are_told_and_not_evaluated_again(tmp_path: Path) -> None:
    first = problem()
    as_predicted = dict.fromkeys(NAMES, 1.0)
    longer = Finalist(SPACE.smallest(), 0.5, as_predicted, as_predicted | {"upper_ms": 1.2}, 0.2, ())
    second = Problem(SPACE, CorrectedCosts(first.costs, (longer,)), first.budget, first.seed)
    accuracy = MostOptions()
    with Journal(tmp_path / "j", {}) as journal:
        for attempt, asked in enumerate((first, second)):
            result = search(
                asked,
                searchers.open("evolution", asked, population=20, sample=5),
                accuracy,
                evaluations=40,
                generation=8,
                journal=journal,
                attempt=attempt,
            )
    assert len(accuracy.asked) == len(set(accuracy.asked)) == 80
    assert 40 < len(result.candidates) < 80
    assert (result.candidates.costs.upper_ms <= 15.0).all()


NAMES = ("latency_ms", "p50_ms", "upper_ms", "memory_bytes", "model_bytes")


def candidates(accuracy: list[float], cost: list[float], source: str = "tabulated") -> Candidates:
    rows = np.arange(len(cost))[:, None]
    return Candidates.of(rows, np.array(accuracy), Costs(*[np.array(cost)] * 5), source, "tabulated")


def test_candidates_front_and_best() -> None:
    found = candidates([0.5, 0.7, 0.7, 0.6], [1, 2, 3, 2])
    assert problem().best(found) == 1
    assert found.front().tolist() == [0, 1]
    with pytest.raises(ValueError, match="no candidates"):
        problem().best(found[:0])


def test_candidates_say_where_each_number_came_from() -> None:
    found = Candidates.joined([candidates([0.5, 0.6], [1, 2]), candidates([0.4], [3], "supernet")])
    assert found.accuracy_source.tolist() == ["tabulated", "tabulated", "supernet"]
    assert found[found.accuracy < 0.55].accuracy_source.tolist() == ["tabulated", "supernet"]
    assert found.costs.latency_ms.tolist() == [1, 2, 3]


def test_hypervolume_is_the_area_dominated() -> None:
    found = candidates([0.5, 0.7, 0.7, 0.6, 0.9], [1, 2, 3, 2, 9])
    assert hypervolume(found.accuracy, found.costs.p50_ms, (0.4, 4.0)) == pytest.approx(0.1 * 3 + 0.2 * 2)
    assert hypervolume(found.accuracy, found.costs.p50_ms, (0.95, 4.0)) == 0


def test_unknown_searcher_and_setting_name_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'evolution'"):
        searchers.check("evolutoin", {})
    with pytest.raises(ValueError, match="did you mean 'population'"):
        searchers.check("evolution", {"popluation": 3})
    with pytest.raises(ValueError, match="sample must be between"):
        searchers.open("evolution", problem(), population=5, sample=6)
    with pytest.raises(ValueError, match="initial must be at least 2, got 1"):
        searchers.open("guided", problem(), initial=1)
    with pytest.raises(ValueError, match=r"exploration must be between 0 and 1, got 1\.5"):
        searchers.open("guided", problem(), exploration=1.5)
    with pytest.raises(ValueError, match="selection must be one of tournament, rank, roulette, got 'luck'"):
        searchers.open("genetic", problem(), selection="luck")
    with pytest.raises(ValueError, match="sampler must be one of tpe, nsga2, got 'cmaes'"):
        searchers.open("optuna", problem(), sampler="cmaes")
    with pytest.raises(ValueError, match="searcher 'gradient' needs a value for distribution"):
        searchers.open("gradient", problem())
    with pytest.raises(SearchError, match="too many to list") as caught:
        searchers.open("exhaustive", problem())
    assert "'guided'" in caught.value.hint


def test_a_searcher_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymoo.algorithms.moo.nsga2", None)  # what Python does where it is not installed
    with pytest.raises(SearchError, match="needs pymoo") as caught:
        searchers.open("pymoo", problem())
    assert "hwnas[pymoo]" in caught.value.hint
