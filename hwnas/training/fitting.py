"""The one training loop: steps, schedule, weight averaging, checkpoints. Networks and supernets differ in how a step gets its
gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from devices.events import OnEvent, Progress
from hwnas.task import Task
from hwnas.training import checkpoint as checkpoints
from hwnas.training.batches import batches, steps_per_epoch
from hwnas.training.settings import FitSettings

Backward = Callable[[NDArray[np.uint8], NDArray[np.int64], int], tuple[float, float]]
"""Images ``(b, C, H, W)``, labels ``(b,)`` and the step's number to mean loss and fraction correct; leaves gradients."""
Validate = Callable[[], float]
"""Accuracy of the module with the weights it has, a fraction; may set batch norm's statistics to what belongs to them."""
Enough = Callable[[Sequence["Epoch"]], bool]
"""Whether the epochs done so far are enough for now."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of training: mean loss and accuracy over its augmented batches, and the validation accuracy of the averaged
    weights at its end; None if that was not asked for."""

    loss: float
    accuracy: float
    validation_accuracy: float | None = None


def fit(
    module: nn.Module,
    task: Task,
    backward: Backward,
    *,
    settings: FitSettings,
    seed: int,
    checkpoint: Path,
    provenance: Mapping[str, Any],
    stage: str,
    on_event: OnEvent,
    validate: Validate | None = None,
    patience: int = 0,
    enough: Enough | None = None,
    history: list[Epoch] | None = None,
) -> tuple[Epoch, ...]:
    """Train ``module`` and leave the average of its weights in it. Goes on from ``checkpoint`` if that exists, bit for bit.

    With ``validate`` it is the average as it was at the end of the epoch that validates best, the last of equals.

    Args:
        module: its parameters get their gradients from ``backward``.
        task: gives the training images.
        backward: one step's gradients.
        settings: of the optimisation.
        seed: with the step's number decides order and augmentation.
        checkpoint: written as the training goes on, and at its end.
        provenance: JSON-able; what else must be the same for a checkpoint to fit.
        stage: name of the work in progress events.
        on_event: told after each step; at the end of an epoch, of its figures too.
        validate: asked at the end of each epoch, with the averaged weights in ``module``.
        patience: epochs of worse validation after which the training ends; 0 is never.
        enough: asked at the end of each epoch; where it says so, the training pauses as if it had ended. The same call, when
            asked for more, goes on.
        history: an empty list that is kept to the epochs done so far, for ``backward`` to look at.

    Raises:
        ProvenanceMismatch: the checkpoint belongs to another training.
        HwnasError: the checkpoint is damaged or cannot be written.
    """
    header = {
        "schema": 1,
        "settings": settings.model_dump(),
        "seed": seed,
        "data": task.train.crc32(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **provenance,
    }
    per_epoch = steps_per_epoch(len(task.train), settings.batch_size)
    total = settings.epochs * per_epoch
    state = _State(module, settings, [] if history is None else history)
    saved = checkpoints.read(checkpoint, header)
    if saved is not None:
        state.load(*saved)
    keep = 1 - math.exp(-1 / (settings.averaging * total))
    steps = batches(
        task.train,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        shift=round(settings.shift * max(task.input_shape[1:])),
        flip=task.flip,
        erase=settings.erase,
        seed=seed,
        first_step=state.step,
    )
    module.train()

    def done() -> bool:
        return state.out_of(patience) or (enough is not None and enough(state.history))

    ended = done()
    while not ended and (batch := next(steps, None)) is not None:
        state.advance(backward(*batch, state.step), rate=learning_rate(state.step, total, settings), keep=keep)
        if state.step % per_epoch == 0:
            state.end_epoch(per_epoch, validate)
            ended = done()
        if state.step % settings.checkpoint_steps == 0 or state.step % per_epoch == 0:
            checkpoints.write(checkpoint, state.tensors(), header=header, state=state.to_json())
        figures = state.figures() if state.step % per_epoch == 0 else {}
        on_event(Progress(stage, state.step, state.step if ended else total, state.describe(settings.epochs), figures))
    state.finish()
    return tuple(state.history)


def learning_rate(step: int, total: int, settings: FitSettings) -> float:
    """One cycle (Smith 2018): a linear rise to the peak, then a cosine to zero."""
    rise = settings.warmup * total
    if step < rise:
        return settings.learning_rate * (step + 1) / (rise + 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (total - rise)))


