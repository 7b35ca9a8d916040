"""Accuracy as predicted from that of some hundred random networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from devices.events import Note, OnEvent, Progress
from devices.journal import Journal
from hwnas import accuracy
from hwnas.accuracy import Copyable, KnowsSome, is_score
from hwnas.accuracy._member import Member
from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.problem import unseen
from hwnas.settings import Settings
from hwnas.space import Genotypes, SearchSpace
from hwnas.task import Task

if TYPE_CHECKING:
    from hwnas.accuracy import EvaluateAll

_AT_A_TIME = 20


class PredictorSettings(Settings):
    """What it learns from.

    Attributes:
        of: the model that says how accurate networks are.
        networks: how many, drawn at random from the space.
    """

    of: Member
    networks: Annotated[int, Field(ge=2)] = 200


class Predictor:
    """Learns once, when first asked, and answers for 10⁶ networks in seconds (Wen et al. 2020, "Neural predictor for neural
    architecture search", section 2). How well it ranks networks held out is told in a note. What was evaluated stands in a
    journal of its own, so that a call that was killed goes on."""

    Settings = PredictorSettings

    def __init__(
        self, space: SearchSpace, task: Task, *, settings: PredictorSettings, seed: int, folder: Path, on_event: OnEvent
    ) -> None:
        self._space, self._settings, self._seed, self._on_event = space, settings, seed, on_event
        self._path = folder / "predictor.jsonl"
        self._header = {
            "schema": 1,
            "settings": settings.model_dump(mode="json"),
            "seed": seed,
            "task": task.name,
            "genes": space.genes_to_json(),
        }
        of = settings.of
        self._of = accuracy.open(
            of.model, space, task, settings=of.settings, seed=seed, folder=folder / of.model, on_event=on_event
        )
        self._fitted: AccuracyPredictor | None = None
        self.source = "predicted score" if is_score(self._of.source) else "predicted"

    def prepare(self) -> Sequence[Path]:
        """What the model needs that it learns from."""
        return self._of.prepare() if isinstance(self._of, Copyable) else ()

    def evaluate(self, asked: NDArray[np.int64]) -> float:
        """What it learns of network ``(G,)``."""
        return float(self._of.accuracy(asked[None])[0])

    def accuracy(self, genotypes: Genotypes, evaluate_all: EvaluateAll | None = None) -> NDArray[np.float64]:
        """``(n,)`` predicted numbers; see :class:`hwnas.accuracy.Copyable`."""
        if self._fitted is None:
            networks, numbers = self._evaluated(evaluate_all or partial(map, self.evaluate))
            self._fitted = AccuracyPredictor(self._space).fit(networks, numbers)
            self._on_event(
                Note(
                    f"Accuracies are predicted from those of {len(networks)} networks; on networks held out, Kendall's τ "
                    f"{self._fitted.tau_:.2f}."
                )
            )
        return self._fitted.accuracy(genotypes)

    def _evaluated(self, evaluate_all: EvaluateAll) -> tuple[Genotypes, NDArray[np.float64]]:
        """The networks with their numbers, evaluated some at a time as far as the journal does not have them."""
        space = self._of.space if isinstance(self._of, KnowsSome) else self._space
        drawn = unseen(space.sample(np.random.default_rng(self._seed), self._settings.networks), set())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with Journal(self._path, self._header) as journal:
            numbers = [number for unit in journal.units for number in unit["accuracy"]]
            while len(numbers) < len(drawn):
                networks = drawn[len(numbers) : len(numbers) + _AT_A_TIME]
                found = [float(number) for number in evaluate_all(list(networks))]
                journal.append({"unit": "evaluated", "genotypes": networks.tolist(), "accuracy": found})
                numbers += found
                self._on_event(Progress("networks to learn from", len(numbers), len(drawn)))
        return drawn, np.array(numbers, np.float64)


PLUGIN = Predictor
