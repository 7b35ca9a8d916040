"""Networks ranked without training them, by what their first weights make of one batch of training images."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from devices.events import OnEvent, Progress
from hwnas.one_by_one import remembered
from hwnas.settings import Settings
from hwnas.space import Genotypes, SearchSpace
from hwnas.task import Task, some

_REFERENCES = 32  # random networks whose scores say what is high and what is low
_QUARTILES = 1.349  # how many standard deviations of a normal distribution lie between its quartiles


class ZeroCostSettings(Settings):
    """What is asked of each network.

    Attributes:
        proxy: see :data:`hwnas.accuracy._proxies.PROXIES`.
        batch_size: training images that the network is shown.
    """

    proxy: Literal["synflow", "naswot", "grad_norm", "zen", "parameters", "flops"] = "naswot"
    batch_size: Annotated[int, Field(gt=1)] = 64


class ZeroCost:
    """Scores, not accuracies: ``source`` says so (:func:`hwnas.accuracy.is_score`), and nothing calls them an accuracy.

    A search wants numbers from 0 to 1, so a score is taken as its distance to the median of random networks of the space, in
    standard deviations z, and becomes 1 / (1 + exp(-z)). That keeps the order, which is all that a proxy says.
    """

    Settings = ZeroCostSettings

    def __init__(
        self, space: SearchSpace, task: Task, *, settings: ZeroCostSettings, seed: int, folder: Path, on_event: OnEvent
    ) -> None:
        self._space, self._task, self._settings, self._seed = space, task, settings, seed
        self._on_event = on_event
        self._memory: dict[bytes, float] = {}
        self.source = f"{settings.proxy} score"

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` from 0 to 1."""
        from scipy.special import expit

        if not len(genotypes):
            return np.empty(0)
        median, deviation = self._usual
        return np.asarray(expit((self.scores(genotypes) - median) / deviation))

    def scores(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` what the proxy itself says; -inf for networks that let nothing through."""
        return remembered(self._memory, genotypes, partial(map, self._score))

    @cached_property
    def _usual(self) -> tuple[float, float]:
        """Median and standard deviation of the scores of random networks, the latter from their quartiles."""
        drawn = self._space.sample(np.random.default_rng(self._seed), _REFERENCES)
        found = []
        for i, genotype in enumerate(drawn, start=1):
            found.append(self.scores(genotype[None])[0])
            self._on_event(Progress("random networks", i, _REFERENCES, self.source))
        low, median, high = np.quantile([score for score in found if np.isfinite(score)] or [0.0], (0.25, 0.5, 0.75))
        return float(median), float(high - low) / _QUARTILES or 1.0

    def _score(self, genotype: NDArray[np.int64]) -> float:
        import torch

        from hwnas.accuracy._proxies import PROXIES
        from hwnas.task import normalize
        from hwnas.training.accelerator import accelerator
        from hwnas.training.determinism import reproducible

        batch = some(self._task.train, self._settings.batch_size, self._seed)
        shown = normalize(batch.images, self._task, self._space.image_size(genotype))
        with reproducible(self._seed):
            images, labels = (torch.from_numpy(part).to(accelerator()) for part in (shown, batch.labels))
            return PROXIES[self._settings.proxy](self._space.build(genotype).to(accelerator()), images, labels)


PLUGIN = ZeroCost
