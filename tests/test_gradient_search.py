"""Gradient search: the mixture is each of its networks, the expected excess has the right slope, and learning helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from devices import journal
from devices.events import Note, Progress
from hwnas import searchers, spaces, tasks
from hwnas.budget import Budget
from hwnas.config import Config
from hwnas.config import load as load_config
from hwnas.costs import Costs
from hwnas.errors import InfeasibleBudget, InvalidConfig, InvalidData, SearchError
from hwnas.problem import Problem
from hwnas.run import run
from hwnas.space import Genotypes, SearchSpace
from hwnas.training.differentiable import Mixture, expected_excess, learn
from hwnas.training.distribution import even, load
from hwnas.training.settings import LearnSettings

SPACE = spaces.open("mobile", (1, 8, 8), 10, resolutions=[6, 8], squeeze_excite=[False, True], depths=[1, 2])


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates stand for every cost."""

    space: SearchSpace
    source: ClassVar[str] = "counted"

    def costs(self, genotypes: Genotypes) -> Costs:
        return Costs(*[np.array([self.space.macs(g) / 1e6 for g in genotypes])] * 5)  # type: ignore[attr-defined]  # mobile's


@dataclass(frozen=True)
class Positions:
    """Every gene adds its option's position."""

    source: ClassVar[str] = "counted"

    def costs(self, genotypes: Genotypes) -> Costs:
        return Costs(*[1.0 + genotypes.sum(axis=1)] * 5)


