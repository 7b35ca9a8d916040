"""Gradient search: the chances of a space's options are learnt together with the weights of its supernet.

Each step draws gates by Gumbel-softmax and runs the mixture of all networks that they make (Wu et al. 2019, "FBNet",
section 3.2); weights learn from training images, chances from validation images (Liu et al. 2019, "DARTS", section 2.3,
first order). To the chances' loss is added what the budget is expected to be exceeded by (Cai et al. 2019, "ProxylessNAS",
section 3.3, has the expected latency).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor

from devices.events import OnEvent, Progress, ignore
from hwnas.accelerator import accelerator
from hwnas.batches import batches, steps_per_epoch
from hwnas.determinism import reproducible
from hwnas.distribution import Distribution
from hwnas.errors import SearchError
from hwnas.task import Task, normalize

if TYPE_CHECKING:
    from hwnas.problem import Problem

_COOLED = 0.1  # temperature of the gates at the end; 5 at the beginning is FBNet's
_WARM = 5.0
_NETWORKS = 32  # drawn in each step to see what the budget is exceeded by


@runtime_checkable
class Mixture(Protocol):
    """A supernet that can be all its networks at once."""

    def mixed(self, x: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """Logits, with how much each option of each gene counts."""


@dataclass(frozen=True)
class LearnSettings:
    """How a distribution is learnt.

    Attributes:
        epochs: passes over the training images; in the first fifth the chances stay as they are.
        batch_size: images in a step, of either split.
        learning_rate: of the weights (SGD with momentum 0.9, cosine schedule).
        chances_rate: of the chances (Adam).
        excess_weight: of the expected excess over the budget, beside a cross-entropy.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 0.1
    chances_rate: float = 0.05
    excess_weight: float = 5.0


def learn(
    problem: Problem, task: Task, *, settings: LearnSettings | None = None, on_event: OnEvent = ignore
) -> Distribution:
    """The distribution that promises most on validation images within the budget; a searcher draws from it.

    Raises:
        SearchError: the space's supernet is no mixture.
    """
    settings = settings or LearnSettings()
    space, seed = problem.space, problem.seed
    rng = np.random.default_rng(seed)
    with reproducible(seed):
        supernet = space.supernet().to(accelerator())
        if not isinstance(supernet, Mixture):
            raise SearchError(
                f"The supernet of {type(space).__name__} cannot be all its networks at once.",
                hint="Gradient search needs a supernet with a method mixed; 'guided' does not.",
            )
        scores = [torch.zeros(len(gene.options), requires_grad=True, device=accelerator()) for gene in space.genes]
        steps = settings.epochs * steps_per_epoch(len(task.train), settings.batch_size)
        weights = torch.optim.SGD(supernet.parameters(), lr=settings.learning_rate, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(weights, steps)
        chances = torch.optim.Adam(scores, lr=settings.chances_rate)
        seen = batches(
            task.train, batch_size=settings.batch_size, epochs=settings.epochs, shift=0, flip=task.flip, seed=seed
        )
        for step, (images, labels) in enumerate(seen):
            temperature = _WARM * (_COOLED / _WARM) ** (step / steps)
            weights.zero_grad()
            _loss(problem, supernet, scores, temperature, images, labels, task).backward()  # type: ignore[no-untyped-call]
            weights.step()
            schedule.step()
            if step >= steps // 5:
                chosen = rng.integers(0, len(task.validation), settings.batch_size)
                held_out, known = task.validation.images[chosen], task.validation.labels[chosen]
                chances.zero_grad()
                loss = _loss(problem, supernet, scores, temperature, held_out, known, task)
                loss = loss + settings.excess_weight * expected_excess(problem, scores, rng)
                loss.backward()  # type: ignore[no-untyped-call]
                chances.step()
            on_event(Progress("distribution", step + 1, steps, f"loss {loss.item():.3f}" if step >= steps // 5 else ""))
    return Distribution(tuple(_chances(score) for score in scores))


def expected_excess(problem: Problem, scores: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
    """What networks drawn by ``scores`` (logits for each gene) exceed the budget by on average, with its gradient.

    The expectation is linear in the chances of each gene, and its slope for an option is what networks exceed the budget by that
    have it: so the costs may be any, compiled, tabulated or of several devices, and need no derivative of their own.
    """
    drawn = Distribution(tuple(_chances(score) for score in scores)).sample(rng, _NETWORKS)
    around = problem.neighbours(problem.space.canonical(drawn))
    n, options, genes = around.shape
    excess = (
        problem.budget.excess(problem.costs.costs(around.reshape(n * options, genes))).reshape(n, options).mean(axis=0)
    )
    slopes = torch.split(torch.from_numpy(excess).to(scores[0]), [len(score) for score in scores])
    per_gene = [torch.softmax(score, 0) @ slope for score, slope in zip(scores, slopes, strict=True)]
    value = torch.stack(per_gene).mean()
    return value.detach() + torch.stack([gene - gene.detach() for gene in per_gene]).sum()


def _loss(
    problem: Problem,
    supernet: Mixture,
    scores: Sequence[Tensor],
    temperature: float,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    task: Task,
) -> Tensor:
    """Cross-entropy of a mixture that is drawn by the scores."""
    gates = [F.gumbel_softmax(score, temperature) for score in scores]
    strongest = np.array([int(gate.argmax()) for gate in gates])
    size = problem.space.image_size(strongest)
    x = torch.from_numpy(normalize(images, task, size)).to(accelerator())
    return F.cross_entropy(supernet.mixed(x, gates), torch.from_numpy(labels).to(accelerator()))


def _chances(score: Tensor) -> NDArray[np.float64]:
    chances = torch.softmax(score.detach().cpu().double(), 0).numpy()
    return np.asarray(chances / chances.sum(), np.float64)
