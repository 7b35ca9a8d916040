"""Accuracy of networks trained alone in rounds, of which each goes on with the best: successive halving (Jamieson and Talwalkar
2016, "Non-stochastic best arm identification and hyperparameter optimization", figure 1) and, with several brackets, Hyperband
(Li et al. 2018, "Hyperband", algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent
from devices.journal import Journal
from hwnas.accuracy._alone import Alone
from hwnas.space import Genotypes, SearchSpace
from hwnas.task import Task
from hwnas.train_settings import HalvingSettings

if TYPE_CHECKING:
    from hwnas.fitting import Epoch

_FEWEST_CURVES = 5  # before a median says something

Genotype = tuple[int, ...]


class Halving:
    """Trains the networks of a call together: all of them for the first round, the best for the next, from where they were.

    A network's number is from the last round it was in, and :meth:`sources` says which. So it depends on the networks that it was
    asked with; those that went further nearly always have the higher one. A training also ends where the curve says that it lags:
    at the end of an epoch in which its best validation accuracy is below the median of those that other networks had by then
    (Golovin et al. 2017, "Google Vizier", section 3.2.2).

    What it did stands in a journal of its own, so that a call that was killed goes on where it was, to the same bits.
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
            "genes": [[gene.name, list(gene.options)] for gene in space.genes],
        }
        self._answers: dict[Genotype, tuple[float, int]] = {}

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions of the validation images classified correctly, after as many epochs as :meth:`sources` says."""
        return np.array([accuracy for accuracy, _ in self._answered(genotypes)], np.float64)

    def sources(self, genotypes: Genotypes) -> list[str]:
        """Of each network after how many epochs its number was taken."""
        return [f"trained {epochs} of {self._settings.epochs} epochs" for _, epochs in self._answered(genotypes)]

    def _answered(self, genotypes: Genotypes) -> list[tuple[float, int]]:
        asked = [tuple(row) for row in genotypes.tolist()]
        if any(genotype not in self._answers for genotype in asked):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with Journal(self._path, self._header) as journal:
                for unit in _units(journal, "call"):
                    self._note(unit)
                new = [genotype for genotype in dict.fromkeys(asked) if genotype not in self._answers]
                if new:
                    journal.append(self._call(new, journal))
                    self._note(journal.units[-1])
        return [self._answers[genotype] for genotype in asked]

    def _note(self, call: dict[str, Any]) -> None:
        for genotype, accuracy, epochs in zip(call["genotypes"], call["accuracy"], call["epochs"], strict=True):
            self._answers[tuple(genotype)] = accuracy, epochs

    def _call(self, genotypes: list[Genotype], journal: Journal) -> dict[str, Any]:
        """All rounds; what is to be written when they are over."""
        begun = len(_units(journal, "call")) % self._settings.brackets
        found: dict[Genotype, dict[str, Any]] = {}
        left = genotypes
        for epochs in self._settings.rounds[begun:]:
            found |= {genotype: self._trained(genotype, epochs, journal) for genotype in left}
            best = sorted(left, key=lambda genotype: -float(found[genotype]["accuracy"]))
            left = best[: math.ceil(len(left) / self._settings.reduction)]
        return {
            "unit": "call",
            "genotypes": [list(genotype) for genotype in genotypes],
            "accuracy": [found[genotype]["accuracy"] for genotype in genotypes],
            "epochs": [len(found[genotype]["curve"]) for genotype in genotypes],
        }

    def _trained(self, genotype: Genotype, epochs: int, journal: Journal) -> dict[str, Any]:
        """The unit of one network at the end of one round; from the journal where it has it."""
        done = _units(journal, "trained")
        for unit in done:
            if tuple(unit["genotype"]) == genotype and unit["round"] == epochs:
                return unit
        others = {tuple(unit["genotype"]): unit["curve"] for unit in done}
        others.pop(genotype, None)

        def enough(history: Sequence[Epoch]) -> bool:
            curve = [epoch.validation_accuracy or 0.0 for epoch in history]
            return len(curve) >= epochs or lags(curve, list(others.values()))

        accuracy, curve = self._alone.trained(np.array(genotype, np.int64), enough)
        unit = {
            "unit": "trained",
            "genotype": list(genotype),
            "round": epochs,
            "accuracy": accuracy,
            "curve": list(curve),
        }
        journal.append(unit)
        return unit


def lags(curve: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether the best of ``curve`` is below the median of the bests that ``others`` had after as many epochs. Where few of them
    got so far, nothing does."""
    epochs = len(curve)
    bests = [max(other[:epochs]) for other in others if len(other) >= epochs > 0]
    return len(bests) >= _FEWEST_CURVES and max(curve) < float(np.median(bests))


def _units(journal: Journal, kind: str) -> list[dict[str, Any]]:
    return [unit for unit in journal.units if unit["unit"] == kind]


PLUGIN = Halving
