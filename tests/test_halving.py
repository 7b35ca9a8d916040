"""Networks trained in rounds: the best go on, to what training them alone would give; a kill changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import hwnas.accuracy
from devices.errors import ProvenanceMismatch
from devices.events import Note, Progress
from devices.journal import Journal
from hwnas import searchers, spaces, tasks
from hwnas.accuracy.halving import Halving, Training, lags, medians
from hwnas.budget import Budget
from hwnas.costs import Costs
from hwnas.problem import Problem
from hwnas.search import Result, search
from hwnas.space import Genotypes, SearchSpace
from hwnas.task import Task
from hwnas.training.settings import HalvingSettings

SETTINGS: dict[str, Any] = {
    "epochs": 4,
    "reduction": 2,
    "batch_size": 256,
    "validation_images": 150,
    "checkpoint_steps": 3,
}


@dataclass(frozen=True)
class Free:
    """Costs of networks that cost nothing."""

    source: ClassVar[str] = "tabulated"

    def costs(self, genotypes: Genotypes) -> Costs:
        """``(n,)`` zeros."""
        return Costs(*[np.zeros(len(genotypes))] * 5)


@pytest.fixture(scope="module")
def task() -> Task:
    return tasks.open("digits")


@pytest.fixture(scope="module")
def space(task: Task) -> SearchSpace:
    sizes: dict[str, Any] = {
        "widths": [[8, 16], [16, 24], [24, 32]],
        "depths": [1],
        "expansions": [2],
        "resolutions": [6],
    }
    return spaces.open("mobile", task.input_shape, 10, **sizes)


@pytest.fixture(scope="module")
def genotypes(space: SearchSpace) -> Genotypes:
    return np.unique(space.sample(np.random.default_rng(0), 12), axis=0)[:4]


def opened(space: SearchSpace, task: Task, folder: Path, **other: Any) -> Halving:
    on_event = other.pop("on_event", lambda event: None)
    model = hwnas.accuracy.open(
        "halving", space, task, settings=SETTINGS | other, seed=1, folder=folder, on_event=on_event
    )
    assert isinstance(model, Halving)
    return model


def units(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "halving.jsonl").read_text().splitlines()[1:]]


def test_rounds_grow_by_the_reduction_up_to_the_epochs() -> None:
    assert HalvingSettings(epochs=9).rounds == (1, 3, 9)
    assert HalvingSettings(epochs=10, first_epochs=2, reduction=2).rounds == (2, 4, 8, 10)
    assert HalvingSettings(epochs=1).rounds == (1,)
    with pytest.raises(ValueError, match=r"'halving': first_epochs \(3\) must not be more than epochs \(2\)"):
        hwnas.accuracy.check("halving", {"epochs": 2, "first_epochs": 3})
    with pytest.raises(ValueError, match=r"brackets \(4\) must not be more than rounds \(3\)"):
        hwnas.accuracy.check("halving", {"epochs": 9, "brackets": 4})


def test_a_curve_lags_below_the_median_of_at_least_five_others() -> None:
    others = [[0.1, 0.5], [0.2, 0.6], [0.3, 0.2], [0.4, 0.8], [0.5, 0.9, 0.9]]
    assert medians(others) == [0.3, 0.6]
    assert medians(others[:4]) == medians([]) == []
    assert lags([0.2, 0.59], [0.3, 0.6])
    assert not lags([0.6, 0.1], [0.3, 0.6]), "its best counts"
    assert not lags([0.0, 0.0, 0.0], [0.3, 0.6]), "too few of the others got so far"
    assert not lags([], [0.3, 0.6])


def test_a_training_stops_where_it_lags_and_comes_to_the_same_without_its_checkpoint(
    space: SearchSpace, task: Task, genotypes: Genotypes, tmp_path: Path
) -> None:
    """As on another machine, to which no checkpoint travels."""
    genotype = tuple(genotypes[0].tolist())
    here = opened(space, task, tmp_path / "here")
    begun = here.evaluate(Training(genotype, 2, trained=0, medians=[]))
    assert len(begun.curve) == 2
    never, always = [0.0] * 4, [1.1] * 4
    for bounds, epochs in ((never, 4), (always, 2), ([1.1, 0.0, 1.1, 1.1], 3)):
        asked = Training(genotype, 4, trained=2, medians=bounds)
        elsewhere = opened(space, task, tmp_path / str(epochs)).evaluate(asked)
        assert len(elsewhere.curve) == epochs
        assert elsewhere.curve[:2] == begun.curve
    asked = Training(genotype, 4, trained=2, medians=never)
    assert here.evaluate(asked) == opened(space, task, tmp_path / "from scratch").evaluate(asked)


def test_the_best_of_each_round_go_on_to_what_training_alone_gives(
    space: SearchSpace, task: Task, genotypes: Genotypes, tmp_path: Path
) -> None:
    model = opened(space, task, tmp_path / "a")
    found = model.accuracy(genotypes)
    went = [int(source.split()[1]) for source in model.sources(genotypes)]
    assert sorted(went) == [1, 1, 2, 4], "of four networks two go on, then one"
    assert {source.partition(" of ")[2] for source in model.sources(genotypes)} == {"4 epochs"}
    rounds = {unit["epochs"]: unit for unit in units(tmp_path / "a") if unit["unit"] == "round"}
    for epochs, kept in ((1, 2), (2, 4)):
        order = np.argsort(-np.array(rounds[epochs]["accuracy"]), kind="stable")
        best = [rounds[epochs]["genotypes"][i] for i in order[: len(order) // 2]]
        assert best == rounds[kept]["genotypes"]
    (whole,) = np.flatnonzero(np.array(went) == 4)
    alone = hwnas.accuracy.open(
        "short_training",
        space,
        task,
        settings={name: value for name, value in SETTINGS.items() if name != "reduction"},
        seed=1,
        folder=tmp_path / "alone",
    )
    assert alone.accuracy(genotypes[[whole]])[0] == found[whole]
    events: list[Progress | Note] = []
    again = opened(space, task, tmp_path / "a", on_event=events.append)
    assert np.array_equal(again.accuracy(genotypes[::-1]), found[::-1])
    assert not events, "what was asked before is remembered"
    with pytest.raises(ProvenanceMismatch, match=r"settings\.epochs: found 4, wanted 8"):
        opened(space, task, tmp_path / "a", epochs=8).accuracy(genotypes)


def test_a_call_that_was_killed_ends_with_the_same_bits(
    space: SearchSpace, task: Task, genotypes: Genotypes, tmp_path: Path
) -> None:
    whole = opened(space, task, tmp_path / "whole").accuracy(genotypes[:3])
    steps = 0

    def stop(event: Progress | Note) -> None:
        nonlocal steps
        steps += 1
        if steps % 7 == 0:
            raise KeyboardInterrupt

    for _ in range(40):
        try:
            found = opened(space, task, tmp_path / "cut", on_event=stop).accuracy(genotypes[:3])
            break
        except KeyboardInterrupt:
            continue
    assert steps > 14, "it was cut short more than once"
    assert np.array_equal(found, whole)
    assert (tmp_path / "cut" / "halving.jsonl").read_bytes() == (tmp_path / "whole" / "halving.jsonl").read_bytes()


def test_calls_take_turns_in_how_they_begin(
    space: SearchSpace, task: Task, genotypes: Genotypes, tmp_path: Path
) -> None:
    model = opened(space, task, tmp_path, epochs=2, brackets=2)
    model.accuracy(genotypes[:2])
    assert sorted(model.sources(genotypes[:2])) == ["trained 1 of 2 epochs", "trained 2 of 2 epochs"]
    model.accuracy(genotypes[2:])
    assert model.sources(genotypes[2:]) == ["trained 2 of 2 epochs"] * 2


def test_a_search_records_after_how_many_epochs_each_number_was_taken(
    space: SearchSpace, task: Task, tmp_path: Path
) -> None:
    problem = Problem(space, Free(), Budget(latency_ms=1.0), 0)

    def searched(folder: str) -> Result:
        with Journal(tmp_path / "journal.jsonl", {}) as journal:
            model = opened(space, task, tmp_path / folder, epochs=2)
            return search(
                problem, searchers.open("random", problem), model, evaluations=4, generation=2, journal=journal
            )

    first = searched("work").candidates
    assert sorted(first.accuracy_source) == ["trained 1 of 2 epochs"] * 2 + ["trained 2 of 2 epochs"] * 2
    replayed = searched("another, which is not asked").candidates
    assert np.array_equal(replayed.accuracy_source, first.accuracy_source)
    assert np.array_equal(replayed.accuracy, first.accuracy)
