"""Progress of long work: frozen events handed to a callback. The library never prints; whoever calls it shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` units of ``stage`` are finished."""

    stage: str
    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know, in one sentence."""

    message: str


OnEvent = Callable[[Progress | Note], None]


def ignore(event: Progress | Note) -> None:
    """The callback of those who do not want to know."""
