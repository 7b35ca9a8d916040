"""Policy gradients: a controller chooses one gene after the other, and what proves good becomes likelier (Williams 1992,
"REINFORCE"; Zoph & Le 2017, "Neural architecture search with reinforcement learning", section 3.2; Zoph et al. 2018, "NASNet").

The reward is the problem's objective: :class:`hwnas.objectives.Reward` is MnasNet's, soft or hard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.candidates import Candidates
from hwnas.problem import Problem
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.space import Genotypes

Floats = NDArray[np.float64]

_SPARE = 2  # networks per network wanted: some are over budget or not new
_DECAY = 0.95, 0.999  # of Adam's moments


class Reinforce(Searcher):
    """REINFORCE with a moving baseline and an entropy bonus, by Adam.

    The controller is a linear one: the logits of a gene are a bias and what the options chosen for the genes before it add.

    Args:
        problem: what is searched.
        learning_rate: of Adam.
        entropy: weight of the bonus, in standard deviations of the reward per nat.
        baseline: how much of the moving average of rewards stays at each new network.

    Raises:
        ValueError: a setting that cannot be.
    """

    def __init__(
        self, problem: Problem, *, learning_rate: float = 0.1, entropy: float = 0.05, baseline: float = 0.95
    ) -> None:
        if not learning_rate > 0 or entropy < 0:
            raise ValueError(f"learning_rate must be positive and entropy not negative, got {learning_rate}, {entropy}")
        if not 0 <= baseline < 1:
            raise ValueError(f"baseline must be at least 0 and below 1, got {baseline}")
        self._problem, self._rate, self._entropy, self._keep = problem, learning_rate, entropy, baseline
        self._rng = np.random.default_rng(problem.seed)
        counts = [len(gene.options) for gene in problem.space.genes]
        self._edges = np.concatenate([[0], np.cumsum(counts)])
        gene = np.repeat(np.arange(len(counts)), counts)
        self._earlier = gene[:, None] < gene  # (O, O): which options may influence which
        self._weights = np.zeros((len(gene) + 1, len(gene)))  # the last row is the bias
        self._moments = np.zeros((2, *self._weights.shape))
        self._told = Candidates.none(len(counts))
        self._steps = 0

    def ask(self, n: int) -> Genotypes:
        """Drawn from the controller."""
        drawn = np.zeros((_SPARE * n, len(self._edges) - 1), np.int64)
        inputs = self._inputs(drawn[:, :0])
        for g in range(drawn.shape[1]):
            options = slice(self._edges[g], self._edges[g + 1])
            chances = _softmax(inputs @ self._weights[:, options])
            drawn[:, g] = (chances.cumsum(axis=1) < self._rng.random((len(drawn), 1))).sum(axis=1)
            drawn[:, g] = np.minimum(drawn[:, g], chances.shape[1] - 1)
            inputs[np.arange(len(drawn)), self._edges[g] + drawn[:, g]] = 1
        return drawn

    def tell(self, candidates: Candidates) -> None:
        """One step up the gradient of the expected reward."""
        if not len(candidates):
            return
        before, self._told = len(self._told), Candidates.joined([self._told, candidates])
        rewards = self._problem.objective.fitness(self._told)
        rewards = (rewards - rewards.mean()) / (rewards.std() or 1.0)
        weights = self._keep ** np.arange(before)[::-1]
        baseline = float(rewards[:before] @ weights / weights.sum()) if before else 0.0
        self._climb(candidates.genotypes, rewards[before:] - baseline)

    def _climb(self, genotypes: Genotypes, advantage: Floats) -> None:
        inputs = self._inputs(genotypes)
        slope = np.zeros((len(genotypes), self._edges[-1]))
        logits = inputs @ self._weights
        for first, last in zip(self._edges, self._edges[1:], strict=False):
            chances = _softmax(logits[:, first:last])
            surprise = -np.log(chances)
            surplus = chances * (surprise - (chances * surprise).sum(axis=1, keepdims=True))  # the entropy's slope
            chosen = inputs[:, first:last] - chances
            slope[:, first:last] = advantage[:, None] * chosen + self._entropy * surplus
        gradient = inputs.T @ slope / len(genotypes)
        gradient[:-1] *= self._earlier
        self._steps += 1
        first_moment, second_moment = self._moments
        first_moment += (1 - _DECAY[0]) * (gradient - first_moment)
        second_moment += (1 - _DECAY[1]) * (gradient**2 - second_moment)
        mean, square = (m / (1 - d**self._steps) for m, d in zip(self._moments, _DECAY, strict=True))
        self._weights += self._rate * mean / (np.sqrt(square) + 1e-8)

    def _inputs(self, genotypes: Genotypes) -> Floats:
        """``(n, O + 1)``: the options chosen, as zeros and ones, and a one for the bias."""
        inputs = np.zeros((len(genotypes), self._edges[-1] + 1))
        inputs[:, -1] = 1
        for g, column in enumerate(genotypes.T):
            inputs[np.arange(len(genotypes)), self._edges[g] + column] = 1
        return inputs


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


PLUGIN = Reinforce
