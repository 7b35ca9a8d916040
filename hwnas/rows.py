"""Genotypes by which something is looked up."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray


@final
class Rows:
    """``(m, G)`` genotypes, and where each stands.

    Attributes:
        genotypes: the rows.
    """

    def __init__(self, genotypes: NDArray[np.int64]) -> None:
        self.genotypes = genotypes
        self._known, self._first = np.unique(_keys(genotypes), return_index=True)

    def find(self, genotypes: NDArray[np.int64]) -> NDArray[np.int64]:
        """``(n,)`` position of the first row that is equal to each of ``(n, G)`` genotypes, -1 where there is none."""
        if not len(self._known):
            return np.full(len(genotypes), -1)
        keys = _keys(genotypes)
        at = np.minimum(np.searchsorted(self._known, keys), len(self._known) - 1)
        return np.where(self._known[at] == keys, self._first[at], -1)


def _keys(genotypes: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """``(n,)`` one sortable key per row."""
    rows = np.ascontiguousarray(genotypes, np.uint32)
    return rows.view(f"S{rows.shape[1] * rows.itemsize}").ravel()
