"""Who evaluates the networks of a search makes no difference to its journal, whatever happens to them."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from devices import journal
from devices.events import Note, Progress, ignore
from hwnas import tasks
from hwnas.config import Config, load
from hwnas.errors import HwnasError, InfeasibleBudget, InvalidData, ProvenanceMismatch, SearchError
from hwnas.run import run
from hwnas.threads import thread_count
from hwnas.workers import check_workers
from hwnas.workers._copy import Copy
from hwnas.workers.processes import Processes, processes

ROOT = Path(__file__).parent.parent


@pytest.fixture
def copy(quick_config: Config, tmp_path: Path) -> Copy:
    return Copy.of(quick_config, tasks.open("digits", seed=0), tmp_path, threads=1)


def test_processes_record_the_same_though_one_is_killed(
    recorded: Callable[..., bytes], quick_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crews: list[Processes] = []
    evaluate = Processes.evaluate

    def watched(crew: Processes, asked: Sequence[Any]) -> list[Any]:
        crews.append(crew)
        if len(crews) == 2:
            os.kill(crew._workers[0].process.pid or 0, signal.SIGKILL)
        return evaluate(crew, asked)

    alone = recorded(None, quick_config, tmp_path)
    monkeypatch.setattr(Processes, "evaluate", watched)
    assert recorded(2, quick_config, tmp_path) == alone
    assert len(crews) > 2
    assert not any(worker.process.is_alive() for worker in crews[0]._workers)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "short_training", "epochs": 1, "folds": 2, "batch_size": 512},
        {"model": "halving", "epochs": 2, "reduction": 2, "batch_size": 512},
        {
            "model": "ensemble",
            "members": [{"model": "supernet", "epochs": 1, "batch_size": 512}, {"model": "zero_cost"}],
        },
        {"model": "predictor", "networks": 4, "of": {"model": "short_training", "epochs": 1, "batch_size": 512}},
    ],
    ids=lambda settings: str(settings["model"]),
)
def test_other_models_say_the_same_anywhere(
    recorded: Callable[..., bytes], quick_config: Config, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = Config.model_validate(quick_config.model_dump(exclude_none=True) | {"accuracy": settings})
    found = []
    for workers in (None, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        found.append(recorded(workers, config, folder, evaluations=2))
    assert found[0] == found[1]
    assert (b'"trained 2 of 2 epochs"' in found[0]) == (settings["model"] == "halving")


def start(config: Path, out: Path, workers: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "hwnas.cli", "search", str(config), "--out", str(out), "--workers", workers, "--json"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def generations(folder: Path) -> list[dict[str, Any]]:
    path = folder / "journal.jsonl"
    units = journal.read(path)[1] if path.exists() and b"\n" in path.read_bytes() else []
    return [unit for unit in units if unit["unit"] == "generation"]


def running(processes: list[int]) -> list[int]:
    return [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_run_that_was_killed_goes_on_with_others_or_none(small_run: Path, small_config: Path, tmp_path: Path) -> None:
    """``small_run`` has made the profile."""
    config, out = small_config.with_name("workers.toml"), tmp_path / "killed"
    config.write_text(small_config.read_text().replace("evaluations = 24", "evaluations = 60"))
    killed = start(config, out, "2")
    while not generations(out) and killed.poll() is None:
        time.sleep(0.01)
    orphans = children(killed.pid)
    killed.kill()
    killed.communicate()
    assert 0 < len(generations(out)) < 10
    deadline = time.monotonic() + 5
    while running(orphans) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(orphans)
    resumed = start(config, out, "ray")
    said = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0
    assert said.count(b"\n") == 1
    found = generations(out)

    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if b'"unit":"generation"' in line)
    measured = [line for line in lines if b'"unit":"measured"' in line]  # would not be the same again
    (out / "journal.jsonl").write_bytes(b"".join([*lines[:first], *measured]))
    told: list[Note | Progress] = []
    run(load(config), out, until="search", on_event=told.append)
    assert generations(out) == found
    note = Note("Threads for each evaluation of this run: 1, as when it began.")
    assert (note in told) == (thread_count() > 1)


class FakeCopyThatDies:
    """Takes its process with it, as one that needs too much memory does."""

    def open(self) -> None:
        os._exit(9)


def test_a_network_that_no_worker_survives_is_named() -> None:
    with (
        processes(1, cast("Copy", FakeCopyThatDies()), ignore) as crew,
        pytest.raises(SearchError, match=r"3 worker processes died one after the other over network \[3 1\]"),
    ):
        crew.evaluate([np.array([3, 1])])


def test_what_a_worker_raises_is_raised_here(copy: Copy) -> None:
    with (
        processes(1, replace(copy, versions={"torch": "0.1"}), ignore) as crew,
        pytest.raises(ProvenanceMismatch, match="torch: found") as caught,
    ):
        crew.evaluate([np.zeros(5, np.int64)])
    assert "same versions" in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [
        InvalidData("message", hint="hint"),
        ProvenanceMismatch("This", ["a: found 1, wanted 2"], hint="hint"),
        InfeasibleBudget("message", closest={"genotype": [1]}, hint="hint"),
    ],
)
def test_errors_travel_whole(error: HwnasError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_workers_have_no_test_images(copy: Copy) -> None:
    again = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(again.task.validation.images, copy.task.validation.images)
    with pytest.raises(AssertionError, match="no test images"):
        again.task.test()


@pytest.mark.parametrize("workers", [0, -1, "two", "", "1.5", "http://host", "rayon", "ray://host"])
def test_what_is_no_worker_is_refused(workers: int | str) -> None:
    with pytest.raises(ValueError, match="workers are a number above 0"):
        check_workers(workers)
