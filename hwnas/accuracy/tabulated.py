"""Accuracy of networks as a table has it: published, or evaluated before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from devices.events import OnEvent
from hwnas import tabulated
from hwnas.errors import InvalidData
from hwnas.settings import Settings
from hwnas.space import Genotypes, SearchSpace
from hwnas.table_cells import Cells
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
    """Looks networks up. A table in which any accuracy is over 1 is in percent."""

    Settings = TabulatedSettings
    source = "tabulated"

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
        self._space, self._settings = space, settings
        self._table = tabulated.load(settings.table, space, genotype=settings.genotype, cells=settings.cells)
        values = self._table.values(settings.column)
        least, most = float(np.nanmin(values, initial=0)), float(np.nanmax(values, initial=0))
        if least < 0 or most > 100:
            raise InvalidData(
                f"{settings.table}, column {settings.column!r} is no accuracy: it goes from {least:.4g} to {most:.4g}.",
                hint="Accuracies are fractions from 0 to 1, or from 0 to 100 in percent.",
            )
        self._accuracies = values / 100 if most > 1 else values

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions.

        Raises:
            InvalidData: a network is not in the table.
        """
        rows = self._table.rows(genotypes)
        found = np.where(rows < 0, np.nan, self._accuracies[rows])
        if np.isnan(found).any():
            missing = genotypes[int(np.argmax(np.isnan(found)))]
            raise InvalidData(
                f"{self._settings.table} has no accuracy of {self._space.describe(missing)}.",
                hint="Search with costs of the same table: what it does not have is then over any budget.",
            )
        return found


PLUGIN = TabulatedAccuracy
