"""Networks with figures that others published, or that were measured before: a table with a row per network.

A row names its network by one column (``genotype``) or by one column per gene, whose cells are those of :mod:`hwnas.table_cells`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from hwnas import table_file
from hwnas.costs import Costs
from hwnas.errors import InvalidData
from hwnas.rows import Rows
from hwnas.table_cells import CellColumns, Cells, genes_of
from hwnas.table_space import NamesOnly, TableSpace

if TYPE_CHECKING:
    import pandas as pd

    from hwnas.space import Genotypes, SearchSpace

Floats = NDArray[np.float64]

_WHOLE = ("genotype", "arch", "arch_str")  # columns that name a network
_FRACTION = 1.5  # what is above 1 and no more than that is as likely a slip as a percentage


@final
@dataclass(frozen=True)
class Table:
    """The networks of a table and their figures; an accuracy model, if it was loaded with a column of accuracies.

    Attributes:
        name: for messages.
        space: the table's rows as networks, each of its own.
        genotypes: ``(n, G)`` as the table has them.
        columns: the table, n rows.
        accuracies: ``(n,)`` fractions, or None.
    """

    name: str
    space: TableSpace
    genotypes: Genotypes
    columns: pd.DataFrame
    accuracies: Floats | None
    source: ClassVar[str] = "tabulated"

    def rows(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """``(n,)`` the row of each network: its own, or else that of a network that computes the same, of which the one in
        canonical form comes first; -1 where there is none."""
        found = self._own.find(genotypes)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            equal, rows = self._equal
            at = equal.find(self.space.features(genotypes[missing]))
            found[missing] = np.where(at < 0, -1, rows[at])
        return found

    def values(self, column: str) -> Floats:
        """``(n,)`` the figures of a column, NaN where a cell has none.

        Raises:
            InvalidData: there is no such column, it does not hold numbers, or it has several for one network.
        """
        values = table_file.figures(self.columns, column, self.name)
        first = self._own.find(self.genotypes)
        differing = np.flatnonzero((values != values[first]) & ~(np.isnan(values) & np.isnan(values[first])))
        if len(differing):
            rows = [first[differing[0]], differing[0]]
            raise InvalidData(
                f"{self.name}, column {column!r}: rows {self.columns.index[rows[0]]} and {self.columns.index[rows[1]]} are one "
                f"network with two figures, {values[rows[0]]:.6g} and {values[rows[1]]:.6g}.",
                hint="Give one row per network: aggregate first, such as by the mean over the columns that name it.",
            )
        return values

    def accuracy(self, genotypes: Genotypes) -> Floats:
        """``(n,)`` fractions.

        Raises:
            InvalidData: a network is not in the table, or the table was loaded without accuracies.
        """
        if self.accuracies is None:
            raise InvalidData(f"{self.name} was loaded without accuracies.", hint='Load it with accuracy="COLUMN".')
        rows = self.rows(genotypes)
        if (rows < 0).any():
            missing = genotypes[int(np.argmax(rows < 0))]
            raise InvalidData(
                f"{self.name} has no accuracy of {self.space.describe(missing)}.",
                hint="Search the space of the table, which has the networks with an accuracy alone: Problem(table.space, …).",
            )
        return self.accuracies[rows]

    @cached_property
    def _own(self) -> Rows:
        return Rows(self.genotypes)

    @cached_property
    def _equal(self) -> tuple[Rows, NDArray[np.int64]]:
        """What the rows compute, those in canonical form first, and where those rows are."""
        canonical = self.space.features(self.genotypes)
        order = np.argsort((canonical != self.genotypes).any(axis=1), kind="stable")
        return Rows(canonical[order]), order


def load(
    path: str | os.PathLike[str],
    space: SearchSpace | None = None,
    *,
    genotype: str | Sequence[str] | None = None,
    accuracy: str | None = None,
    cells: Cells | None = None,
) -> Table:
    """Read a table from a CSV, TSV or Parquet file (the latter needs the extra ``tables``).

    Args:
        path: of the file.
        space: of its networks. Without one the genes are the columns ``genotype``, their options the cells there, in order.
        genotype: the column that names the network, or one column per gene in the order of the genes. By default the columns
            that are named as the genes, or else ``genotype``, ``arch`` or ``arch_str``.
        accuracy: the column with accuracies, as fractions or in percent, if they are looked up. A row without one is left out.
        cells: whether the cells of ``genotype`` are options' names or positions; only needed where they can be both.

    Raises:
        InvalidData: the file cannot be read, has no rows or lacks a column, a row names no network of the space, cells can be
            names and positions, or accuracies are none.
    """
    file = Path(path)
    columns = table_file.read(file)
    if space is None:
        if genotype is None or isinstance(genotype, str):
            raise InvalidData(
                f"{file}: without a space nothing says which columns are the genes.",
                hint=f"Name them, genotype=[…], or give the space. It has {', '.join(columns.columns)}.",
            )
        space, cells = _named(columns, genotype, str(file)), "names"
    genotypes = _genotypes(columns, space, genotype, cells, str(file))
    accuracies = None
    if accuracy is not None:
        known = ~np.isnan(table_file.figures(columns, accuracy, str(file)))
        if not known.any():
            raise InvalidData(f"{file}, column {accuracy!r} is empty.", hint="Name a column of numbers.")
        columns, genotypes = columns[known], genotypes[known]
        values = Table(str(file), TableSpace(space, genotypes), genotypes, columns, None).values(accuracy)
        accuracies = _fractions(values, f"{file}, column {accuracy!r}")
    return Table(str(file), TableSpace(space, genotypes), genotypes, columns, accuracies)


@final
class TabulatedCosts:
    """Costs from a table. One figure stands for a network's best, its median and its upper bound. What the table does not have is
    NaN, which no budget lets pass; so is what is not positive: tables have 0 or -1 for a network that did not run.

    Args:
        table: the table.
        latency_ms: name of the column with latencies in milliseconds.
        memory_bytes, model_bytes: likewise, if there are any.

    Raises:
        InvalidData: see :meth:`Table.values`.
    """

    source = "tabulated"

    def __init__(
        self, table: Table, *, latency_ms: str, memory_bytes: str | None = None, model_bytes: str | None = None
    ) -> None:
        self._table = table
        nothing = np.full(len(table.genotypes), np.nan)
        latency, memory, model = (
            np.where(values > 0, values, np.nan)
            for values in (
                nothing if name is None else table.values(name) for name in (latency_ms, memory_bytes, model_bytes)
            )
        )
        self._costs = Costs(latency, latency, latency, memory, model)

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` genotypes."""
        rows = self._table.rows(genotypes)
        found = self._costs[rows]
        missing = rows < 0
        for values in (found.latency_ms, found.p50_ms, found.upper_ms, found.memory_bytes, found.model_bytes):
            values[missing] = np.nan
        return found


