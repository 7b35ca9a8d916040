"""Progress of long work: frozen events handed to a callback. The library never prints; whoever calls it shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` units of ``stage`` are finished.

    Attributes:
        detail: how it stands, in words.
        figures: how it stands, by name, for whoever draws curves; units stand in the names.
        repeated: whether an earlier call did this unit, which is only told again.
    """

    stage: str
    done: int
    total: int
    detail: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know, in one sentence."""

    message: str


OnEvent = Callable[[Progress | Note], None]


def ignore(event: Progress | Note) -> None:
    """The callback of those who do not want to know."""
