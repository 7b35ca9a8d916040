"""What a section of the report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: text, a smaller line below it, a tag beside it, a bar for a share of 0–1 before it."""

    text: str
    note: str = ""
    tag: str = ""
    share: float | None = None
    colour: str = ""
    over: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """``label`` names it for those who cannot see it; ``words`` are the positions of the columns that hold words."""

    label: str
    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[int] = frozenset({0})


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, the id of its element, and the sentence under it that says what to see."""

    id: str
    figure: go.Figure
    caption: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A small image: a data URI, what to read below it, and below that in smaller type."""

    uri: str
    text: str
    note: str


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page; what is empty is not shown. ``pair`` puts figures side by side where there is room, ``more`` is
    folded away under ``more_label``."""

    id: str
    heading: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Plot, ...] = ()
    pair: bool = False
    table: Table | None = None
    pictures: tuple[Picture, ...] = ()
    pictures_label: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    more_label: str = ""
    more: Table | str = ""
