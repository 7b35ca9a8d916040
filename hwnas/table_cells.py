"""Cells of a table that say which network its row is.

All cells of a column are names of options, or all are positions, which count from 0. One column for all genes may hold a string
of digits or numbers between any separators, which are positions; or names of options in the order of the genes, as in
NAS-Bench-201's ``|nor_conv_3x3~0|+|none~0|…``.

Where options are numbers, a column may be read in both ways. It is then read as the columns are that can be read in one way only;
if there are none, or some of each kind, the table is refused until ``cells`` says which is meant.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np

from hwnas.errors import InvalidData
from hwnas.space import Gene

if TYPE_CHECKING:
    from hwnas.space import Genotypes

Cells = Literal["names", "positions"]


@final
@dataclass(frozen=True)
class CellColumns:
    """The cells that name networks, read in both ways.

    Attributes:
        genes: of the space.
        texts: of each row, for messages.
        readings: each ``(n, G)``, -1 where a cell cannot be read so.
        together: genes whose cells stand in one column.
    """

    genes: Sequence[Gene]
    texts: Sequence[str]
    readings: dict[Cells, Genotypes]
    together: Sequence[Sequence[int]]

    @classmethod
    def of_each(cls, columns: Sequence[Sequence[Any]], genes: Sequence[Gene]) -> CellColumns:
        """One column per gene."""
        texts = [[_text(cell) for cell in column] for column in columns]
        together = [[i] for i in range(len(genes))]
        return cls._read(genes, [", ".join(row) for row in zip(*texts, strict=True)], texts, texts, together)

    @classmethod
    def of_all(cls, cells: Sequence[Any], genes: Sequence[Gene]) -> CellColumns:
        """One column for all genes."""
        words = sorted({word for gene in genes for word in _words(gene)}, key=len, reverse=True)
        named = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")
        texts = [str(cell) for cell in cells]
        nothing = [""] * len(genes)

        def columns(rows: list[list[str]]) -> list[tuple[str, ...]]:
            return list(zip(*(row if len(row) == len(genes) else nothing for row in rows), strict=True))

        numbers = [list(t) if t.isdecimal() and len(t) == len(genes) else _numbers(t) for t in texts]
        together = [list(range(len(genes)))]
        return cls._read(genes, texts, columns([named.findall(t) for t in texts]), columns(numbers), together)

    @classmethod
    def _read(
        cls,
        genes: Sequence[Gene],
        texts: Sequence[str],
        words: Sequence[Sequence[str]],
        numbers: Sequence[Sequence[str]],
        together: Sequence[Sequence[int]],
    ) -> CellColumns:
        names = [
            [known.get(cell, -1) for cell in column] for known, column in zip(map(_words, genes), words, strict=True)
        ]
        positions = [
            [int(cell) if cell.isdecimal() and int(cell) < len(gene.options) else -1 for cell in column]
            for gene, column in zip(genes, numbers, strict=True)
        ]
        return cls(genes, texts, {"names": np.array(names).T, "positions": np.array(positions).T}, together)

    def genotypes(self, file: str, columns: Sequence[str], cells: Cells | None) -> Genotypes:
        """``(n, G)``.

        Raises:
            InvalidData: a row names no network, or it is not clear which.
        """
        readings = self.readings if cells is None else {cells: self.readings[cells]}
        found = np.full((len(self.texts), len(self.genes)), -1)
        clear: set[Cells] = set()
        unclear = []
        for column, at in zip(columns, self.together, strict=True):
            fitting = {kind: read[:, at] for kind, read in readings.items() if (read[:, at] >= 0).all()}
            if not fitting:
                first = [int(np.argmax((read[:, at] < 0).any(axis=1))) for read in readings.values()]
                self._refuse(file, max(first))
            found[:, at] = next(iter(fitting.values()))
            if len(fitting) == 1:
                clear.update(fitting)
            elif (fitting["names"] != fitting["positions"]).any():
                unclear.append((column, at))
        for column, at in unclear:
            if len(clear) != 1:
                raise InvalidData(
                    f"{file}, column {column!r}: its numbers can be names of options, or positions that count from 0.",
                    hint='Say which they are: cells = "names" or cells = "positions".',
                )
            found[:, at] = readings[next(iter(clear))][:, at]
        return found

    def _refuse(self, file: str, row: int) -> None:
        options = "; ".join(f"{gene.name}: {', '.join(map(str, gene.options))}" for gene in self.genes)
        raise InvalidData(
            f"{file}, row {row}: {self.texts[row]} is no network of the space.",
            hint=f"In all rows alike, name options or give their positions from 0. The genes are {options}.",
        )


def _words(gene: Gene) -> dict[str, int]:
    """What options are called, with their positions."""
    return {word: i for i, option in enumerate(gene.options) for word in (str(option), _text(option))}


def genes_of(columns: Mapping[str, Sequence[Any]]) -> list[Gene]:
    """Genes with the names of columns, and for options the cells that stand there: numbers by size, or else words."""
    return [Gene(name, _options({_text(cell) for cell in cells})) for name, cells in columns.items()]


def _options(texts: Collection[str]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(int(text) if text.lstrip("-").isdecimal() else float(text) for text in texts))
    except ValueError:
        return tuple(sorted(texts))


def _text(cell: Any) -> str:
    """A whole number as such, whether its column has room for others or not."""
    text = str(cell)
    if isinstance(cell, bool) or text.lstrip("-").isdecimal():
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def _numbers(text: str) -> list[str]:
    """Those of a text that has no words."""
    return [] if re.search(r"[^\W\d]", text) else re.findall(r"-?\d+", text)