class _State:
    """Everything that changes from step to step."""

    def __init__(self, module: nn.Module, settings: FitSettings, history: list[Epoch]) -> None:
        self.module = module
        self.parameters = dict(module.named_parameters())
        decayed = [p for p in self.parameters.values() if p.ndim > 1]
        others = [p for p in self.parameters.values() if p.ndim <= 1]
        self.optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            foreach=True,
        )
        for parameter in self.parameters.values():
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        # Integer buffers (batch norm counts its batches) are not averaged: the average has them in common.
        self.tracked = [t for t in module.state_dict().values() if t.is_floating_point()]
        self.average = [t.detach().clone() for t in self.tracked]
        self.best = [t.clone() for t in self.average]
        self.step = 0
        self.last_loss = 0.0
        self.sums = (0.0, 0.0)
        self.history = history

    def advance(self, result: tuple[float, float], *, rate: float, keep: float) -> None:
        """Use the gradients that are there, and count the step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        torch._foreach_lerp_(self.average, self.tracked, keep)
        self.step += 1
        self.last_loss = result[0]
        self.sums = (self.sums[0] + result[0], self.sums[1] + result[1])

    def end_epoch(self, steps: int, validate: Validate | None) -> None:
        """Count the epoch, and keep the average if it is the best so far, or if nobody says."""
        current = [t.clone() for t in self.tracked]
        with torch.no_grad():
            torch._foreach_copy_(self.tracked, self.average)
        accuracy = None if validate is None else validate()
        self.history.append(Epoch(self.sums[0] / steps, self.sums[1] / steps, accuracy))
        self.sums = (0.0, 0.0)
        with torch.no_grad():
            if self._best_epoch() == len(self.history) - 1:
                torch._foreach_copy_(self.best, self.tracked)
            torch._foreach_copy_(self.tracked, current)
        self.module.train()

    def out_of(self, patience: int) -> bool:
        """Whether the last ``patience`` epochs were all worse than one before them."""
        return 0 < patience < len(self.history) - self._best_epoch()

    def _best_epoch(self) -> int:
        """Index of the last epoch that no other is better than; 0 before the first."""
        accuracies = [epoch.validation_accuracy or 0.0 for epoch in self.history]
        return max(range(len(accuracies)), key=lambda i: (accuracies[i], i), default=0)

    def describe(self, epochs: int) -> str:
        """How far it is, for people."""
        last = self.history[-1].validation_accuracy if self.history else None
        validated = "" if last is None else f", validation {last:.2%}"
        return f"epoch {min(len(self.history) + 1, epochs)}/{epochs}, loss {self.last_loss:.3f}{validated}"

    def figures(self) -> dict[str, float]:
        """What the last epoch came to."""
        return {name: value for name, value in asdict(self.history[-1]).items() if value is not None}

    def finish(self) -> None:
        """Leave the best average in the module."""
        with torch.no_grad():
            torch._foreach_copy_(self.tracked, self.best)

    def _momenta(self) -> dict[str, Tensor]:
        return {name: self.optimizer.state[p]["momentum_buffer"] for name, p in self.parameters.items()}

    def tensors(self) -> dict[str, Tensor]:
        model = self.module.state_dict()
        averaged = [name for name, t in model.items() if t.is_floating_point()]
        return (
            {f"model/{name}": t for name, t in model.items()}
            | {f"momentum/{name}": t for name, t in self._momenta().items()}
            | {f"average/{name}": t for name, t in zip(averaged, self.average, strict=True)}
            | {f"best/{name}": t for name, t in zip(averaged, self.best, strict=True)}
        )

    def to_json(self) -> dict[str, Any]:
        return {"step": self.step, "sums": list(self.sums), "history": [asdict(e) for e in self.history]}

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])
        self.step = state["step"]
        self.sums = (state["sums"][0], state["sums"][1])
        self.history[:] = [Epoch(**e) for e in state["history"]]
