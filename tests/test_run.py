"""A run does the whole job, leaves only whole files, goes on where it stopped, and corrects what it predicted wrongly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import devices
import predictors
from devices import journal
from devices import profile as profile_files
from devices.errors import ProvenanceMismatch
from devices.events import Note, Progress
from devices.journal import Journal
from hwnas import finalist, spaces
from hwnas.budget import Budget
from hwnas.bundle import certificate
from hwnas.config import Config, SearchSection, load
from hwnas.costs import CostModel, Costs, compile_costs
from hwnas.errors import InfeasibleBudget, InvalidConfig
from hwnas.finalist import CostFactors
from hwnas.problem import Problem, unseen
from hwnas.report.run_folder import report_data
from hwnas.report.summary import summary
from hwnas.run import run
from hwnas.space import Genotypes, SearchSpace
from hwnas.targets import Target


def test_a_run_leaves_what_it_promises(small_run: Path, small_config: Path) -> None:
    issued = certificate.read(small_run / "bundle")
    names = {p.name for p in (small_run / "bundle").iterdir()}
    assert names == {"model.onnx", "model.int8.onnx", "certificate.json", "README.md"}
    assert issued.files[issued.deploy].accuracy > 0.5
    assert issued.files["model.onnx"].predicted_p50_ms is not None
    assert load(small_run / "config.toml") == load(small_config)
    assert (small_run / "report.html").stat().st_size > 1_000_000
    assert not [p for p in small_run.rglob("*") if "partial" in p.name]
    _, units = journal.read(small_run / "journal.jsonl")
    kinds = [unit["unit"] for unit in units]
    assert kinds[:3] == ["space", "profile", "budget"]
    assert kinds[-5:] == ["chosen", "trained", "exported", "quantized", "certified"]


def test_the_same_call_again_changes_nothing(small_run: Path, small_config: Path) -> None:
    before = {p: p.read_bytes() for p in small_run.rglob("*") if p.is_file() and p.suffix != ".html"}
    events: list[Progress | Note] = []
    result = run(load(small_config), small_run, on_event=events.append)
    assert {p: p.read_bytes() for p in before} == before
    progress = [event for event in events if isinstance(event, Progress)]
    assert {event.stage.split()[0] for event in progress} <= {"compile", "search"}
    assert all(event.repeated for event in progress if event.stage != "compile")
    assert result.certificate == certificate.read(small_run / "bundle")


def test_a_deleted_file_is_made_again_as_it_was(small_run: Path, small_config: Path) -> None:
    model = small_run / "bundle" / "model.onnx"
    before = model.read_bytes()
    model.unlink()
    run(load(small_config), small_run, until="export")
    assert model.read_bytes() == before


def test_a_folder_belongs_to_one_configuration_and_one_profile(
    small_run: Path, small_config: Path, tmp_path: Path
) -> None:
    config = load(small_config)
    with pytest.raises(ProvenanceMismatch, match=r"config\.seed: found 0, wanted 1"):
        run(config.model_copy(update={"seed": 1}), small_run)
    profile = tmp_path / "p.jsonl"
    assert config.device.profile is not None
    profile.write_bytes(config.device.profile.read_bytes())
    section = config.device.model_copy(update={"profile": profile})
    config = config.model_copy(update={"device": section})
    result = run(config, tmp_path / "run", until="search")
    assert result.certificate is None
    lines = profile.read_bytes().splitlines(keepends=True)
    profile.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(ProvenanceMismatch, match="sha256"):
        run(config, tmp_path / "run", until="search")


@pytest.mark.parametrize("setting", [{"start": "supernet"}, {"also_from_scratch": True}])
def test_weights_that_nobody_has_cannot_be_inherited(
    small_config: Path, tmp_path: Path, setting: dict[str, object]
) -> None:
    values = load(small_config).model_dump(mode="json", exclude_none=True)
    values |= {"accuracy": {"model": "short_training"}, "train": setting}
    with pytest.raises(InvalidConfig, match=r"'short_training' has no weights to inherit"):
        run(Config.model_validate(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"space": {"input_shape": [1, 8, 8]}}, "space 'mobile' has no option 'input_shape'"),
        ({"space": {"widths": [16, 24]}}, r"space 'mobile': widths\.0: .*got 16"),
        ({"space": {"depths": 3}}, "space 'mobile': depths: .*got 3"),
        ({"space": {"kernels": [4]}}, "kernels must be odd integers"),
        ({"space": {"squeeze_excite": ["false"]}}, r"squeeze_excite\.0: Input should be a valid boolean, got 'false'"),
        ({"space": {"activations": "relu"}}, "activations: .*got 'relu'"),
        ({"task": {"seed": 1}}, "task 'digits' has no setting 'seed'"),
        ({"search": {"searcher": "genetic", "population": 1}}, "population must be at least 2, got 1"),
        ({"search": {"searcher": "genetic", "population": "20"}}, "searcher 'genetic': population: .*got '20'"),
        ({"search": {"searcher": "genetic", "selection": "best"}}, "selection"),
        ({"search": {"searcher": "gradient", "distribution": 3}}, "searcher 'gradient': distribution: .*got 3"),
        ({"search": {"problem": 1}}, "searcher 'guided' has no setting 'problem'"),
        ({"objective": {"name": "reward"}}, "objective 'reward' needs a value for target"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_done(
    tmp_path: Path, sections: dict[str, object], message: str
) -> None:
    config = Config.model_validate({"budget": {"latency_ms": 9.0}, **sections})
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_profile_of_another_device_is_refused_before_the_search(
    small_run: Path, small_config: Path, tmp_path: Path
) -> None:
    config = load(small_config)
    section = config.device.model_copy(update={"spec": "onnxruntime:threads=2"})
    with pytest.raises(ProvenanceMismatch, match=r"the profile .* belongs to another device"):
        run(config.model_copy(update={"device": section}), tmp_path / "run", until="search")
    _, units = journal.read(tmp_path / "run" / "journal.jsonl")
    assert [unit["unit"] for unit in units] == ["space", "profile"]


def test_the_better_of_two_starts_is_delivered(small_run: Path, small_config: Path, tmp_path: Path) -> None:
    config = load(small_config)
    train = config.train.model_copy(update={"also_from_scratch": True, "epochs": 2})
    folder = run(config.model_copy(update={"train": train}), tmp_path, until="train").folder
    _, units = journal.read(folder / "journal.jsonl")
    (trained,) = [unit for unit in units if unit["unit"] == "trained"]
    assert trained["start"] == "supernet"
    for made in (trained, trained["from_scratch"]):
        accuracies = [epoch["validation_accuracy"] for epoch in made["history"]]
        assert len(accuracies) == 2
        assert made["validation_accuracy"] == max(accuracies)
    better = trained["from_scratch"]["validation_accuracy"] > trained["validation_accuracy"]
    assert trained["delivered"] == ("scratch" if better else "supernet")


def test_an_impossible_budget_trains_nothing(small_run: Path, small_config: Path, tmp_path: Path) -> None:
    config = load(small_config)
    values = config.model_dump(mode="json", exclude_none=True) | {"budget": {"latency_fraction_of_largest": 1e-6}}
    with pytest.raises(InfeasibleBudget) as caught:
        run(Config.model_validate(values), tmp_path / "run")
    assert set(caught.value.closest) >= {"genotype", "genes", "latency_ms", "memory_bytes", "model_bytes"}
    assert not list((tmp_path / "run" / "work").iterdir())


def test_report_and_comparison_say_what_the_files_say(small_run: Path) -> None:
    data, line = report_data(small_run), summary(small_run)
    issued = certificate.read(small_run / "bundle")
    assert data.certificate == issued.to_json()
    assert line["accuracy"] == issued.files[issued.deploy].accuracy
    assert len(data.candidates.accuracy) == line["evaluated"] == 24
    assert data.candidates.winner is not None
    assert data.candidates.accuracy[data.candidates.winner] == data.candidates.accuracy.max()
    assert data.histories[0].final > 0.5
    assert {check.group for check in data.checks} == {"validation", "exported"}
    assert data.kernels
    assert sum(k.latency_ms for k in data.kernels) > 0


def test_a_run_whose_accuracies_a_table_has_looks_at_nothing_else(
    small_run: Path, small_config: Path, space: SearchSpace, tmp_path: Path
) -> None:
    known = unseen(space.sample(np.random.default_rng(0), 40), set())
    columns = dict(zip([gene.name for gene in space.genes], known.T, strict=True))
    accuracies = [None if i % 4 == 0 else 0.5 + i / 100 for i in range(len(known))]
    pd.DataFrame({**columns, "accuracy": accuracies}).to_csv(tmp_path / "table.csv", index=False)
    values = load(small_config).model_dump(mode="json", exclude_none=True)
    values["accuracy"] = {"model": "tabulated", "table": str(tmp_path / "table.csv"), "cells": "positions"}
    values |= {"budget": {"latency_ms": 1000.0}, "train": {"start": "scratch"}}
    values["search"] = {"evaluations": 100}
    found = run(Config.model_validate(values), tmp_path / "run", until="search")
    _, units = journal.read(tmp_path / "run" / "journal.jsonl")
    evaluated = [tuple(g) for unit in units if unit["unit"] == "generation" for g in unit["genotypes"]]
    assert set(evaluated) == {tuple(g) for i, g in enumerate(known.tolist()) if i % 4}
    assert found.accuracy == max(a for a in accuracies if a is not None)


class _Largest:
    """Accuracy by size, so that the search goes to the limit."""

    source = "tabulated"

    def accuracy(self, genotypes: Genotypes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(genotypes.sum(axis=1) / 100, np.float64)


@dataclass(frozen=True)
class _Wrong:
    """What a cost model says, with factors."""

    model: CostModel
    factors: CostFactors
    source: str = "predicted"

    def costs(self, genotypes: Genotypes) -> Costs:
        return self.factors.applied(self.model.costs(genotypes))


@pytest.fixture
def space(small_config: Path) -> SearchSpace:
    """What the small run searches."""
    return spaces.open("mobile", (1, 8, 8), 10, **load(small_config).space.settings)


@pytest.fixture
def target(small_run: Path, small_config: Path, space: SearchSpace) -> Iterator[Target]:
    """What the small run is for, without limits."""
    config = load(small_config)
    assert config.device.profile is not None
    predictor = predictors.load_or_fit(config.device.profile)
    with devices.open(config.device.spec) as device:
        costs = compile_costs(space, predictor, device)
        yield Target(device, profile_files.load(config.device.profile), predictor, costs, Budget())


SETTINGS = SearchSection(searcher="random", evaluations=80, generation=20)


@pytest.mark.parametrize("too_low_by", [1.5, 1e6])
def test_a_wrong_prediction_is_corrected_by_measuring(
    target: Target, space: SearchSpace, tmp_path: Path, too_low_by: float
) -> None:
    memory = target.costs.costs(np.stack([space.smallest(), space.largest()])).memory_bytes
    limit = float(memory.mean()) if too_low_by < 10 else float(memory[0] / 2)
    wrong = _Wrong(target.costs, CostFactors(1 / too_low_by, 1 / too_low_by, 1.0))
    problem = Problem(space, wrong, Budget(memory_bytes=limit), 0)
    on = [replace(target, costs=wrong, budget=problem.budget)]
    with Journal(tmp_path / "j", {}) as units:
        found = finalist.find(problem, _Largest(), on, SETTINGS, units)
        measured = [unit for unit in units.units if unit["unit"] == "measured"]
        again = finalist.find(problem, _Largest(), on, SETTINGS, units)
    assert measured[0]["excess"] > 0
    assert len(measured) <= finalist.MEASURED
    assert (found.excess == 0) == (too_low_by < 10)
    assert found.excess == min(unit["excess"] for unit in measured)
    assert replace(again, genotype=found.genotype) == found
    assert json.dumps(again.to_json()) == json.dumps(found.to_json())


def test_where_the_measurement_leaves_room_the_search_goes_up_to_the_limit(
    target: Target, space: SearchSpace, tmp_path: Path
) -> None:
    limit = 2.5 * float(target.costs.costs(space.largest()[None]).upper_ms[0])
    problem = Problem(space, _Wrong(target.costs, CostFactors(3.0, 1.0, 1.0)), Budget(latency_ms=limit), 0)
    with Journal(tmp_path / "j", {}) as units:
        found = finalist.find(problem, _Largest(), [replace(target, budget=problem.budget)], SETTINGS, units)
        measured = [unit for unit in units.units if unit["unit"] == "measured"]
        evaluated = [g for unit in units.units if unit["unit"] == "generation" for g in unit["genotypes"]]
    assert found.excess == 0
    assert found.accuracy > measured[0]["accuracy"]
    assert found.predicted["upper_ms"] > limit, "as it was predicted at first, it would not have been looked at"
    assert len(evaluated) <= SETTINGS.evaluations
