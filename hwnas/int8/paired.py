"""How much less accurate one network is than another on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Drop:
    """Accuracy lost, a fraction of the images, with its 95 % interval; negative where accuracy is won. As text, the change of
    accuracy."""

    lost: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{-100 * self.lost:+z.2f} points ({-100 * self.high:+z.2f} to {-100 * self.low:+z.2f})"


def paired_drop(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Drop:
    """The drop from ``before`` to ``after``, ``(n,)`` each: whether a network is right about an image.

    Only images on which the two differ count, as in McNemar's test; the interval is Wald's with half an image added to each of
    the four counts (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions").
    """
    n, lost, won = len(before), int((before & ~after).sum()), int((after & ~before).sum())
    many, b, c = n + 2, lost + 0.5, won + 0.5
    centre, error = (b - c) / many, math.sqrt(b + c - (b - c) ** 2 / many) / many
    return Drop((lost - won) / n, centre - _Z * error, centre + _Z * error)
