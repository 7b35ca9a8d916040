"""Several accuracy models that judge together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from devices.events import OnEvent
from hwnas import accuracy
from hwnas.accuracy import Copyable, is_score
from hwnas.accuracy._member import Member
from hwnas.one_by_one import OneByOne
from hwnas.settings import Settings
from hwnas.space import SearchSpace
from hwnas.task import Task


class EnsembleSettings(Settings):
    """Who judges.

    Attributes:
        members: two models or more; the same one several times is trained with different seeds.
    """

    members: Annotated[list[Member], Field(min_length=2)]


class Ensemble(OneByOne):
    """A network's number is the mean of its members' (Lakshminarayanan et al. 2017, "Simple and scalable predictive uncertainty
    estimation using deep ensembles", section 2.4; Abdelfattah et al. 2021, "Zero-cost proxies for lightweight NAS", section 3.3,
    let proxies vote). It is a score where any of them is one."""

    Settings = EnsembleSettings

    def __init__(
        self, space: SearchSpace, task: Task, *, settings: EnsembleSettings, seed: int, folder: Path, on_event: OnEvent
    ) -> None:
        self._members = [
            accuracy.open(
                member.model,
                space,
                task,
                settings=member.settings,
                seed=seed + i,
                folder=folder / f"{i}-{member.model}",
                on_event=on_event,
            )
            for i, member in enumerate(settings.members)
        ]
        self.source = "ensemble score" if any(is_score(member.source) for member in self._members) else "ensemble"

    def prepare(self) -> Sequence[Path]:
        """What the members share."""
        return [path for member in self._members if isinstance(member, Copyable) for path in member.prepare()]

    def evaluate(self, asked: NDArray[np.int64]) -> float:
        """Mean of what the members say of network ``(G,)``."""
        return float(np.mean([member.accuracy(asked[None])[0] for member in self._members]))


PLUGIN = Ensemble
