"""Accuracy of networks never evaluated, from a few hundred that were: a Gaussian process over genotypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hwnas.space import Genotypes, SearchSpace

Floats = NDArray[np.float64]

VALUES = np.linspace(-4, 4, 17)  # standard deviations at which an uncertain accuracy is looked at
LIKELIHOODS = np.exp(-(VALUES**2) / 2) / np.exp(-(VALUES**2) / 2).sum()

_REACHES = np.geomspace(1, 64, 13)  # in genes; how far a network says something of others
_NOISES = np.geomspace(1e-3, 10, 13)  # variance of the noise over that of the process
_NOTHING = 1e-300  # where all accuracies are equal, there is nothing to take the logarithm of
_ROWS = 4096  # networks worked on at a time, so that they stay in the cache
_DIGITS = 6  # what is beyond depends on the order in which threads add up


class AccuracyPredictor:
    """A Gaussian process whose covariance falls exponentially with the number of genes in which two networks differ.

    It learns normal scores: the accuracy of rank i of n becomes the quantile (i - 1/2) / n of a normal distribution, so that a
    few networks that learn nothing do not decide what is known of the good ones, and the way back is linear between the
    accuracies known (Conover & Iman 1981, "Rank transformations", with van der Waerden's scores). Covariance and noise are those
    of the highest evidence (Rasmussen & Williams 2006, section 5.4.1). An accuracy model like others, with answers for 10⁶
    networks in seconds.

    Attributes:
        source: what its numbers are.
        held_out_: ``(n,)`` prediction for each network it was fitted on, from the other n - 1 (the same, equation 5.12).
        tau_: Kendall's rank correlation of ``held_out_`` with what was evaluated; 0 where one of the two does not vary.
    """

    source = "predicted"

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._options = np.array([len(gene.options) for gene in space.genes])

    def fit(self, genotypes: Genotypes, accuracy: Floats) -> Self:
        """Learn from ``(n, G)`` networks with their accuracies ``(n,)``.

        Raises:
            ValueError: fewer than two networks.
        """
        if len(genotypes) < 2:
            raise ValueError(f"an accuracy predictor needs at least 2 networks, got {len(genotypes)}.")
        self._known = self._one_hot(genotypes)
        self._scale = _NormalScores(accuracy)
        y = self._scale.scores(accuracy)
        differing = self._differing(self._known, self._known)
        best = -np.inf
        for reach in _REACHES:
            covariance = np.exp(-np.arange(len(self._options) + 1) / reach)
            values, vectors = np.linalg.eigh(covariance[differing])
            turned = vectors.T @ y
            for noise in _NOISES:
                variances = np.maximum(values, 0) + noise
                explained = max(float(np.mean(turned**2 / variances)), _NOTHING)
                evidence = -len(y) * np.log(explained) - np.log(variances).sum()
                if evidence > best:
                    best, self._covariance, self._noise, self._explained = evidence, covariance, noise, explained
                    self._weights = vectors @ (turned / variances)
                    self._whitening = vectors / np.sqrt(variances)
                    alone = y - self._weights / (vectors**2 @ (1 / variances))
        self.held_out_ = np.round(self._scale.accuracies(alone), _DIGITS)
        self.tau_ = _rank_correlation(self.held_out_, accuracy)
        return self

    def accuracy(self, genotypes: Genotypes) -> Floats:
        """``(n,)`` predicted fractions."""
        found = np.empty(len(genotypes))
        for start in range(0, len(genotypes), _ROWS):
            rows = slice(start, start + _ROWS)
            near = self._covariance[self._differing(self._one_hot(genotypes[rows]), self._known)]
            found[rows] = self._scale.accuracies(near @ self._weights)
        return np.round(found, _DIGITS)

    def posterior(self, genotypes: Genotypes) -> Posterior:
        """What is believed of ``(n, G)`` networks; some thousands at a time."""
        return Posterior(self, genotypes)

    def _one_hot(self, genotypes: Genotypes) -> NDArray[np.float32]:
        features = self._space.features(genotypes)
        return np.concatenate(
            [np.eye(n, dtype=np.float32)[g] for n, g in zip(self._options, features.T, strict=True)], 1
        )

    def _differing(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.intp]:
        """``(n, m)`` numbers of genes in which the rows of both differ."""
        return (len(self._options) - first @ second.T).astype(np.intp)


class Posterior:
    """Belief about n networks, which can be told to expect what it expects of one of them: several that are good together are
    chosen that way (Ginsbourger et al. 2010, "Kriging is well-suited to parallelize optimization", section 4.2)."""

    def __init__(self, predictor: AccuracyPredictor, genotypes: Genotypes) -> None:
        self._predictor = predictor
        self._one_hot = predictor._one_hot(genotypes)
        near = predictor._covariance[predictor._differing(self._one_hot, predictor._known)]
        self._mean = near @ predictor._weights
        self._shared = near @ predictor._whitening
        self._variance = 1 - (self._shared**2).sum(axis=1)

    def values(self) -> Floats:
        """``(n, K)`` accuracies of each network at :data:`VALUES` standard deviations from what is expected."""
        deviation = np.sqrt(np.maximum(self._variance, 0) * self._predictor._explained)
        return self._predictor._scale.accuracies(self._mean[:, None] + deviation[:, None] * VALUES)

    def believe(self, i: int) -> None:
        """Network ``i`` is taken to be as accurate as expected: less is uncertain of it and of those near it."""
        predictor = self._predictor
        near = predictor._covariance[predictor._differing(self._one_hot, self._one_hot[i : i + 1])[:, 0]]
        gained = near - self._shared @ self._shared[i]
        gained /= np.sqrt(max(self._variance[i], 0) + predictor._noise)
        self._shared = np.concatenate([self._shared, gained[:, None]], axis=1)
        self._variance = self._variance - gained**2


class _NormalScores:
    """Accuracies to normal scores and back; linear between those known, and above the highest as steep as just below it."""

    def __init__(self, accuracy: Floats) -> None:
        from scipy.special import ndtri
        from scipy.stats import rankdata

        self._accuracy, first = np.unique(accuracy, return_index=True)
        self._score = ndtri((rankdata(accuracy)[first] - 0.5) / len(accuracy))
        below = np.interp(self._score[-1] - 1, self._score, self._accuracy)
        self._slope = (self._accuracy[-1] - below) / min(1.0, float(np.ptp(self._score)) or 1.0)

    def scores(self, accuracy: Floats) -> Floats:
        return np.asarray(np.interp(accuracy, self._accuracy, self._score))

    def accuracies(self, score: Floats) -> Floats:
        above = np.maximum(score - self._score[-1], 0)
        return np.asarray(np.interp(score, self._score, self._accuracy) + self._slope * above)


def _rank_correlation(a: Floats, b: Floats) -> float:
    from scipy.stats import kendalltau

    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(kendalltau(a, b).statistic)