def _named(columns: pd.DataFrame, names: Sequence[str], file: str) -> NamesOnly:
    """The space of which the table's gene columns tell."""
    table_file.require_columns(columns, names, file)
    for name in names:
        empty = columns[name].isna() | (columns[name] == "")
        if empty.any():
            raise InvalidData(f"{file}, row {empty.argmax()}: column {name!r} is empty.", hint="Give every gene.")
    return NamesOnly(genes_of({name: columns[name].tolist() for name in names}))


def _genotypes(
    columns: pd.DataFrame,
    space: SearchSpace,
    genotype: str | Sequence[str] | None,
    cells: Cells | None,
    file: str,
) -> Genotypes:
    """``(n, G)`` the networks that the rows name."""
    genes, known = [gene.name for gene in space.genes], list(columns.columns)
    if genotype is None:
        genotype = genes if set(genes) <= set(known) else next((name for name in _WHOLE if name in known), None)
    if genotype is None:
        raise InvalidData(
            f"{file} does not say which networks its rows are: it has no column {', '.join(_WHOLE[:-1])} or {_WHOLE[-1]}, "
            "nor one for every gene.",
            hint=f"Name the column, or {len(genes)} columns in the order of the genes. It has {', '.join(known)}.",
        )
    names = [genotype] if isinstance(genotype, str) else list(genotype)
    table_file.require_columns(columns, names, file)
    if isinstance(genotype, str):
        whole = columns[genotype].tolist()
        digits = [str(cell).zfill(len(genes)) if isinstance(cell, int) else cell for cell in whole]
        read = CellColumns.of_all(digits, space.genes)
    elif len(names) == len(genes):
        read = CellColumns.of_each([columns[name].tolist() for name in names], space.genes)
    else:
        raise InvalidData(
            f"The space has {len(genes)} genes, got {len(names)} columns.", hint=f"The genes are {', '.join(genes)}."
        )
    return read.genotypes(file, names, cells)


def _fractions(values: Floats, what: str) -> Floats:
    """Accuracies ``(n,)`` as fractions. They are in percent if any is over 1.

    Raises:
        InvalidData: they are neither.
    """
    least, most = float(values.min()), float(values.max())
    if least < 0 or most > 100:
        raise InvalidData(
            f"{what} is no accuracy: it goes from {least:.4g} to {most:.4g}.",
            hint="Accuracies are fractions from 0 to 1, or from 0 to 100 in percent.",
        )
    if most > 1 and (most <= _FRACTION or np.median(values) <= 1):
        raise InvalidData(
            f"{what} is neither fractions nor percent: its highest is {most:.4g}, half of it is up to {np.median(values):.4g}.",
            hint="Correct what is above 1, or give all in percent.",
        )
    return values / 100 if most > 1 else values
