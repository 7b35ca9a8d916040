"""Accuracy of networks as a table has it: published, or evaluated before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from devices.events import OnEvent
from hwnas import tabulated
from hwnas.settings import Settings
from hwnas.space import Genotypes, SearchSpace
from hwnas.table_cells import Cells
from hwnas.table_space import TableSpace
from hwnas.tabulated import Table
from hwnas.task import Task


class TabulatedSettings(Settings):
    """Where the accuracies stand.

    Attributes:
        table: path of a CSV or Parquet file.
        column: name of the column with accuracies, as fractions or in percent.
        genotype, cells: see :func:`hwnas.tabulated.load`.
    """

    table: Path = Field(strict=False)
    column: str = "accuracy"
    genotype: str | list[str] | None = None
    cells: Cells | None = None


class TabulatedAccuracy:
    """Looks networks up."""

    Settings = TabulatedSettings
    source = Table.source

    def __init__(
        self,
        space: SearchSpace,
        task: Task | None,
        *,
        settings: TabulatedSettings,
        seed: int,
        folder: Path,
        on_event: OnEvent,
    ) -> None:
        self._table = tabulated.load(
            settings.table, space, genotype=settings.genotype, accuracy=settings.column, cells=settings.cells
        )
        self.space = TableSpace(space, space.canonical(self._table.genotypes))

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions; see :meth:`hwnas.tabulated.Table.accuracy`."""
        return self._table.accuracy(genotypes)


PLUGIN = TabulatedAccuracy
