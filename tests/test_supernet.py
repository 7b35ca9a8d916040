"""Supernets and the accuracy models: shared weights compute what the network alone computes, and numbers are repeatable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import BaseModel
from torch import nn

import hwnas.accuracy
import hwnas.spaces
import hwnas.tasks
from devices import plugins
from devices.events import Note, Progress
from hwnas.space import SearchSpace
from hwnas.task import Task
from hwnas.training.settings import FitSettings, SupernetSettings
from hwnas.training.supernet import Supernet, calibrate, train_supernet

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 128, "validation_images": 100}
WITHOUT_TRAINING_SETTINGS = "tabulated", "zero_cost", "ensemble", "predictor"


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


def settings_of(name: str) -> type[BaseModel]:
    found: type[BaseModel] = plugins.load(hwnas.accuracy, name, kind="accuracy model").Settings
    return found


def images(space: SearchSpace, genotype: np.ndarray) -> torch.Tensor:
    size = space.image_size(genotype)
    return torch.randn(6, space.input_shape[0], size, size, generator=torch.Generator().manual_seed(0))


def test_a_network_alone_computes_what_it_computes_within_the_supernet(space: SearchSpace) -> None:
    supernet = space.supernet()
    assert isinstance(supernet, Supernet)
    for genotype in genotypes_of(space, 4):
        alone = supernet.extract(genotype)
        assert type(alone) is type(space.build(genotype))
        assert space.weights(alone).keys() == space.graph(genotype).weights
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
        # What is not the network's own has no gradient; the rest has the same, in another corner and perhaps in another order.
        shared, own = (
            sorted(p.grad.square().sum().item() for p in m.parameters() if p.grad is not None)
            for m in (supernet, alone)
        )
        np.testing.assert_allclose(shared, own, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("gene", ["kernel", "width", "expansion", "depth"])
def test_the_smaller_network_has_a_corner_of_the_weights_of_the_larger(task: Task, gene: str) -> None:
    space = hwnas.spaces.open("mobile", task.input_shape, len(task.classes))
    supernet, large, small = space.supernet(), space.largest(), space.largest()
    small[[g.name for g in space.genes].index(f"stage2.{gene}")] = 0
    weights, part = (supernet.extract(genotype).state_dict() for genotype in (large, small))
    shared = {name: tensor for name, tensor in part.items() if name.endswith("weight")}
    assert shared.keys() <= weights.keys()
    assert (len(shared) < sum(name.endswith("weight") for name in weights)) == (gene == "depth")
    for name, tensor in shared.items():
        corner = weights[name]
        for axis, length in enumerate(tensor.shape):
            start = (corner.shape[axis] - length) // 2 if axis >= 2 else 0
            corner = corner.narrow(axis, start, length)
        torch.testing.assert_close(tensor, corner, rtol=0, atol=0)
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in supernet.parameters() if w.ndim == 4)


def test_extracted_weights_are_copies(space: SearchSpace) -> None:
    supernet = space.supernet()
    before = [p.clone() for p in supernet.parameters()]
    with torch.no_grad():
        for parameter in supernet.extract(space.largest()).parameters():
            parameter.add_(1)
    assert all(torch.equal(p, b) for p, b in zip(supernet.parameters(), before, strict=True))


def test_calibration_makes_evaluation_agree_with_the_batch(space: SearchSpace, task: Task) -> None:
    genotype = space.smallest()
    network = space.supernet().extract(genotype)
    examples = np.tile(
        task.train.images[:100], (2, 1, 1, 1)
    )  # two batches, as like as can be: a deep network magnifies it
    calibrate(network, examples, task, space.image_size(genotype))
    assert not network.training
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    from hwnas.training.train import logits

    evaluated = logits(network, examples, task, space.image_size(genotype))
    with torch.no_grad():
        from hwnas.task import normalize

        trained = network.train()(torch.from_numpy(normalize(examples, task, space.image_size(genotype)))).numpy()
    np.testing.assert_allclose(evaluated, trained, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", hwnas.accuracy.names())
def test_accuracy_is_a_function_of_the_genotype(name: str, small: SearchSpace, task: Task, tmp_path: Path) -> None:
    events: list[Progress | Note] = []
    genotypes = small.sample(np.random.default_rng(1), 3)
    others: dict[str, Any] = {
        "tabulated": {"table": str(tmp_path / "table.csv")},
        "zero_cost": {"batch_size": 16},
        "ensemble": {"members": [{"model": "supernet", **QUICK}, {"model": "zero_cost", "batch_size": 16}]},
        "predictor": {"of": {"model": "supernet", **QUICK}, "networks": 8},
    }
    settings = others[name] if name in WITHOUT_TRAINING_SETTINGS else QUICK
    assert issubclass(settings_of(name), FitSettings) == (name not in WITHOUT_TRAINING_SETTINGS)
    names = [gene.name for gene in small.genes]
    pd.DataFrame(genotypes, columns=names).assign(accuracy=[0.9, 0.8, 0.7]).to_csv(tmp_path / "table.csv", index=False)

    def model(folder: str) -> Any:
        return hwnas.accuracy.open(
            name, small, task, settings=settings, seed=1, folder=tmp_path / folder, on_event=events.append
        )

    first = model("a")
    assert not events, "nothing is trained before it is asked"
    assert isinstance(first.source, str)
    found = first.accuracy(genotypes)
    assert found.shape == (3,)
    assert np.all((found > 0) & (found <= 1))
    assert bool(events) == (name != "tabulated"), "what takes its time tells of its progress"
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
    known, trains = list(settings_of(name).model_fields), issubclass(settings_of(name), FitSettings)
    wrong = f"{known[0]}x"
    with pytest.raises(ValueError, match=f"has no setting '{wrong}', did you mean '{known[0]}'"):
        hwnas.accuracy.check(name, {wrong: 3})
    for value in (0, -1, 1.5, "3" if trains else 3):
        with pytest.raises(ValueError, match=f"{known[0]}: .*got {value!r}"):
            hwnas.accuracy.check(name, {known[0]: value})
    with pytest.raises(ValueError, match=f"unknown accuracy model '{name}x', did you mean '{name}'"):
        hwnas.accuracy.check(f"{name}x", {})


@pytest.mark.parametrize("schedule", ["sandwich", "progressive"])
def test_training_makes_every_network_better_than_chance(
    schedule: str, small: SearchSpace, task: Task, tmp_path: Path
) -> None:
    settings = {"epochs": 5 if schedule == "sandwich" else 2, "batch_size": 64, "schedule": schedule}
    model = hwnas.accuracy.open("supernet", small, task, settings=settings, seed=0, folder=tmp_path)
    accuracy = model.accuracy(np.stack(genotypes_of(small, 4)))
    assert accuracy.min() > 0.5


def test_shrinking_makes_every_gene_elastic_once(space: SearchSpace) -> None:
    phases = space.supernet().shrinking
    assert sorted(name for phase in phases for name in phase) == sorted(gene.name for gene in space.genes)


def test_an_interrupted_shrinking_ends_with_the_same_weights(small: SearchSpace, task: Task, tmp_path: Path) -> None:
    settings = SupernetSettings(schedule="progressive", epochs=1, batch_size=256, checkpoint_steps=2)
    stages: list[str] = []

    def trained(folder: str, stop: tuple[str, int] = ("", 0)) -> Supernet:
        def on_event(event: Progress | Note) -> None:
            assert isinstance(event, Progress)
            stages.append(event.stage)
            if (event.stage, event.done) == stop:
                raise KeyboardInterrupt

        (tmp_path / folder).mkdir(exist_ok=True)
        checkpoint = tmp_path / folder / "supernet.safetensors"
        return train_supernet(small, task, settings=settings, seed=0, checkpoint=checkpoint, on_event=on_event)

    whole = trained("whole").state_dict()
    phases = list(dict.fromkeys(stages))
    assert phases == [f"supernet {i}/4" for i in (1, 2, 3, 4)]
    for phase in phases:
        with pytest.raises(KeyboardInterrupt):
            trained("cut", stop=(phase, 3))
    again = trained("cut").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [
        "supernet-2.safetensors",
        "supernet-3.safetensors",
        "supernet-4.safetensors",
        "supernet.safetensors",
    ]


def test_each_phase_leaves_alone_what_is_not_elastic_yet(small: SearchSpace, task: Task, tmp_path: Path) -> None:
    settings = SupernetSettings(schedule="progressive", epochs=1, batch_size=256)
    asked: list[tuple[str, np.ndarray]] = []
    supernet, stage = small.supernet(), "supernet 1/4"
    kind = type(supernet)

    def on_event(event: Progress | Note) -> None:
        nonlocal stage
        assert isinstance(event, Progress)
        stage = f"supernet {int(event.stage[9]) + (event.done == event.total)}/4"

    def noted(module: nn.Module, arguments: tuple[torch.Tensor, np.ndarray]) -> None:
        if isinstance(module, kind):
            asked.append((stage, arguments[1]))

    with nn.modules.module.register_module_forward_pre_hook(noted):
        train_supernet(small, task, settings=settings, seed=0, checkpoint=tmp_path / "s.safetensors", on_event=on_event)
    for number, rigid in enumerate(({"kernel", "depth", "width"}, {"depth", "width"}, {"width"}, {""}), start=1):
        seen = np.stack([genotype for at, genotype in asked if at == f"supernet {number}/4"])
        varied = (seen != small.largest()).any(axis=0)
        moved = {gene.name.rpartition(".")[2] for gene, moves in zip(small.genes, varied, strict=True) if moves}
        assert moved.isdisjoint(rigid)
        assert bool(moved) == (number > 1)
