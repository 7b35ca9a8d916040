"""Accuracy of networks never evaluated, from a few hundred that were: a Gaussian process over genotypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hwnas.space import Genotypes, SearchSpace

Floats = NDArray[np.float64]

_REACHES = np.geomspace(2, 64, 11)  # in genes; how far a network says something of others
_NOISES = np.geomspace(1e-3, 10, 13)  # variance of the noise over that of the process
_NOTHING = 1e-300  # where all accuracies are equal, there is nothing to take the logarithm of
_ROWS = 4096  # networks worked on at a time, so that they stay in the cache
_DIGITS = 6  # what is beyond depends on the order in which threads add up


class AccuracyPredictor:
    """A Gaussian process whose covariance falls exponentially with the number of genes in which two networks differ.

    Covariance and noise are those of the highest evidence (Rasmussen & Williams 2006, section 5.4.1). An accuracy model like
    others, with answers for 10⁶ networks in seconds.

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
        self._mean, self._scale = float(accuracy.mean()), float(accuracy.std()) or 1.0
        y = (accuracy - self._mean) / self._scale
        differing = self._differing(self._known)
        best = -np.inf
        for reach in _REACHES:
            covariance = np.exp(-np.arange(len(self._options) + 1) / reach)
            values, vectors = np.linalg.eigh(covariance[differing])
            turned = vectors.T @ y
            for noise in _NOISES:
                variances = values + noise
                explained = max(float(np.mean(turned**2 / variances)), _NOTHING)
                evidence = -len(y) * np.log(explained) - np.log(variances).sum()
                if evidence > best:
                    best, self._covariance = evidence, covariance
                    self._weights = vectors @ (turned / variances)
                    alone = y - self._weights / (vectors**2 @ (1 / variances))
        self.held_out_ = self._as_accuracy(alone)
        self.tau_ = _rank_correlation(self.held_out_, accuracy)
        return self

    def accuracy(self, genotypes: Genotypes) -> Floats:
        """``(n,)`` predicted fractions."""
        found = np.empty(len(genotypes))
        for start in range(0, len(genotypes), _ROWS):
            rows = slice(start, start + _ROWS)
            found[rows] = self._covariance[self._differing(self._one_hot(genotypes[rows]))] @ self._weights
        return self._as_accuracy(found)

    def _one_hot(self, genotypes: Genotypes) -> NDArray[np.float32]:
        canonical = self._space.canonical(genotypes)
        return np.concatenate(
            [np.eye(n, dtype=np.float32)[g] for n, g in zip(self._options, canonical.T, strict=True)], 1
        )

    def _differing(self, one_hot: NDArray[np.float32]) -> NDArray[np.intp]:
        """``(n, known)`` numbers of genes."""
        return (len(self._options) - one_hot @ self._known.T).astype(np.intp)

    def _as_accuracy(self, y: Floats) -> Floats:
        return np.round(self._mean + self._scale * y, _DIGITS)


def _rank_correlation(a: Floats, b: Floats) -> float:
    from scipy.stats import kendalltau

    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(kendalltau(a, b).statistic)
