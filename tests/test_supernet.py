"""Supernets and the accuracy models: shared weights compute what the network alone computes, and numbers are repeatable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hwnas.accuracy
import hwnas.spaces
import hwnas.tasks
from devices.events import Note, Progress
from hwnas.space import SearchSpace
from hwnas.supernet import Supernet, calibrate
from hwnas.task import Task

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 128, "validation_images": 100}


@pytest.fixture(scope="module")
def task() -> Task:
    return hwnas.tasks.open("digits")


@pytest.fixture(params=hwnas.spaces.names())
def space(request: pytest.FixtureRequest, task: Task) -> SearchSpace:
    return hwnas.spaces.open(request.param, task.input_shape, len(task.classes))


@pytest.fixture(scope="module")
def small(task: Task) -> SearchSpace:
    return hwnas.spaces.open(
        "mobile",
        task.input_shape,
        len(task.classes),
        widths=[[8, 16], [16], [24]],
        depths=[1, 2],
        expansions=[2],
        resolutions=[6, 8],
    )


def genotypes_of(space: SearchSpace, n: int) -> list[np.ndarray]:
    return [space.smallest(), space.largest(), *space.sample(np.random.default_rng(0), n)]


def images(space: SearchSpace, genotype: np.ndarray) -> torch.Tensor:
    size = space.image_size(genotype)
    return torch.randn(6, space.input_shape[0], size, size, generator=torch.Generator().manual_seed(0))


def test_a_network_alone_computes_what_it_computes_within_the_supernet(space: SearchSpace) -> None:
    supernet = space.supernet()
    assert isinstance(supernet, Supernet)
    for genotype in genotypes_of(space, 4):
        alone = supernet.extract(genotype)
        assert type(alone) is type(space.build(genotype))
        assert space.weights(alone).keys() == space.graph(genotype).constants.keys()
        x = images(space, genotype)
        with torch.no_grad():
            torch.testing.assert_close(alone.train()(x), supernet(x, genotype), rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_network_alone(space: SearchSpace) -> None:
    supernet = space.supernet()
    for genotype in genotypes_of(space, 2):
        alone = supernet.extract(genotype).train()
        x = images(space, genotype)
        supernet.zero_grad()
        supernet(x, genotype).square().sum().backward()
        alone(x).square().sum().backward()
        shared, own = ([p.grad for p in m.parameters() if p.grad is not None] for m in (supernet, alone))
        assert len(shared) == len(own)
        for ours, its in zip(shared, own, strict=True):
            # What is not the network's own has no gradient; the rest has the same, in another corner.
            torch.testing.assert_close(ours.square().sum(), its.square().sum(), rtol=1e-3, atol=1e-6)


def test_extracted_weights_are_copies(space: SearchSpace) -> None:
    supernet = space.supernet()
    before = [p.clone() for p in supernet.parameters()]
    with torch.no_grad():
        for parameter in supernet.extract(space.largest()).parameters():
            parameter.add_(1)
    assert all(torch.equal(p, b) for p, b in zip(supernet.parameters(), before, strict=True))


def test_calibration_makes_evaluation_agree_with_the_batch(space: SearchSpace, task: Task) -> None:
    genotype = space.largest()
    network = space.supernet().extract(genotype)
    examples = task.train.images[:200]
    calibrate(network, examples, task, space.image_size(genotype))
    assert not network.training
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    from hwnas.train import logits

    evaluated = logits(network, examples, task, space.image_size(genotype))
    with torch.no_grad():
        from hwnas.task import normalize

        trained = network.train()(torch.from_numpy(normalize(examples, task, space.image_size(genotype)))).numpy()
    np.testing.assert_allclose(evaluated, trained, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("name", hwnas.accuracy.names())
def test_accuracy_is_a_function_of_the_genotype(name: str, small: SearchSpace, task: Task, tmp_path: Path) -> None:
    events: list[Progress | Note] = []
    genotypes = small.sample(np.random.default_rng(1), 3)

    def model(folder: str) -> Any:
        return hwnas.accuracy.open(
            name, small, task, settings=QUICK, seed=1, folder=tmp_path / folder, on_event=events.append
        )

    first = model("a")
    assert not events, "nothing is trained before it is asked"
    assert isinstance(first.source, str)
    found = first.accuracy(genotypes)
    assert found.shape == (3,)
    assert np.all((found > 0) & (found <= 1))
    assert events
    count = len(events)
    assert np.array_equal(first.accuracy(genotypes[::-1]), found[::-1])
    assert len(events) == count, "what was asked before is remembered"
    assert np.array_equal(model("b").accuracy(genotypes[[2, 0]]), found[[2, 0]])
    assert first.accuracy(genotypes[:0]).shape == (0,)
    if hasattr(first, "inherit"):
        network = first.inherit(genotypes[0])
        assert small.weights(network).keys() == small.graph(genotypes[0]).constants.keys()


@pytest.mark.parametrize("name", hwnas.accuracy.names())
def test_settings_are_checked_before_anything_is_done(name: str) -> None:
    assert hwnas.accuracy.check(name, {}).validation_images > 0
    with pytest.raises(ValueError, match="has no setting 'epoch', did you mean 'epochs'"):
        hwnas.accuracy.check(name, {"epoch": 3})
    for value in (0, -1, 1.5, "3"):
        with pytest.raises(ValueError, match=f"epochs: .*got {value!r}"):
            hwnas.accuracy.check(name, {"epochs": value})
    with pytest.raises(ValueError, match=f"unknown accuracy model '{name}x', did you mean '{name}'"):
        hwnas.accuracy.check(f"{name}x", {})


def test_training_makes_every_network_better_than_chance(small: SearchSpace, task: Task, tmp_path: Path) -> None:
    model = hwnas.accuracy.open(
        "supernet", small, task, settings={"epochs": 6, "batch_size": 64}, seed=0, folder=tmp_path
    )
    accuracy = model.accuracy(np.stack(genotypes_of(small, 4)))
    assert accuracy.min() > 0.5
