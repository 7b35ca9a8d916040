"""Accuracy models that put several judgements together: folds of the data, and ensembles of models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

import hwnas.accuracy
from devices.errors import ProvenanceMismatch
from devices.events import Note, Progress
from hwnas import spaces, tasks
from hwnas.accuracy import AccuracyModel, Copyable, is_score
from hwnas.accuracy.short_training import ShortTraining, _folds
from hwnas.config import load
from hwnas.errors import InvalidData
from hwnas.space import Genotypes, SearchSpace
from hwnas.task import Task

TRAINING: dict[str, Any] = {"epochs": 1, "batch_size": 256, "validation_images": 150}


@pytest.fixture(scope="module")
def task() -> Task:
    return tasks.open("digits")


@pytest.fixture(scope="module")
def space(task: Task) -> SearchSpace:
    sizes = {"widths": [[8, 16], [16, 24], [24, 32]], "depths": [1], "expansions": [2], "resolutions": [6]}
    return spaces.open("mobile", task.input_shape, 10, **sizes)


@pytest.fixture(scope="module")
def genotypes(space: SearchSpace) -> Genotypes:
    return np.unique(space.sample(np.random.default_rng(0), 12), axis=0)[:2]


def opened(name: str, space: SearchSpace, task: Task, folder: Path, seed: int = 1, **settings: Any) -> AccuracyModel:
    return hwnas.accuracy.open(name, space, task, settings=settings, seed=seed, folder=folder)


def test_every_image_validates_once_in_folds(task: Task) -> None:
    folds = _folds(task, 4, seed=3)
    whole = np.concatenate([task.train.images, task.validation.images])
    validation = np.concatenate([fold.validation.images for fold in folds])
    assert sorted(image.tobytes() for image in validation) == sorted(image.tobytes() for image in whole)
    counts = np.array([np.bincount(fold.validation.labels, minlength=10) for fold in folds])
    assert np.ptp(counts, axis=0).max() <= 1
    for fold in folds:
        assert len(fold.train) + len(fold.validation) == len(whole)
        assert fold.read_test is task.read_test
    with pytest.raises(InvalidData, match=r"too few for 1000 folds"):
        _folds(task, 1000, seed=3)


def test_a_number_from_folds_is_their_mean(
    space: SearchSpace, task: Task, genotypes: Genotypes, tmp_path: Path
) -> None:
    model = opened("short_training", space, task, tmp_path / "folds", folds=2, **TRAINING)
    assert isinstance(model, ShortTraining)
    found = model.accuracy(genotypes)
    each = [
        opened("short_training", space, fold, tmp_path / f"{i}", **TRAINING).accuracy(genotypes)
        for i, fold in enumerate(_folds(task, 2, seed=1))
    ]
    np.testing.assert_array_equal(found, np.mean(each, axis=0))
    assert np.ptp(each, axis=0).max() > 0


def test_an_ensemble_is_the_mean_of_its_members(
    space: SearchSpace, task: Task, genotypes: Genotypes, tmp_path: Path
) -> None:
    members = [{"model": "short_training", **TRAINING}, {"model": "short_training", **TRAINING}]
    model = opened("ensemble", space, task, tmp_path / "both", members=members)
    found = model.accuracy(genotypes)
    alone = [
        opened("short_training", space, task, tmp_path / f"{seed}", seed, **TRAINING).accuracy(genotypes)
        for seed in (1, 2)
    ]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-12)
    assert np.ptp(alone, axis=0).max() > 0, "seeds differ"
    assert model.source == "ensemble"
    assert not is_score(model.source)


def test_proxies_vote(space: SearchSpace, task: Task, genotypes: Genotypes, tmp_path: Path) -> None:
    members = [{"model": "zero_cost", "proxy": proxy} for proxy in ("parameters", "flops")]
    model = opened("ensemble", space, task, tmp_path, members=members)
    assert is_score(model.source)
    each = [opened("zero_cost", space, task, tmp_path, 1 + i, proxy=m["proxy"]) for i, m in enumerate(members)]
    np.testing.assert_allclose(model.accuracy(genotypes), np.mean([one.accuracy(genotypes) for one in each], axis=0))


def test_an_ensemble_shares_what_its_members_share(space: SearchSpace, task: Task, tmp_path: Path) -> None:
    supernet = {"model": "supernet", "epochs": 1, "batch_size": 512, "validation_images": 100}
    model = opened("ensemble", space, task, tmp_path, members=[supernet, supernet])
    assert isinstance(model, Copyable)
    files = [path.relative_to(tmp_path) for path in model.prepare()]
    assert [path.parts for path in files] == [
        ("0-supernet", "supernet.safetensors"),
        ("1-supernet", "supernet.safetensors"),
    ]


def test_what_a_few_networks_teach_is_said_of_all(space: SearchSpace, task: Task, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"networks": 60, "of": {"model": "zero_cost", "proxy": "parameters"}}
    model = opened("predictor", space, task, tmp_path, **settings)
    every = np.unique(space.sample(np.random.default_rng(5), 400), axis=0)
    predicted = model.accuracy(every)
    exact = opened("zero_cost", space, task, tmp_path, proxy="parameters").accuracy(every)
    assert kendalltau(predicted, exact).statistic > 0.6
    assert is_score(model.source)
    events: list[Note | Progress] = []
    again = hwnas.accuracy.open(
        "predictor", space, task, settings=settings, seed=1, folder=tmp_path, on_event=events.append
    )
    np.testing.assert_array_equal(again.accuracy(every), predicted)
    (said,) = events
    assert isinstance(said, Note), "nothing was evaluated again"
    assert re.search(r"held out, Kendall's τ 0\.[5-9]", said.message)
    with pytest.raises(ProvenanceMismatch, match=r"settings\.networks: found 60, wanted 70"):
        opened("predictor", space, task, tmp_path, **settings | {"networks": 70}).accuracy(every)


def test_a_call_that_was_killed_learns_from_the_same_networks(space: SearchSpace, task: Task, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"networks": 50, "of": {"model": "zero_cost", "proxy": "flops"}}

    def stop(event: Note | Progress) -> None:
        if isinstance(event, Progress) and event.stage == "networks to learn from":
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            hwnas.accuracy.open(
                "predictor", space, task, settings=settings, seed=1, folder=tmp_path / "cut", on_event=stop
            ).accuracy(space.largest()[None])
    for folder in ("cut", "whole"):
        opened("predictor", space, task, tmp_path / folder, **settings).accuracy(space.largest()[None])
    cut, whole = ((tmp_path / folder / "predictor.jsonl").read_bytes() for folder in ("cut", "whole"))
    assert cut == whole
    assert whole.count(b'"evaluated"') == 3


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([{"model": "supernet"}], "at least 2 items"),
        ([{"model": "supernet"}, {"model": "supernets"}], "did you mean 'supernet'"),
        ([{"model": "supernet"}, {"model": "zero_cost", "proxies": 1}], "no setting 'proxies'"),
        ([{"model": "supernet"}, {"model": "halving"}], "take 'short_training'"),
        ([{"model": "supernet"}, {}], "Field required"),
    ],
)
def test_members_that_cannot_be_are_refused(members: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hwnas.accuracy.check("ensemble", {"members": members})


def test_members_stand_in_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[budget]\nlatency_ms = 1.0\n[accuracy]\nmodel = "ensemble"\n[[accuracy.members]]\nmodel = "zero_cost"\n'
        '[[accuracy.members]]\nmodel = "tabulated"\ntable = "a.csv"\n'
    )
    config = load(path)
    members = [{"model": "zero_cost"}, {"model": "tabulated", "table": str(tmp_path / "a.csv")}]
    assert config.accuracy.settings == {"members": members}
    path.write_text(config.to_toml())
    assert load(path) == config
