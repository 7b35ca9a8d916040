"""Files with a table: CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from devices.plugins import did_you_mean
from hwnas.errors import InvalidData

if TYPE_CHECKING:
    import pandas as pd

_EMPTY = ("", "-", "NA", "N/A", "NaN", "nan", "None", "null", "NULL")  # cells that hold no figure


def read(file: Path) -> pd.DataFrame:
    """The table, without blanks around names and cells. Cells of text files are text, so that digits keep their zeros.

    Raises:
        InvalidData: it cannot be read, or has no rows.
    """
    import pandas as pd

    try:
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
        else:
            separator = "\t" if ".tsv" in file.suffixes else ","
            table = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InvalidData(f"There is no file {file}.", hint="Give the path of a CSV, TSV or Parquet file.") from None
    except ImportError:
        raise InvalidData(
            f"{file} is a Parquet file, and nothing here reads those.",
            hint="Install it with: pip install 'hwnas[tables]'",
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidData(f"{file} cannot be read: {error}.", hint="Give a CSV, TSV or Parquet file.") from error
    if not len(table):
        raise InvalidData(f"{file} has no rows.", hint="Give a table with a row for each network.")
    table.columns = [str(name).strip() for name in table.columns]
    return table.apply(lambda cells: cells.map(lambda c: c.strip() if isinstance(c, str) else c))


def require_columns(table: pd.DataFrame, names: Sequence[str], file: str) -> None:
    """Refuse names that no column has.

    Raises:
        InvalidData: says the nearest.
    """
    known = list(table.columns)
    for name in names:
        if name not in known:
            raise InvalidData(
                f"{file} has no column {name!r}{did_you_mean(name, known)}.", hint=f"It has {', '.join(known)}."
            )


def figures(table: pd.DataFrame, column: str, file: str) -> NDArray[np.float64]:
    """``(n,)`` the finite figures of a column, NaN where a cell holds none.

    Raises:
        InvalidData: there is no such column, or it does not hold numbers.
    """
    import pandas as pd

    require_columns(table, [column], file)
    cells = table[column]
    try:
        values = np.asarray(pd.to_numeric(cells.where(~cells.isin(_EMPTY))), np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"{file}, column {column!r}: {error}.", hint="Name a column of numbers.") from None
    return np.where(np.isfinite(values), values, np.nan)
