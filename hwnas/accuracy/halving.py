"""Accuracy of networks trained alone in rounds, of which each goes on with the best: successive halving (Jamieson and Talwalkar
2016, "Non-stochastic best arm identification and hyperparameter optimization", figure 1) and, with several brackets, Hyperband
(Li et al. 2018, "Hyperband", algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent
from devices.journal import Journal
from hwnas.accuracy._alone import Alone
from hwnas.space import Genotypes, SearchSpace
from hwnas.task import Task
from hwnas.training.settings import HalvingSettings

if TYPE_CHECKING:
    from hwnas.accuracy import EvaluateAll
    from hwnas.training.fitting import Epoch

_FEWEST_CURVES = 5  # before a median says something

Genotype = tuple[int, ...]


class Halving:
    """Trains the networks of a call together: all of them for the first round, the best for the next, from where they were.

    A network's number is from the last round it was in, and :meth:`sources` says which. So it depends on the networks that it was
    asked with; those that went further nearly always have the higher one. A training also ends where the curve says that it lags:
    at the end of an epoch in which its best validation accuracy is below the median of those that networks of earlier rounds had
    by then (Golovin et al. 2017, "Google Vizier", section 3.2.2).

    The rounds stand in a journal of its own, and every training has a checkpoint, so that a call that was killed goes on where it
    was, to the same bits.
    """

    Settings = HalvingSettings
    source = "halving"

    def __init__(
        self,
        space: SearchSpace,
        task: Task,
        *,
        settings: HalvingSettings,
        seed: int,
        folder: Path,
        on_event: OnEvent,
    ) -> None:
        self._alone = Alone(space, task, settings=settings, seed=seed, folder=folder, on_event=on_event)
        self._settings, self._path = settings, folder / "halving.jsonl"
        self._header = {
            "schema": 1,
            "settings": settings.model_dump(),
            "seed": seed,
            "task": task.name,
            "genes": space.genes_to_json(),
        }
        self._answers: dict[Genotype, tuple[float, int]] = {}

    def prepare(self) -> Sequence[Path]:
        """Trainings share nothing."""
        return ()

    def evaluate(self, asked: Training) -> Trained:
        """One training, as far as it is to go in this round; from where it was, if its checkpoint is here."""

        def enough(history: Sequence[Epoch]) -> bool:
            curve = [epoch.validation_accuracy or 0.0 for epoch in history]
            return len(curve) >= asked.epochs or (len(curve) >= asked.trained and lags(curve, asked.medians))

        return Trained(*self._alone.trained(np.array(asked.genotype, np.int64), enough))

    def accuracy(self, genotypes: Genotypes, evaluate_all: EvaluateAll | None = None) -> NDArray[np.float64]:
        """``(n,)`` fractions of the validation images classified correctly, after as many epochs as :meth:`sources` says; see
        :class:`hwnas.accuracy.Copyable`."""
        return np.array([accuracy for accuracy, _ in self._answered(genotypes, evaluate_all)], np.float64)

    def sources(self, genotypes: Genotypes) -> list[str]:
        """Of each network after how many epochs its number was taken."""
        return [f"trained {epochs} of {self._settings.epochs} epochs" for _, epochs in self._answered(genotypes)]

    def _answered(self, genotypes: Genotypes, evaluate_all: EvaluateAll | None = None) -> list[tuple[float, int]]:
        asked = [tuple(row) for row in genotypes.tolist()]
        if any(genotype not in self._answers for genotype in asked):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with Journal(self._path, self._header) as journal:
                for unit in _units(journal, "call"):
                    self._note(unit)
                new = [genotype for genotype in dict.fromkeys(asked) if genotype not in self._answers]
                if new:
                    here = partial(map, self.evaluate)
                    journal.append(self._call(new, journal, evaluate_all or here))
                    self._note(journal.units[-1])
        return [self._answers[genotype] for genotype in asked]

    def _note(self, call: dict[str, Any]) -> None:
        for genotype, accuracy, epochs in zip(call["genotypes"], call["accuracy"], call["epochs"], strict=True):
            self._answers[tuple(genotype)] = accuracy, epochs

    def _call(self, genotypes: list[Genotype], journal: Journal, evaluate_all: EvaluateAll) -> dict[str, Any]:
        """All rounds; what is to be written when they are over."""
        call = len(_units(journal, "call"))
        found: dict[Genotype, Trained] = {}
        left = genotypes
        for epochs in self._settings.rounds[call % self._settings.brackets :]:
            found |= zip(left, self._round(call, epochs, left, journal, evaluate_all), strict=True)
            best = sorted(left, key=lambda genotype: -found[genotype].accuracy)
            left = best[: math.ceil(len(left) / self._settings.reduction)]
        return {
            "unit": "call",
            "genotypes": [list(genotype) for genotype in genotypes],
            "accuracy": [found[genotype].accuracy for genotype in genotypes],
            "epochs": [len(found[genotype].curve) for genotype in genotypes],
        }

    def _round(
        self, call: int, epochs: int, genotypes: list[Genotype], journal: Journal, evaluate_all: EvaluateAll
    ) -> list[Trained]:
        """What the networks came to at the end of one round; from the journal where it has the round."""
        curves: dict[Genotype, list[float]] = {}
        for unit in _units(journal, "round"):
            if (unit["call"], unit["epochs"]) == (call, epochs):
                return [Trained(*both) for both in zip(unit["accuracy"], unit["curves"], strict=True)]
            curves |= {tuple(g): curve for g, curve in zip(unit["genotypes"], unit["curves"], strict=True)}
        asked = [
            Training(
                genotype,
                epochs,
                trained=len(curves.get(genotype, ())),
                medians=medians([curve for other, curve in curves.items() if other != genotype]),
            )
            for genotype in genotypes
        ]
        trained: list[Trained] = list(evaluate_all(asked))
        journal.append(
            {
                "unit": "round",
                "call": call,
                "epochs": epochs,
                "genotypes": [list(genotype) for genotype in genotypes],
                "accuracy": [one.accuracy for one in trained],
                "curves": [list(one.curve) for one in trained],
            }
        )
        return trained


@dataclass(frozen=True, slots=True)
class Training:
    """What a network is to be trained for.

    Attributes:
        genotype: of the network.
        epochs: up to which it is trained, those before this round included.
        trained: epochs before this round; wherever they are trained once more, they are not stopped.
        medians: see :func:`medians`.
    """

    genotype: Genotype
    epochs: int
    trained: int
    medians: Sequence[float]


@dataclass(frozen=True, slots=True)
class Trained:
    """Accuracy on the validation images that rank networks, and the validation accuracies by epoch."""

    accuracy: float
    curve: Sequence[float]


def medians(curves: Sequence[Sequence[float]]) -> list[float]:
    """By epoch the median of the best that each of the ``curves`` had by then; as long as enough of them got so far."""
    found: list[float] = []
    while len(bests := [max(curve[: len(found) + 1]) for curve in curves if len(curve) > len(found)]) >= _FEWEST_CURVES:
        found.append(float(np.median(bests)))
    return found


def lags(curve: Sequence[float], medians: Sequence[float]) -> bool:
    """Whether the best of ``curve`` is below what ``medians`` has for as many epochs."""
    return 0 < len(curve) <= len(medians) and max(curve) < medians[len(curve) - 1]


def _units(journal: Journal, kind: str) -> list[dict[str, Any]]:
    return [unit for unit in journal.units if unit["unit"] == kind]


PLUGIN = Halving
