"""Bayesian optimisation: expected improvement under a Gaussian process, sought among random networks and around the best known
(Kandasamy et al. 2018, "Neural architecture search with Bayesian optimisation and optimal transport"; Ru et al. 2021, "NAS-BOWL",
section 3, seek it likewise). Hard constraints are known, so that the improvement counts only within the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.searchers._acquisition import batch
from hwnas.searchers._model_based import ModelBased

if TYPE_CHECKING:
    from hwnas.accuracy_predictor import AccuracyPredictor
    from hwnas.space import Genotypes

_DRAWN = 1000
_AROUND = 10  # best networks whose neighbours are looked at too


class Bayesian(ModelBased):
    """A Gaussian process with expected improvement; arguments as of :class:`ModelBased`."""

    def choose(self, predictor: AccuracyPredictor, n: int) -> Genotypes:
        """Where the process expects the largest improvement."""
        problem, best = self.problem, self.fittest(_AROUND)
        around = problem.neighbours(best).reshape(-1, best.shape[1])
        pool = problem.admit(np.concatenate([around, problem.sample(self.rng, _DRAWN, self.seen)]), self.seen)
        return batch(problem, predictor, pool, self.told, n)


PLUGIN = Bayesian
