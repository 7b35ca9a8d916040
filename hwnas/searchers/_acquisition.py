"""Which networks are worth an evaluation, by what a predictor believes: expected improvement (Jones et al. 1998, "Efficient
global optimization", section 4.1) of any objective, several networks at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy_predictor import LIKELIHOODS, AccuracyPredictor

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.problem import Problem
    from hwnas.space import Genotypes

Floats = NDArray[np.float64]

_ROWS = 4096  # networks looked at at a time
_SHORTLIST = 2048  # of which the networks are chosen one after the other
_DIGITS = 9  # what is beyond depends on the order in which threads add up


def by_gain(
    problem: Problem, predictor: AccuracyPredictor, pool: Genotypes, known: Candidates, n: int = _SHORTLIST
) -> Genotypes:
    """The ``n`` networks of ``pool`` ``(m, G)`` that are expected to add most to the networks ``known``, the best first."""
    parts = [pool[first : first + _ROWS] for first in range(0, len(pool), _ROWS)]
    gains = [_gains(problem, predictor.posterior(part).values(), part, known) for part in parts]
    return pool[_order(np.concatenate([np.empty((0, 2)), *gains]))[:n]]


def batch(problem: Problem, predictor: AccuracyPredictor, pool: Genotypes, known: Candidates, n: int) -> Genotypes:
    """``n`` networks of ``pool`` to evaluate together: each the one with the highest expected gain, if those before it turn out
    as expected."""
    pool = by_gain(problem, predictor, pool, known)
    posterior = predictor.posterior(pool)
    chosen: list[int] = []
    while len(chosen) < min(n, len(pool)):
        order = _order(_gains(problem, posterior.values(), pool, known))
        chosen.append(int(next(i for i in order if i not in chosen)))
        posterior.believe(chosen[-1])
    return pool[chosen]


def _gains(problem: Problem, values: Floats, pool: Genotypes, known: Candidates) -> Floats:
    """``(m, 2)``: the expected gain; where that is the same, what is expected counts."""
    gain = problem.objective.gain(values, problem.costs.costs(pool), known) @ LIKELIHOODS
    return np.round(np.stack([gain, values @ LIKELIHOODS], axis=1), _DIGITS)


def _order(gains: Floats) -> NDArray[np.intp]:
    return np.lexsort((-gains[:, 1], -gains[:, 0]))
