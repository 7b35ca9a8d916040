"""Networks with figures that others published, or that were measured before: a table with a row per network.

A row names its network by one column (``genotype``) or by one column per gene, whose cells are those of :mod:`hwnas.table_cells`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from devices.plugins import did_you_mean
from hwnas.costs import Costs
from hwnas.errors import InvalidData
from hwnas.table_cells import CellColumns, Cells

if TYPE_CHECKING:
    import pandas as pd

    from hwnas.space import Genotypes, SearchSpace

Floats = NDArray[np.float64]

_WHOLE = ("genotype", "arch")  # columns that name a network


@final
@dataclass(frozen=True)
class Table:
    """The networks of a table and their figures.

    Attributes:
        name: for messages.
        space: of which they are.
        genotypes: ``(n, G)`` as the table has them, not canonical.
        columns: the table.
    """

    name: str
    space: SearchSpace
    genotypes: Genotypes
    columns: pd.DataFrame

    def rows(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """``(n,)`` the row of each network, -1 where there is none: that of its canonical form, or else the first of a network
        that is the same."""
        known, rows = self._index
        keys = _keys(self.space.canonical(genotypes))
        at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[at] == keys, rows[at], -1)

    def values(self, column: str) -> Floats:
        """``(n,)`` the figures of a column, NaN where a cell is empty.

        Raises:
            InvalidData: there is no such column, or it does not hold numbers.
        """
        import pandas as pd

        _require(column, [str(c) for c in self.columns.columns], self.name)
        try:
            return np.asarray(pd.to_numeric(self.columns[column]), np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidData(f"{self.name}, column {column!r}: {error}.", hint="Name a column of numbers.") from None

    @cached_property
    def _index(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
        """Keys of all canonical forms, sorted, with the row of each."""
        canonical = self.space.canonical(self.genotypes)
        others = (canonical != self.genotypes).any(axis=1)
        order = np.argsort(others, kind="stable")  # rows in their own canonical form come first
        keys, first = np.unique(_keys(canonical[order]), return_index=True)
        return keys, order[first]


def load(
    path: str | os.PathLike[str],
    space: SearchSpace,
    *,
    genotype: str | Sequence[str] | None = None,
    cells: Cells | None = None,
) -> Table:
    """Read a table from a CSV or Parquet file (the latter needs the extra ``tables``).

    Args:
        path: of the file.
        space: of its networks.
        genotype: the column that names the network, or one column per gene in the order of the genes. By default the columns
            that are named as the genes, or else ``genotype`` or ``arch``.
        cells: whether the cells there are options' names or positions; only needed where they can be both.

    Raises:
        InvalidData: the file cannot be read, has no rows or lacks a column, a row names no network of the space, or cells can
            be names and positions.
    """
    file, genes = Path(path), [gene.name for gene in space.genes]
    whole = (genotype,) if isinstance(genotype, str) else _WHOLE
    columns = _read(file, whole)
    known = [str(c) for c in columns.columns]
    if genotype is None:
        genotype = genes if set(genes) <= set(known) else next((name for name in whole if name in known), None)
    if genotype is None:
        raise InvalidData(
            f"{file} does not say which networks its rows are: it has no column genotype or arch, nor one for every gene.",
            hint=f"Name the column, or {len(genes)} columns in the order of the genes. It has {', '.join(known)}.",
        )
    names = [genotype] if isinstance(genotype, str) else list(genotype)
    for name in names:
        _require(name, known, str(file))
    if not len(columns):
        raise InvalidData(f"{file} has no rows.", hint="Give a table with a row for each network.")
    if isinstance(genotype, str):
        read = CellColumns.of_all(columns[genotype].tolist(), space.genes)
    elif len(names) == len(genes):
        read = CellColumns.of_each([columns[name].tolist() for name in names], space.genes)
    else:
        raise InvalidData(
            f"The space has {len(genes)} genes, got {len(names)} columns.", hint=f"The genes are {', '.join(genes)}."
        )
    return Table(str(file), space, read.genotypes(str(file), names, cells), columns)


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


def _read(file: Path, texts: Sequence[str]) -> pd.DataFrame:
    """The table; columns that are among ``texts`` as text, so that digits keep their zeros."""
    import pandas as pd

    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        return pd.read_csv(file, dtype=dict.fromkeys(texts, str))
    except FileNotFoundError:
        raise InvalidData(f"There is no file {file}.", hint="Give the path of a CSV or Parquet file.") from None
    except ImportError:
        raise InvalidData(
            f"{file} is a Parquet file, and nothing here reads those.",
            hint="Install it with: pip install 'hwnas[tables]'",
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidData(f"{file} cannot be read: {error}.", hint="Give a CSV or Parquet file.") from error


def _require(name: str, known: list[str], table: str) -> None:
    if name not in known:
        raise InvalidData(
            f"{table} has no column {name!r}{did_you_mean(name, known)}.", hint=f"It has {', '.join(known)}."
        )


def _keys(genotypes: Genotypes) -> NDArray[np.bytes_]:
    """``(n,)`` one sortable key per row."""
    rows = np.ascontiguousarray(genotypes, np.uint32)
    return rows.view(f"S{rows.shape[1] * rows.itemsize}").ravel()
