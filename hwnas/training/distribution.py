"""A distribution over the networks of a space, one gene independent of the others: what gradient search ends with."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices.atomic import write_text
from hwnas.errors import InvalidData

if TYPE_CHECKING:
    from hwnas.space import Genotypes, SearchSpace

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """Chances of the options.

    Attributes:
        chances: for each gene ``(options,)``; together 1.
    """

    chances: tuple[Floats, ...]

    def sample(self, rng: np.random.Generator, n: int) -> Genotypes:
        """``(n, G)`` genotypes, not canonical."""
        return np.stack([rng.choice(len(chances), n, p=chances) for chances in self.chances], axis=1)

    def mode(self) -> NDArray[np.int64]:
        """``(G,)``: the likeliest."""
        return np.array([int(chances.argmax()) for chances in self.chances])

    def save(self, path: str | os.PathLike[str], space: SearchSpace) -> None:
        """As JSON: the chances by gene and option."""
        genes = zip(space.genes, self.chances, strict=True)
        value = {
            gene.name: [[option, float(p)] for option, p in zip(gene.options, c, strict=True)] for gene, c in genes
        }
        write_text(Path(path), json.dumps(value, indent=1))


def even(space: SearchSpace) -> Distribution:
    """Every option of a gene as likely as the others."""
    return Distribution(tuple(np.full(len(gene.options), 1 / len(gene.options)) for gene in space.genes))


def load(path: str | os.PathLike[str], space: SearchSpace) -> Distribution:
    """Inverse of :meth:`Distribution.save`.

    Raises:
        InvalidData: no such file, or it is of another space.
    """
    try:
        value: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        same = [(g.name, list(g.options)) for g in space.genes] == [(n, [o for o, _ in c]) for n, c in value.items()]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidData(f"{path} cannot be read as a distribution: {error}.", hint="Learn it anew.") from error
    if not same:
        raise InvalidData(f"{path} is a distribution over another space.", hint="Learn one for this space.")
    chances = [np.array([p for _, p in options], np.float64) for options in value.values()]
    return Distribution(tuple(c / c.sum() for c in chances))
