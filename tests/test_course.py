"""The course of searches, by strategy: best so far, hypervolume, and their spread over seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.journal import Journal
from hwnas.cli import execute
from hwnas.config import Config
from hwnas.errors import InvalidData
from hwnas.report.course import courses, plot, write_plot

BUDGET = {"latency_ms": 4.0, "memory_bytes": None, "model_bytes": None}


def record(
    folder: Path,
    accuracy: list[float],
    latency: list[float],
    *,
    seed: int = 0,
    seeds: int = 1,
    **sections: dict[str, Any],
) -> Path:
    """A run's folder as far as the search, in generations of two."""
    config = Config.model_validate({"seed": seed, "seeds": seeds, "budget": {"latency_ms": 4.0}, **sections})
    folder.mkdir()
    with Journal(
        folder / "journal.jsonl", {"config": config.model_dump(mode="json"), "device": {"spec": "none"}}
    ) as journal:
        journal.append({"unit": "budget", "budget": BUDGET})
        for i in range(0, len(accuracy) if seeds == 1 else 0, 2):
            costs = dict.fromkeys(
                ("latency_ms", "p50_ms", "upper_ms", "memory_bytes", "model_bytes"), latency[i : i + 2]
            )
            found = {"genotypes": [[i], [i + 1]], "accuracy": accuracy[i : i + 2], "accuracy_source": "supernet"}
            journal.append({"unit": "generation", "attempt": 0, **found, "costs": costs})
    return folder


def test_best_so_far_and_hypervolume_count_what_is_within_the_budget(tmp_path: Path) -> None:
    run = record(tmp_path / "run", [0.5, 0.9, 0.6, 0.7], [2.0, 5.0, 1.0, 3.0])
    (found,) = courses([run])
    assert found.strategy == "guided"
    np.testing.assert_allclose(found.fitness, [[0.5, 0.5, 0.6, 0.7]])
    # Within the budget accuracies go from 0.5 to 0.7 and latencies from 1 to 3 ms: (0.6, 1 ms) dominates half of that.
    np.testing.assert_allclose(found.hypervolume, [[0, 0, 0.5, 0.5]], atol=1e-12)


def test_seeds_of_a_strategy_are_one_line_with_a_spread(tmp_path: Path) -> None:
    whole = record(tmp_path / "whole", [], [], seed=3, seeds=2, search={"searcher": "random"})
    record(whole / "seed-3", [0.5, 0.6], [1.0, 2.0], seed=3, search={"searcher": "random"})
    record(whole / "seed-4", [0.7, 0.6, 0.9, 0.9], [1.0, 2.0, 1.0, 1.0], seed=4, search={"searcher": "random"})
    other = record(tmp_path / "o", [0.8, 0.8], [1.0, 1.0], search={"searcher": "evolution", "population": 9})
    random, evolution = courses([whole, other])
    assert (random.strategy, evolution.strategy) == ("random", "evolution (population 9)")
    np.testing.assert_allclose(random.fitness, [[0.5, 0.6], [0.7, 0.7]])
    ended = random.to_json()
    assert (ended["seeds"], ended["evaluations"]) == (2, 2)
    assert ended["fitness"]["mean"] == pytest.approx(0.65)
    assert ended["fitness"]["standard_deviation"] == pytest.approx(0.1 / np.sqrt(2))
    assert evolution.to_json()["fitness"] == {"mean": 0.8, "standard_deviation": None}
    drawn = plot([random, evolution])
    means = [trace for trace in drawn.data if trace.name is not None and trace.name.startswith("random")]
    np.testing.assert_allclose(means[0].y, [0.6, 0.65])
    assert len([trace for trace in drawn.data if trace.fill == "tonexty"]) == 2, (
        "one strategy with a spread, two figures"
    )
    write_plot([random, evolution], tmp_path / "course.html")
    page = (tmp_path / "course.html").read_text()
    assert "evolution (population 9), 1 seed" in page
    assert "src=" not in page.split("<body>")[1][:200], "the page needs nothing else"


