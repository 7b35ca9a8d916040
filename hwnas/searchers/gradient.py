"""Sampling from a distribution that was learnt by gradients (:mod:`hwnas.training.differentiable`; Dong & Yang 2019, "GDAS", and
Wu et al. 2019, "FBNet", section 3.3, draw and evaluate likewise)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.problem import Problem
from hwnas.search import Searcher
from hwnas.training.distribution import load
from hwnas.training.settings import LearnSettings

if TYPE_CHECKING:
    from hwnas.candidates import Candidates
    from hwnas.space import Genotypes

_SPARE = 4  # networks per network wanted: the likely ones repeat, some are over budget


class Gradient(Searcher):
    """The likeliest network first, then networks drawn.

    A run whose configuration names no distribution learns it first, by the settings of ``Learning``.

    Args:
        problem: what is searched.
        distribution: path of the file that :meth:`hwnas.training.distribution.Distribution.save` wrote.

    Raises:
        InvalidData: the file is none of the problem's space.
    """

    Learning = LearnSettings

    def __init__(self, problem: Problem, *, distribution: str) -> None:
        self._rng = np.random.default_rng(problem.seed)
        self._distribution = load(distribution, problem.space)

    def ask(self, n: int) -> Genotypes:
        """The mode and networks drawn."""
        drawn = self._distribution.sample(self._rng, _SPARE * n)
        return np.concatenate([self._distribution.mode()[None], drawn])

    def tell(self, candidates: Candidates) -> None:
        """What is learnt was learnt before."""


PLUGIN = Gradient
