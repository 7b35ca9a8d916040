"""Gradient search: the chances of a space's options are learnt together with the weights of its supernet.

Each step draws gates by Gumbel-softmax and runs the mixture of all networks that they make (Wu et al. 2019, "FBNet",
section 3.2); weights learn from training images, chances from validation images (Liu et al. 2019, "DARTS", section 2.3,
first order). To the chances' loss is added what the budget is expected to be exceeded by (Cai et al. 2019, "ProxylessNAS",
section 3.3, has the expected latency).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from devices.events import OnEvent, Progress, ignore
from hwnas.errors import SearchError
from hwnas.task import Task, normalize
from hwnas.training import checkpoint as checkpoints
from hwnas.training.accelerator import accelerator
from hwnas.training.batches import batches, steps_per_epoch
from hwnas.training.determinism import reproducible
from hwnas.training.distribution import Distribution
from hwnas.training.settings import LearnSettings
from hwnas.training.streams import Stream

if TYPE_CHECKING:
    from hwnas.problem import Problem
    from hwnas.space import SearchSpace

_COOLED = 0.1  # temperature of the gates at the end; 5 at the beginning is FBNet's
_WARM = 5.0
CHECKPOINT_STEPS = 200
_NETWORKS = 32  # drawn in each step to see what the budget is exceeded by


@runtime_checkable
class Mixture(Protocol):
    """A supernet that can be all its networks at once."""

    def mixed(self, x: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """Logits, with how much each option of each gene counts."""


def has_mixture(space: SearchSpace) -> bool:
    """Whether a space's supernet can be all its networks at once."""
    return isinstance(space.supernet(), Mixture)


def learn(
    problem: Problem,
    task: Task,
    *,
    settings: LearnSettings | None = None,
    checkpoint: Path | None = None,
    on_event: OnEvent = ignore,
) -> Distribution:
    """The distribution that promises most on validation images within the budget; a searcher draws from it.

    Goes on from ``checkpoint`` if that is given and exists, bit for bit; it is written at the end of every epoch, and every
    :data:`CHECKPOINT_STEPS` steps.

    Raises:
        SearchError: the space's supernet is no mixture.
        InfeasibleBudget: no network meets the budget; nothing was learnt.
        ProvenanceMismatch: the checkpoint belongs to another problem, task or settings.
        HwnasError: the checkpoint is damaged or cannot be written.
    """
    settings = settings or LearnSettings()
    space, seed = problem.space, problem.seed
    problem.require_feasible()
    with reproducible(seed):
        supernet = space.supernet().to(accelerator())
        if not isinstance(supernet, Mixture):
            raise SearchError(
                f"The supernet of {type(space).__name__} cannot be all its networks at once.",
                hint="Gradient search needs a supernet with a method mixed; 'guided' does not.",
            )
        state = _State(supernet, space, settings)
        header = _header(problem, task, settings)
        saved = None if checkpoint is None else checkpoints.read(checkpoint, header)
        if saved is not None:
            state.load(*saved)
        per_epoch = steps_per_epoch(len(task.train), settings.batch_size)
        total = settings.epochs * per_epoch
        seen = batches(
            task.train,
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            shift=0,
            flip=task.flip,
            seed=seed,
            first_step=state.step,
        )
        for images, labels in seen:
            rng = Stream.GATES.rng(seed, state.step)
            temperature = _WARM * (_COOLED / _WARM) ** (state.step / total)
            rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * state.step / total))
            state.weights.zero_grad()
            _loss(problem, supernet, state.scores, temperature, images, labels, task, rng).backward()  # type: ignore[no-untyped-call]
            state.move_weights(rate)
            detail = ""
            if state.step >= total // 5:
                chosen = rng.integers(0, len(task.validation), settings.batch_size)
                held_out, known = task.validation.images[chosen], task.validation.labels[chosen]
                state.chances.zero_grad()
                loss = _loss(problem, supernet, state.scores, temperature, held_out, known, task, rng)
                loss = loss + settings.excess_weight * expected_excess(problem, state.scores, rng)
                loss.backward()  # type: ignore[no-untyped-call]
                state.chances.step()
                detail = f"loss {loss.item():.3f}"
            state.step += 1
            if checkpoint is not None and (state.step % per_epoch == 0 or state.step % CHECKPOINT_STEPS == 0):
                checkpoints.write(checkpoint, state.tensors(), header=header, state={"step": state.step})
            on_event(Progress("distribution", state.step, total, detail))
    return Distribution(tuple(_chances(score) for score in state.scores))


