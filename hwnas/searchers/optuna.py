"""Optuna's samplers (Akiba et al. 2019, "Optuna"): TPE (Watanabe 2023, "Tree-structured Parzen estimator") and NSGA-II, with the
budget as a constraint. Needs the extra ``optuna``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from hwnas.candidates import Candidates
from hwnas.problem import Problem, keys
from hwnas.search import Searcher
from hwnas.searchers._operators import chosen

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.samplers import BaseSampler

    from hwnas.space import Genotypes

_SAMPLERS = ("tpe", "nsga2")
_TRIALS = 20, 5  # and so many more per network wanted: most are over a tight budget, or not new


class Optuna(Searcher):
    """A study whose trials over budget are told as such without being evaluated; one that repeats a network is told what is
    known of it.

    Args:
        problem: what is searched.
        sampler: ``"tpe"`` or ``"nsga2"``.
    """

    def __init__(self, problem: Problem, *, sampler: str = "tpe") -> None:
        import optuna

        self._problem, self._sampler = problem, chosen("sampler", sampler, _SAMPLERS)
        genes = problem.space.genes
        self._choices: dict[str, optuna.distributions.BaseDistribution] = {
            f"{g}": optuna.distributions.CategoricalDistribution(range(len(gene.options)))
            for g, gene in enumerate(genes)
        }
        objectives = problem.objective.losses(Candidates.none(len(genes))).shape[1]
        logger, level = logging.getLogger("optuna"), optuna.logging.get_verbosity()
        logger.setLevel(logging.WARNING)  # a study announces itself
        self._study = optuna.create_study(
            directions=["minimize"] * objectives, sampler=self._made(problem.seed % 2**32)
        )
        logger.setLevel(level)
        self._losses: dict[bytes, list[float]] = {}
        self._waiting: list[tuple[Trial, bytes]] = []

    def ask(self, n: int) -> Genotypes:
        """The next trials that are within the budget and new."""
        problem = self._problem
        asked: list[Genotypes] = []
        for _ in range(_TRIALS[0] + _TRIALS[1] * n):
            if len(asked) == n:
                break
            trial = self._study.ask(self._choices)
            row = problem.space.canonical(np.array([[trial.params[name] for name in self._choices]]))
            (key,), excess = keys(row), float(problem.excess(row)[0])
            trial.set_constraint("budget", excess if np.isfinite(excess) else 1e9)
            if key in self._losses:
                self._study.tell(trial, self._losses[key])
            elif excess > 0:
                self._study.tell(trial, self._worst())
            else:
                self._waiting.append((trial, key))
                asked.append(row)
        return np.concatenate([problem.space.sample(np.random.default_rng(0), 0), *asked])

    def tell(self, candidates: Candidates) -> None:
        """Ends the trials of these networks."""
        losses = self._problem.objective.losses(candidates).tolist()
        self._losses.update(zip(keys(candidates.genotypes), losses, strict=True))
        for trial, key in self._waiting:
            if key in self._losses:
                self._study.tell(trial, self._losses[key])
        self._waiting = [(trial, key) for trial, key in self._waiting if key not in self._losses]

    def _worst(self) -> list[float]:
        known = list(self._losses.values()) or [[0.0] * len(self._study.directions)]
        return [max(column) for column in zip(*known, strict=True)]

    def _made(self, seed: int) -> BaseSampler:
        from optuna import samplers

        return samplers.TPESampler(seed=seed) if self._sampler == "tpe" else samplers.NSGAIISampler(seed=seed)


PLUGIN = Optuna