@pytest.mark.parametrize("genotype", [SPACE.smallest(), SPACE.largest(), *SPACE.sample(np.random.default_rng(0), 6)])
def test_with_gates_of_zero_and_one_the_mixture_is_the_network(
    genotype: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> None:
    torch.manual_seed(0)
    supernet = SPACE.supernet()
    assert isinstance(supernet, Mixture)
    gates = [
        torch.nn.functional.one_hot(torch.tensor(int(option)), len(gene.options)).float()
        for option, gene in zip(genotype, SPACE.genes, strict=True)
    ]
    x = torch.randn(4, 1, SPACE.image_size(genotype), SPACE.image_size(genotype))
    torch.testing.assert_close(supernet.mixed(x, gates), supernet(x, genotype), atol=1e-4, rtol=1e-4)


def test_every_gate_that_is_a_choice_gets_a_gradient() -> None:
    torch.manual_seed(0)
    supernet = SPACE.supernet()
    assert isinstance(supernet, Mixture)
    gates = [torch.full((len(gene.options),), 1 / len(gene.options), requires_grad=True) for gene in SPACE.genes]
    supernet.mixed(torch.randn(4, 1, 8, 8), gates).square().sum().backward()  # type: ignore[no-untyped-call]
    for gene, gate in zip(SPACE.genes, gates, strict=True):
        assert gate.grad is not None
        assert gate.grad.abs().max() > 0, gene.name


def test_the_expected_excess_has_the_slope_of_the_expectation() -> None:
    problem = Problem(SPACE, Positions(), Budget(latency_ms=2.0), 0)
    torch.manual_seed(1)
    scores = [torch.randn(len(gene.options), requires_grad=True) for gene in SPACE.genes]
    value = expected_excess(problem, scores, np.random.default_rng(0))
    value.backward()  # type: ignore[no-untyped-call]
    positions = torch.stack([(torch.softmax(s, 0) * torch.arange(len(s))).sum() for s in scores]).sum()
    exact = (1.0 + positions) / 2.0 - 1  # linear, as nearly all networks are over the budget
    assert value.item() == pytest.approx(exact.item(), rel=0.1)
    wanted = torch.autograd.grad(exact, scores)
    for score, slope in zip(scores, wanted, strict=True):
        torch.testing.assert_close(score.grad, slope, atol=0.03, rtol=0.1)


def test_what_is_learnt_keeps_the_budget_better_than_chance_and_is_drawn_from(tmp_path: Path) -> None:
    space = spaces.open("mobile", (1, 8, 8), 10, depths=[1, 2], activations=["relu"], squeeze_excite=[False])
    costs = Macs(space)
    limit = float(np.quantile(costs.costs(space.sample(np.random.default_rng(0), 200)).p50_ms, 0.3))
    problem = Problem(space, costs, Budget(latency_ms=limit), 0)
    settings = LearnSettings(epochs=2, chances_rate=0.2)
    learnt = learn(problem, tasks.open("digits"), settings=settings)
    rng = np.random.default_rng(0)

    def within(networks: Genotypes) -> float:
        return float(problem.budget.feasible(costs.costs(space.canonical(networks))).mean())

    assert within(learnt.sample(rng, 300)) > within(even(space).sample(rng, 300)) + 0.1
    learnt.save(tmp_path / "d.json", space)
    again = load(tmp_path / "d.json", space)
    for ours, theirs in zip(again.chances, learnt.chances, strict=True):
        np.testing.assert_allclose(ours, theirs)
    searcher = searchers.open("gradient", problem, distribution=str(tmp_path / "d.json"))
    np.testing.assert_array_equal(searcher.ask(1)[0], learnt.mode())
    with pytest.raises(InvalidData, match="another space"):
        load(tmp_path / "d.json", SPACE)
    with pytest.raises(InvalidData, match="cannot be read"):
        load(tmp_path / "none.json", space)


def test_a_supernet_that_is_no_mixture_is_refused() -> None:
    space = spaces.open("nasbench_macro", (1, 8, 8), 10)
    with pytest.raises(SearchError, match="cannot be all its networks at once"):
        learn(Problem(space, Positions(), Budget(latency_ms=5.0), 0), tasks.open("digits"))


def stopped_at(step: int) -> Callable[[Progress | Note], None]:
    """Interrupts the learning of a distribution when it is so far."""

    def on_event(event: Progress | Note) -> None:
        if isinstance(event, Progress) and (event.stage, event.done) == ("distribution", step):
            raise KeyboardInterrupt

    return on_event


def test_learning_that_was_interrupted_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    space = spaces.open("mobile", (1, 8, 8), 10, depths=[1], activations=["relu"], squeeze_excite=[False])
    problem, task = Problem(space, Positions(), Budget(latency_ms=6.0), 0), tasks.open("digits")
    settings = LearnSettings(epochs=3, batch_size=256)
    whole = learn(problem, task, settings=settings)
    with pytest.raises(KeyboardInterrupt):
        learn(problem, task, settings=settings, checkpoint=tmp_path / "c", on_event=stopped_at(6))
    told: list[Progress | Note] = []
    again = learn(problem, task, settings=settings, checkpoint=tmp_path / "c", on_event=told.append)
    first = told[0]
    assert isinstance(first, Progress)
    assert (first.done, first.total) == (5, 12), "epochs of four steps each end with a checkpoint"
    for ours, theirs in zip(again.chances, whole.chances, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_is_learnt_for_a_budget_that_cannot_be_met() -> None:
    with pytest.raises(InfeasibleBudget):
        learn(Problem(SPACE, Positions(), Budget(latency_ms=0.5), 0), tasks.open("digits"))


def configured(small_config: Path, **changed: dict[str, object]) -> Config:
    values = load_config(small_config).model_dump(mode="json", exclude_none=True)
    search = {"searcher": "gradient", "evaluations": 8, "generation": 4, "epochs": 2, "batch_size": 256}
    accuracy = {"model": "zero_cost", "proxy": "parameters"}
    return Config.model_validate(values | {"search": search, "accuracy": accuracy} | changed)


def test_a_run_learns_the_distribution_that_its_searcher_draws_from(
    small_run: Path, small_config: Path, tmp_path: Path
) -> None:
    config = configured(small_config)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, until="search", on_event=stopped_at(6))
    told: list[Progress | Note] = []
    found = run(config, tmp_path, until="search", on_event=told.append)
    assert [e.done for e in told if isinstance(e, Progress) and e.stage == "distribution"] == [5, 6, 7, 8]
    _, units = journal.read(tmp_path / "journal.jsonl")
    kinds = [unit["unit"] for unit in units]
    assert kinds[:4] == ["space", "profile", "budget", "distribution"]
    generations = [unit["genotypes"] for unit in units if unit["unit"] == "generation"]
    assert list(found.genotype) in [genotype for generation in generations for genotype in generation]
    told.clear()
    assert run(config, tmp_path, until="search", on_event=told.append) == found
    assert not [e for e in told if isinstance(e, Progress) and e.stage == "distribution"]


def test_a_distribution_that_is_given_is_not_learnt(small_run: Path, small_config: Path, tmp_path: Path) -> None:
    space = spaces.open("mobile", (1, 8, 8), 10, **load_config(small_config).space.settings)
    even(space).save(tmp_path / "given.json", space)
    search = {"searcher": "gradient", "evaluations": 4, "distribution": str(tmp_path / "given.json")}
    run(configured(small_config, search=search), tmp_path / "run", until="search")
    assert not (tmp_path / "run" / "work" / "distribution.json").exists()


@pytest.mark.parametrize(
    ("changed", "error", "wanted"),
    [
        ({"space": {"name": "nasbench_macro"}}, InvalidConfig, "cannot be"),
        ({"search": {"searcher": "gradient", "epoch": 2}}, ValueError, "did you mean 'epochs'"),
        ({"search": {"searcher": "gradient", "epochs": 0}}, ValueError, "epochs: Input should be greater than 0"),
        (
            {"search": {"searcher": "gradient", "distribution": "d.json", "epochs": 2}},
            ValueError,
            "no setting 'epochs'",
        ),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_anything_is_done(
    small_config: Path, tmp_path: Path, changed: dict[str, dict[str, object]], error: type[Exception], wanted: str
) -> None:
    with pytest.raises(error, match=wanted):
        run(configured(small_config, **changed), tmp_path / "run")
    assert not (tmp_path / "run").exists()