class _State:
    """Everything that changes from step to step."""

    def __init__(self, supernet: nn.Module, space: SearchSpace, settings: LearnSettings) -> None:
        self.step = 0
        self.scores = [torch.zeros(len(gene.options), requires_grad=True, device=accelerator()) for gene in space.genes]
        self.weights = torch.optim.SGD(
            supernet.parameters(), lr=settings.learning_rate, momentum=0.9, weight_decay=1e-4
        )
        self.chances = torch.optim.Adam(self.scores, lr=settings.chances_rate)
        self._supernet = supernet
        for parameter in supernet.parameters():
            self.weights.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        for score in self.scores:
            moments = {name: torch.zeros_like(score) for name in ("exp_avg", "exp_avg_sq")}
            self.chances.state[score] |= {"step": torch.tensor(0.0), **moments}

    def move_weights(self, rate: float) -> None:
        """Use the weights' gradients."""
        for group in self.weights.param_groups:
            group["lr"] = rate
        self.weights.step()

    def tensors(self) -> dict[str, Tensor]:
        """By name, as they are, not copied."""
        momenta = {n: self.weights.state[p]["momentum_buffer"] for n, p in self._supernet.named_parameters()}
        found = {f"model/{name}": tensor for name, tensor in self._supernet.state_dict().items()}
        found |= {f"momentum/{name}": tensor for name, tensor in momenta.items()}
        for i, score in enumerate(self.scores):
            found |= {f"score/{i}": score} | {f"{name}/{i}": t for name, t in self.chances.state[score].items()}
        return found

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`tensors`, and how far it was."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])
        self.step = state["step"]


def _header(problem: Problem, task: Task, settings: LearnSettings) -> dict[str, Any]:
    """What a checkpoint belongs to."""
    return {
        "training": "distribution",
        "settings": settings.model_dump(),
        "seed": problem.seed,
        "genes": problem.space.genes_to_json(),
        "budget": asdict(problem.budget),
        "data": task.train.crc32(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": accelerator().type,
    }


def expected_excess(problem: Problem, scores: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
    """What networks drawn by ``scores`` (logits for each gene) exceed the budget by on average, with its gradient.

    The expectation is linear in the chances of each gene, and its slope for an option is what networks exceed the budget by that
    have it: so the costs may be any, compiled, tabulated or of several devices, and need no derivative of their own.
    """
    drawn = Distribution(tuple(_chances(score) for score in scores)).sample(rng, _NETWORKS)
    around = problem.neighbours(problem.space.canonical(drawn))
    n, options, genes = around.shape
    excess = problem.excess(around.reshape(n * options, genes)).reshape(n, options).mean(axis=0)
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
    rng: np.random.Generator,
) -> Tensor:
    """Cross-entropy of a mixture that is drawn by the scores, by Gumbel-softmax."""
    drawn = [torch.from_numpy(rng.gumbel(size=len(score))).to(score) for score in scores]
    gates = [torch.softmax((score + noise) / temperature, 0) for score, noise in zip(scores, drawn, strict=True)]
    strongest = np.array([int(gate.argmax()) for gate in gates])
    size = problem.space.image_size(strongest)
    x = torch.from_numpy(normalize(images, task, size)).to(accelerator())
    return F.cross_entropy(supernet.mixed(x, gates), torch.from_numpy(labels).to(accelerator()))


def _chances(score: Tensor) -> NDArray[np.float64]:
    chances = torch.softmax(score.detach().cpu().double(), 0).numpy()
    return np.asarray(chances / chances.sum(), np.float64)