def test_the_objective_says_what_fitness_is(tmp_path: Path) -> None:
    weighted = {"name": "weighted", "cost_weight": 0.1}
    run = record(tmp_path / "run", [0.5, 0.6], [1.0, 3.0], objective=weighted)
    np.testing.assert_allclose(courses([run])[0].fitness, [[0.4, 0.4]])
    front = record(tmp_path / "front", [0.5, 0.6], [1.0, 3.0], objective={"name": "pareto"})
    np.testing.assert_allclose(courses([front])[0].fitness, [[0.5, 0.6]])
    with pytest.raises(InvalidData, match=r"objective\.name: found 'pareto', wanted 'weighted'"):
        courses([run, front])


def test_what_never_keeps_the_budget_has_no_fitness(tmp_path: Path) -> None:
    (found,) = courses([record(tmp_path / "run", [0.5, 0.6], [5.0, 6.0])])
    assert np.isnan(found.fitness).all()
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["fitness"]["mean"] is None
    assert plot([found]).data


def test_runs_that_differ_in_more_than_the_seed_are_several_strategies(tmp_path: Path) -> None:
    runs = [
        record(tmp_path / "a", [0.5, 0.6], [1.0, 2.0]),
        record(tmp_path / "b", [0.7, 0.6], [1.0, 2.0], seed=1),
        record(tmp_path / "c", [0.9, 0.9], [1.0, 2.0], search={"guarantee": 0.5}),
        record(tmp_path / "d", [0.1, 0.2], [1.0, 2.0], device={"spec": "torch:cpu"}),
        record(tmp_path / "e", [0.3, 0.2], [1.0, 2.0], search={"searcher": "random"}),
    ]
    found = courses([*runs, runs[0], tmp_path / "b" / ".." / "b"])
    assert [course.strategy for course in found] == [
        "guided; device.spec onnxruntime:threads=1, search.guarantee 0.95",
        "guided; device.spec onnxruntime:threads=1, search.guarantee 0.5",
        "guided; device.spec torch:cpu, search.guarantee 0.95",
        "random",
    ]
    assert [len(course.fitness) for course in found] == [2, 1, 1, 1], "a folder that is given twice counts once"


def test_what_has_not_searched_is_named_and_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nothing = record(tmp_path / "nothing", [], [])
    with pytest.raises(InvalidData, match="has not searched yet"):
        courses([nothing])
    begun = record(tmp_path / "begun", [], [], seed=3, seeds=3)
    record(begun / "seed-3", [0.5, 0.6], [1.0, 2.0], seed=3)
    record(begun / "seed-4", [], [], seed=4)
    none = record(tmp_path / "none", [], [], seeds=2)
    runs = [str(folder) for folder in (begun, nothing, none)]
    assert execute(["compare", *runs, "--plot", str(tmp_path / "p.html"), "--json"]) == 0
    value = json.loads(capfd.readouterr().out)
    assert [line["evaluated"] for line in value["runs"]] == [2, 0, 0]
    assert [line["budget"]["latency_ms"] for line in value["runs"]] == [4.0, 4.0, None]
    assert [strategy["seeds"] for strategy in value["strategies"]] == [1]
    assert value["left_out"] == [str(begun / "seed-4"), str(nothing), str(none)]
    assert execute(["compare", *runs, "--plot", str(tmp_path / "p.html")]) == 0
    assert "Left out" in capfd.readouterr().out


def test_the_command_draws_and_says_where_each_strategy_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = [record(tmp_path / f"run{seed}", [0.5, 0.6 + seed / 10], [1.0, 2.0], seed=seed) for seed in (0, 1)]
    page = tmp_path / "course.html"
    assert execute(["compare", *map(str, runs), "--plot", str(page), "--json"]) == 0
    value = json.loads(capfd.readouterr().out)
    assert [line["evaluated"] for line in value["runs"]] == [2, 2]
    (strategy,) = value["strategies"]
    assert strategy["seeds"] == 2
    assert strategy["fitness"]["mean"] == pytest.approx(0.65)
    assert page.is_file()
    assert execute(["compare", *map(str, runs), "--plot", str(page)]) == 0
    assert "hypervolume" in capfd.readouterr().out
