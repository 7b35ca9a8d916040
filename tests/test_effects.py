"""Effects of decisions are told apart, with intervals that mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.report.effects import main_effects, strongest

GENES: list[tuple[str, list[Any]]] = [
    ("width", [16, 24, 32]),
    ("kernel", [3, 5]),
    ("fixed", ["relu"]),
    ("rare", [False, True]),
]


def made(n: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Networks whose width brings 1 point a step and costs 10 %, whose kernel does nothing but cost 5 %; wide networks have
    large kernels more often."""
    rng = np.random.default_rng(seed)
    width = rng.integers(0, 3, n)
    kernel = (rng.random(n) < 0.2 + 0.3 * width).astype(np.int64)
    genotypes = np.stack([width, kernel, np.zeros(n, np.int64), np.zeros(n, np.int64)], axis=1)
    genotypes[0, 3] = 1
    accuracy = 0.9 + 0.01 * width + rng.normal(0, 0.003, n)
    return genotypes, accuracy, 0.1 * 1.1**width * 1.05**kernel


def test_effects_are_told_apart() -> None:
    found = main_effects(GENES, *made(300))
    by_name = {(e.gene, e.option): e for e in found.effects}
    assert set(by_name) == {("width", 24), ("width", 32), ("kernel", 5)}
    assert by_name["width", 32].instead_of == 16
    assert by_name["width", 32].accuracy.value == pytest.approx(0.02, abs=0.001)
    assert by_name["width", 32].latency.value == pytest.approx(0.21, abs=0.005)
    kernel = by_name["kernel", 5]
    assert kernel.accuracy.low < 0 < kernel.accuracy.high
    assert kernel.latency.value == pytest.approx(0.05, abs=0.003)
    assert found.latency_explained > 0.99
    assert 0.8 < found.accuracy_explained < 0.95
    assert [e.gene for e in strongest(found)] == ["width", "kernel"]


def test_intervals_cover_the_truth() -> None:
    covered = 0
    for seed in range(40):
        (effect,) = (e for e in main_effects(GENES, *made(80, seed), seed=seed).effects if e.option == 24)
        covered += effect.accuracy.low <= 0.01 <= effect.accuracy.high
    assert covered >= 34


def test_too_few_networks_say_nothing() -> None:
    genotypes, accuracy, latency = made(30)
    assert main_effects(GENES, genotypes[:4], accuracy[:4], latency[:4]).effects == ()
    assert main_effects(GENES, genotypes, np.full(30, np.nan), latency).effects == ()


def test_a_long_search_is_sampled() -> None:
    found = main_effects(GENES, *made(50_000))
    assert found.networks == 2000
    assert found == main_effects(GENES, *made(50_000))
