"""TensorBoard's own reader finds the figures of a run, each once, however often the run was interrupted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from devices import journal
from devices.events import Note, Progress
from devices.journal import Journal
from hwnas import accuracy, scalars, searchers, spaces, tasks
from hwnas.budget import Budget
from hwnas.candidates import Candidates
from hwnas.costs import Costs
from hwnas.errors import HwnasError
from hwnas.problem import Problem
from hwnas.search import Searcher, search
from hwnas.space import Genotypes
from hwnas.training.batches import steps_per_epoch
from hwnas.training.train import TrainSettings, train

SPACE = spaces.open("mobile", (1, 8, 8), 10, depths=[1], activations=["relu"], squeeze_excite=[False])


@dataclass(frozen=True)
class Positions:
    """Costs and accuracies: every gene adds its option's position."""

    source: ClassVar[str] = "tabulated"

    def costs(self, genotypes: Genotypes) -> Costs:
        return Costs(*[1.0 + genotypes.sum(axis=1)] * 5)

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        return np.asarray(genotypes.sum(axis=1) / 100, np.float64)


class HalfOver(Searcher):
    """Proposes networks of which every other one is over the budget."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._rng = problem, np.random.default_rng(0)

    def ask(self, n: int) -> Genotypes:
        within = self._problem.sample(self._rng, n)
        over = np.broadcast_to(self._problem.space.largest(), within.shape)
        return np.concatenate([within, over])

    def tell(self, candidates: Candidates) -> None:
        pass


PROBLEM = Problem(SPACE, Positions(), Budget(latency_ms=8.0), 0)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every scalar of a folder, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def watched(folder: Path, journal_path: Path) -> Candidates:
    """A search of 40 networks, 8 at a time."""
    with scalars.written(folder) as on_event, Journal(journal_path, {}) as units:
        searcher = searchers.open("guided", PROBLEM, initial=16)
        return search(
            PROBLEM, searcher, Positions(), evaluations=40, generation=8, journal=units, on_event=on_event
        ).candidates


def test_a_search_that_is_resumed_has_every_point_once(tmp_path: Path) -> None:
    folder, path = tmp_path / "tensorboard", tmp_path / "j"
    found = watched(folder, path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    watched(folder, path)
    drawn = curves(folder / "search")
    assert set(drawn) == {"best_fitness", "best_p50_ms", "share_feasible", "predictor_tau"}
    so_far = np.maximum.accumulate(found.accuracy)[7::8]
    assert [step for step, _ in drawn["best_fitness"]] == [8, 16, 24, 32, 40]
    assert [value for _, value in drawn["best_fitness"]] == pytest.approx(so_far.tolist())
    assert [step for step, _ in drawn["predictor_tau"]] == [24, 32, 40]
    for (_, latency), best in zip(drawn["best_p50_ms"], so_far, strict=True):
        assert latency == pytest.approx(1 + 100 * best)
    assert [value for _, value in drawn["share_feasible"]] == [1.0] * 5


def test_progress_says_what_share_of_the_proposals_was_within_the_budget() -> None:
    told: list[Progress | Note] = []
    search(PROBLEM, HalfOver(PROBLEM), Positions(), evaluations=16, generation=8, on_event=told.append)
    first = told[0]
    assert isinstance(first, Progress)
    assert first.figures["share_feasible"] == 0.5
    assert "50% feasible" in first.detail


def test_a_training_that_is_resumed_has_every_epoch_once(tmp_path: Path) -> None:
    task = tasks.open("digits")
    settings = TrainSettings(epochs=4, batch_size=256, checkpoint_steps=1)

    def trained(stop_at: int) -> None:
        def stop(event: Progress | Note) -> None:
            if isinstance(event, Progress) and event.done == stop_at:
                raise KeyboardInterrupt

        with scalars.written(tmp_path / "tensorboard", stop) as on_event:
            module = SPACE.build(SPACE.smallest())
            train(module, task, size=8, settings=settings, seed=0, checkpoint=tmp_path / "w", on_event=on_event)

    per_epoch = steps_per_epoch(len(task.train), settings.batch_size)
    with pytest.raises(KeyboardInterrupt):
        trained(2 * per_epoch + 1)
    trained(0)
    drawn = curves(tmp_path / "tensorboard" / "training")
    assert set(drawn) == {"loss", "accuracy", "validation_accuracy"}
    for points in drawn.values():
        assert [step for step, _ in points] == [per_epoch * (i + 1) for i in range(4)]


def test_networks_that_are_only_ranked_draw_no_curves(tmp_path: Path) -> None:
    settings = {"epochs": 1, "batch_size": 256}
    with scalars.written(tmp_path / "tensorboard") as on_event:
        model = accuracy.open(
            "short_training",
            SPACE,
            tasks.open("digits"),
            settings=settings,
            seed=0,
            folder=tmp_path / "work",
            on_event=on_event,
        )
        model.accuracy(SPACE.smallest()[None])
    assert not (tmp_path / "tensorboard").exists()


def test_seeds_and_phases_have_folders_of_their_own(tmp_path: Path) -> None:
    with scalars.written(tmp_path) as on_event:
        on_event(Progress("seed 3: supernet 1/2", 5, 10, figures={"loss": 0.5}))
    assert curves(tmp_path / "seed 3" / "supernet 1 of 2") == {"loss": [(5, 0.5)]}


def test_without_tensorboard_nothing_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(HwnasError, match="not installed") as caught, scalars.written(tmp_path / "t"):
        pytest.fail("it began")
    assert caught.value.hint == "Install it with: pip install 'hwnas[tensorboard]'"


def test_a_run_writes_them_if_asked(small_run: Path, small_config: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    command = [sys.executable, "-m", "hwnas.cli", "search", str(small_config), "--out", str(folder)]
    done = subprocess.run([*command, "--tensorboard", "--json"], capture_output=True, check=True)
    value = json.loads(done.stdout)
    _, units = journal.read(folder / "journal.jsonl")
    generations = [unit for unit in units if unit["unit"] == "generation"]
    points = [curves(stage)["best_fitness"] for stage in sorted((folder / "tensorboard").glob("search*"))]
    assert [len(found) for found in points] == [
        len([unit for unit in generations if unit["attempt"] == attempt]) for attempt in range(len(points))
    ]
    assert value["accuracy"] in [pytest.approx(found[-1][1]) for found in points]
