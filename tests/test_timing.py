"""Statistics of timing on made-up arrays, and the rounds on sessions whose disturbances are scripted (a real machine is not
disturbed on demand)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from devices import Timing
from profilers.clock import even_out
from profilers.timing import (
    BLOCK_RUNS,
    ROUNDS,
    WARM_UP_RUNS,
    Deadline,
    Rounds,
    measure,
    median_interval,
    round_lows,
    slowness,
    summarise,
)


@dataclass
class Scripted:
    """A session whose every round takes what the script says; it writes down in which order sessions ran."""

    name: str
    rounds_s: list[float]
    log: list[tuple[str, int]] = field(default_factory=list)
    blocks: int = 0

    def run(self, n: int) -> NDArray[np.float64]:
        self.log.append((self.name, n))
        now = self.rounds_s[min(self.blocks, len(self.rounds_s) - 1)]
        if n != WARM_UP_RUNS + 1:
            self.blocks += 1
        return np.full(n, now)


def steady(rounds: int = 8, runs: int = 50, seed: int = 0, ms: float = 1.0) -> NDArray[np.float64]:
    """(rounds, runs) seconds of a machine that only ever adds time, now and then a lot."""
    rng = np.random.default_rng(seed)
    return ms * 1e-3 * (1 + rng.exponential(0.02, (rounds, runs)) + (rng.random((rounds, runs)) < 0.03) * 0.5)


def timed(*sessions: NDArray[np.float64], kept: NDArray[np.bool_] | None = None, seed: int = 0) -> list[Timing]:
    """Timings of networks with ``(rounds, runs)`` seconds that ran in the order given."""
    rounds = len(sessions[0])
    order = np.tile(np.arange(len(sessions)), (rounds, 1))
    return summarise(Rounds(sessions, (), order, np.ones(rounds, bool) if kept is None else kept, stable=True), seed)


class TestSummary:
    def test_figures_are_what_their_names_say(self) -> None:
        seconds = np.linspace(1.0, 2.0, 11)[None] * np.arange(1, 4)[:, None] * 1e-3
        (timing,) = timed(seconds)
        assert timing.latency_ms == pytest.approx(1.1)  # 10th percentile of the fastest round
        assert timing.p50_ms == pytest.approx(np.median(seconds) * 1e3)
        assert timing.p95_ms == pytest.approx(np.quantile(seconds, 0.95) * 1e3)
        assert (timing.rounds, timing.runs, timing.stable) == (3, 33, True)

    def test_the_low_figure_ignores_disturbed_rounds_and_the_median_of_all_does_not(self) -> None:
        quiet = steady()
        busy = quiet.copy()
        busy[:5] *= 1.3
        assert timed(busy)[0].latency_ms == pytest.approx(timed(quiet)[0].latency_ms, rel=0.01)
        assert timed(busy)[0].p50_ms > 1.2 * timed(quiet)[0].p50_ms

    def test_the_low_figure_is_of_all_rounds_and_the_median_of_those_kept(self) -> None:
        seconds = np.array([[1e-3] * 5, [3e-3] * 5, [2e-3] * 5])
        (timing,) = timed(seconds, kept=np.array([False, True, True]))
        assert timing.latency_ms == pytest.approx(1.0)
        assert (timing.p50_ms, timing.rounds) == (2.5, 2)

    def test_noise_is_the_difference_of_odd_and_even_rounds(self) -> None:
        seconds = np.ones((8, 5))
        seconds[1::2] = 1.02
        assert timed(seconds)[0].noise == pytest.approx(0.02)
        assert timed(np.ones((8, 5)))[0].noise == 0
        assert timed(np.ones((1, 5)))[0].noise is None

    @given(st.integers(1, 12), st.integers(5, 40), st.integers(0, 2**32 - 1))
    def test_figures_are_ordered_and_repeat(self, rounds: int, runs: int, seed: int) -> None:
        seconds = np.random.default_rng(seed).lognormal(-7, 1, (rounds, runs))
        (timing,) = timed(seconds, seed=seed)
        assert [timing] == timed(seconds, seed=seed)
        assert timing.latency_ms > 0
        assert seconds.min() * 1e3 <= timing.latency_ms <= timing.p95_ms
        assert timing.p50_low_ms <= timing.p50_ms <= timing.p50_high_ms
        assert timing.p50_ms <= timing.p95_ms


class TestEvening:
    """Networks of 1, 2 and 3 ms on a machine that changes between three speeds, each for some blocks."""

    @pytest.fixture
    def blocks(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """``(networks, rounds)`` seconds and the order: the machine is at its best in one block of twenty."""
        rng = np.random.default_rng(0)
        rounds, networks = 16, 60
        order = np.stack([rng.permutation(networks) for _ in range(rounds)])
        speed = np.repeat(rng.choice([1.0, 1.05, 1.1], rounds * networks // 20, p=[0.05, 0.5, 0.45]), 20)
        lows = np.empty((networks, rounds))
        for r in range(rounds):
            own = 1e-3 * (1 + order[r] % 3)
            lows[order[r], r] = own * speed[r * networks :][:networks] * (1 + rng.exponential(0.002, networks))
        return lows, order

    def test_networks_are_in_proportion_whichever_met_the_machine_at_its_best(
        self, blocks: tuple[NDArray[np.float64], NDArray[np.int64]]
    ) -> None:
        lows, order = blocks
        met = lows.min(axis=1) / (1 + np.arange(len(lows)) % 3)
        assert met.max() > 1.04 * met.min()  # chance decides by 5 %
        evened = np.median(even_out(lows, order), axis=1) / (1 + np.arange(len(lows)) % 3)
        assert evened.max() < 1.01 * evened.min()
        assert 0.99e-3 < np.median(evened) < 1.06e-3

    def test_a_network_of_its_own_keeps_its_lowest(self) -> None:
        lows = np.array([[1.3, 1.1, 1.2, 1.15]])
        assert np.median(even_out(lows, np.zeros((4, 1), np.int64))) == pytest.approx(1.1)


class TestInterval:
    def test_covers_the_true_median_when_rounds_differ(self) -> None:
        rng = np.random.default_rng(1)
        covered = 0
        for i in range(200):
            values = 1 + rng.normal(0, 0.02, (12, 1)) + rng.normal(0, 0.01, (12, 30))
            low, high = median_interval(values, seed=i)
            covered += low <= 1 <= high
        assert covered >= 0.85 * 200  # a percentile bootstrap over a dozen rounds is a little narrow

    def test_resamples_rounds_not_runs(self) -> None:
        """A thousand runs in each of few rounds that differ tell little about the median."""
        values = np.repeat([[1.0], [1.1], [1.2], [1.3]], 1000, axis=1)
        low, high = median_interval(values)
        assert high - low > 0.1


class TestSlowness:
    def test_is_that_of_the_slowest_sentinel(self) -> None:
        lows = np.array([[1.0, 1.01, 1.04, 1.0], [2.0, 2.2, 2.0, 2.0]])
        assert slowness(lows, np.full(2, np.inf)) == pytest.approx([1.0, 1.1, 1.04, 1.0])

    def test_what_is_low_is_known_only_afterwards(self) -> None:
        """A machine that starts slow: its first rounds are the disturbed ones."""
        assert slowness(np.array([[1.2, 1.2, 1.0, 1.0]]), np.array([np.inf])) == pytest.approx([1.2, 1.2, 1.0, 1.0])

    def test_a_machine_that_is_slow_throughout_is_known_by_what_is_usual(self) -> None:
        assert slowness(np.full((1, 3), 1.2), np.array([1.0])) == pytest.approx([1.2] * 3)

    def test_without_sentinels_nothing_is_slow(self) -> None:
        assert slowness(np.empty((0, 3)), np.empty(0)).tolist() == [1.0] * 3


class TestRounds:
    def test_every_block_is_warmed_up_and_long_enough(self) -> None:
        fast, slow = Scripted("fast", [1e-3]), Scripted("slow", [0.1])
        timings, _ = measure([fast, slow])
        assert fast.log[1:] == [("fast", WARM_UP_RUNS + 10)] * ROUNDS
        assert slow.log[1:] == [("slow", WARM_UP_RUNS + BLOCK_RUNS[0])] * ROUNDS
        assert [t.rounds for t in timings] == [ROUNDS, ROUNDS]
        assert all(t.stable for t in timings)

    def test_order_is_shuffled_in_every_round_and_repeats_with_the_seed(self) -> None:
        def order(seed: int) -> list[str]:
            log: list[tuple[str, int]] = []
            measure([Scripted(name, [0.01], log) for name in "abcdef"], seed=seed)
            return [name for name, n in log if n != WARM_UP_RUNS + 1]

        rounds = [tuple(order(3)[i : i + 6]) for i in range(0, 6 * ROUNDS, 6)]
        assert all(sorted(r) == list("abcdef") for r in rounds)
        assert len(set(rounds)) > ROUNDS // 2
        assert order(3) == order(3) != order(4)

    def test_a_disturbed_round_is_measured_again(self) -> None:
        network, sentinel = Scripted("network", [1e-3]), Scripted("sentinel", [1e-3] * 2 + [1.2e-3] * 3 + [1e-3])
        (timing,), (beside,) = measure([network], sentinels=[sentinel])
        assert network.blocks == ROUNDS + 3
        assert timing.rounds == ROUNDS
        assert timing.stable
        assert beside.p95_ms == pytest.approx(1.0)

    def test_measuring_again_is_bounded_and_then_it_is_said(self) -> None:
        sentinel = Scripted("sentinel", [1e-3] + [1.2e-3, 1.3e-3] * 20)
        (timing,), _ = measure([Scripted("network", [1e-3])], sentinels=[sentinel])
        assert sentinel.blocks == 2 * ROUNDS
        assert not timing.stable

    def test_slow_throughout_is_not_stable_and_keeps_what_is_alike(self) -> None:
        network, sentinel = Scripted("network", [2e-3]), Scripted("sentinel", [1.2e-3])
        (timing,), _ = measure([network], sentinels=[sentinel], usual_ms=[1.0])
        assert not timing.stable
        assert timing.rounds == 2 * ROUNDS
        assert timing.latency_ms == pytest.approx(2.0)

    def test_goes_on_until_the_median_is_known(self) -> None:
        restless = [1e-3, 1.2e-3] * 20
        networks = [Scripted("network", restless) for _ in range(3)]
        for network, precision in zip(networks, (0.01, 0.5, None), strict=True):
            measure([network], precision=precision)
        assert [n.blocks for n in networks] == [2 * ROUNDS, ROUNDS, ROUNDS]

    def test_a_time_limit_ends_with_the_round_in_flight(self) -> None:
        now = iter(range(100))
        deadline = Deadline(3.5, clock=lambda: float(next(now)))
        (timing,), _ = measure([Scripted("network", [1e-3])], deadline=deadline)
        assert timing.rounds == 4

    @pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
    def test_a_time_limit_must_be_positive(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="positive"):
            Deadline(seconds)


def test_halves_agree_better_in_the_low_figure_than_in_the_median() -> None:
    """Why predictors learn ``latency_ms``: on a machine that only adds time, the low figure repeats."""
    rng = np.random.default_rng(0)
    busy = 1 + rng.exponential(0.05, (100, 16, 1))
    seconds = np.stack([steady(16, seed=i) for i in range(100)]) * busy
    low = [timed(s)[0].noise for s in seconds]
    median = [abs(np.median(s[0::2]) / np.median(s[1::2]) - 1) for s in seconds]
    assert np.median([n for n in low if n is not None]) < np.median(median)
    assert round_lows(seconds[0]).shape == (16,)
