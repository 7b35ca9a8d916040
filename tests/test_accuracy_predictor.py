"""The accuracy predictor: what it says of networks it has not seen, and what it says of itself."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from hwnas import spaces
from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.space import Genotypes

SPACE = spaces.open("mobile", (1, 8, 8), 10)


def truth(genotypes: Genotypes, noise: float = 0.0) -> NDArray[np.float64]:
    """Each gene adds, the first two act together, and evaluation is noisy."""
    weights = np.linspace(0.01, 0.03, genotypes.shape[1])
    exact = 0.6 + genotypes @ weights / 2 + 0.02 * (genotypes[:, 0] == genotypes[:, 1])
    return np.asarray(exact + noise * np.random.default_rng(3).normal(size=len(exact)))


def drawn(n: int, seed: int = 0) -> Genotypes:
    return SPACE.sample(np.random.default_rng(seed), n)


def test_networks_never_seen_are_ranked_as_well_as_it_says() -> None:
    known, others = drawn(200), drawn(300, seed=1)
    predictor = AccuracyPredictor(SPACE).fit(known, truth(known, noise=0.01))
    found = kendalltau(predictor.accuracy(others), truth(others, noise=0.01)).statistic
    assert found > 0.6
    assert predictor.tau_ == pytest.approx(found, abs=0.1)
    np.testing.assert_allclose(predictor.accuracy(others), truth(others), atol=0.04)


def test_what_is_held_out_is_what_the_others_predict() -> None:
    known = drawn(60)
    accuracy = truth(known)
    predictor = AccuracyPredictor(SPACE).fit(known, accuracy)
    without = AccuracyPredictor(SPACE).fit(known[1:], accuracy[1:])
    assert predictor.held_out_[0] == pytest.approx(without.accuracy(known[:1])[0], abs=0.01)
    assert predictor.held_out_.shape == (60,)


def test_noise_is_told_from_signal() -> None:
    known = drawn(100)
    accuracy = np.random.default_rng(0).random(100)
    predictor = AccuracyPredictor(SPACE).fit(known, accuracy)
    assert abs(predictor.tau_) < 0.3
    assert np.ptp(predictor.accuracy(drawn(100, seed=1))) < 0.5 * np.ptp(accuracy)


def test_equal_accuracies_have_no_ranks() -> None:
    known = drawn(5)
    predictor = AccuracyPredictor(SPACE).fit(known, np.full(5, 0.5))
    assert predictor.tau_ == 0
    np.testing.assert_allclose(predictor.accuracy(drawn(10)), 0.5)
    with pytest.raises(ValueError, match="at least 2 networks, got 1"):
        predictor.fit(known[:1], np.ones(1))


def test_a_hundred_thousand_networks_take_no_time() -> None:
    known = drawn(300)
    predictor = AccuracyPredictor(SPACE).fit(known, truth(known))
    many = drawn(100_000)
    started = time.perf_counter()
    found = predictor.accuracy(many)
    assert time.perf_counter() - started < 5
    np.testing.assert_array_equal(found[:100], predictor.accuracy(many[:100]))
