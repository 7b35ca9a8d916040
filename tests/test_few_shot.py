"""Whole-network latency from few samples: networks of the FBNet space on devices whose laws are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

import hwnas.spaces
from hwnas.spaces.nasbench201 import NasBench201
from predictors import FewShotPredictor, GraphFeatures, LatencyTable, graph_features
from predictors.errors import NotFitted

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def networks() -> GraphFeatures:
    space = hwnas.spaces.open("fbnet", (3, 32, 32), 10)
    return graph_features([space.graph(g) for g in space.sample(np.random.default_rng(0), 300)])


@pytest.fixture(scope="module")
def latencies(networks: GraphFeatures) -> Floats:
    """``(300, 12)`` ms on devices that differ in what a kernel, a multiplication and a byte cost them; 1 % noise."""
    rng = np.random.default_rng(1)
    conv = [name for name in networks.names if name.startswith("Conv/")]
    terms = [networks.columns([n for n in conv if n.endswith(what)]) for what in ("count", "macs", "bytes")]
    terms = [term / term.sum(axis=1).mean() for term in terms]
    law = [
        sum(rng.lognormal(0, 0.7) * term @ rng.lognormal(0, 0.3, term.shape[1]) for term in terms) for _ in range(12)
    ]
    return np.asarray(np.stack(law, axis=1) * rng.lognormal(0, 0.01, (300, 12)), np.float64)


def ranks(predicted: Floats, measured: Floats) -> float:
    return float(spearmanr(predicted, measured).statistic)


def test_sources_make_ten_samples_enough(networks: GraphFeatures, latencies: Floats) -> None:
    samples, rest = np.arange(10), np.arange(10, 300)
    source = LatencyTable(networks, latencies[:, 1:])
    alone = FewShotPredictor().fit(networks[samples], latencies[samples, 0]).predict(networks[rest])
    helped = FewShotPredictor().fit(networks[samples], latencies[samples, 0], [source]).predict(networks[rest])
    assert ranks(helped.latency_ms, latencies[rest, 0]) > max(0.97, ranks(alone.latency_ms, latencies[rest, 0]))
    assert np.abs(helped.latency_ms / latencies[rest, 0] - 1).mean() < 0.05


def test_more_samples_are_better(networks: GraphFeatures, latencies: Floats) -> None:
    rest = np.arange(200, 300)
    found = [
        ranks(
            FewShotPredictor().fit(networks[:n], latencies[:n, 3]).predict(networks[rest]).latency_ms,
            latencies[rest, 3],
        )
        for n in (10, 50, 200)
    ]
    assert found[0] < found[-1]
    assert found[-1] > 0.99


def test_intervals_cover_and_shrink(networks: GraphFeatures, latencies: Floats) -> None:
    rest = np.arange(240, 300)
    covered, widths = [], []
    for device in range(12):
        others = [i for i in range(12) if i != device]
        source = LatencyTable(networks[:240], latencies[:240, others])
        for n in (10, 60):
            found = FewShotPredictor().fit(networks[:n], latencies[:n, device], [source]).predict(networks[rest])
            assert np.all(found.lower_ms < found.latency_ms)
            covered.append(
                np.mean((found.lower_ms <= latencies[rest, device]) & (latencies[rest, device] <= found.upper_ms))
            )
            widths.append(float(np.median((found.upper_ms - found.lower_ms) / found.latency_ms)))
    assert 0.8 < np.mean(covered) <= 1
    assert np.mean(widths[1::2]) < np.mean(widths[::2])


def test_tables_may_have_gaps_and_other_networks(networks: GraphFeatures, latencies: Floats) -> None:
    gaps = latencies[:, 1:].copy()
    gaps[np.random.default_rng(2).random(gaps.shape) < 0.3] = np.nan
    space = NasBench201((3, 32, 32), 10)
    cells = graph_features([space.published(g) for g in space.sample(np.random.default_rng(0), 60)])
    macs = cells.matrix[:, [name.endswith("macs") for name in cells.names]].sum(axis=1)
    sources = [LatencyTable(networks, gaps), LatencyTable(cells, np.stack([macs, macs**0.9], axis=1) / 1e6)]
    found = FewShotPredictor().fit(networks[:20], latencies[:20, 0], sources).predict(networks[20:])
    assert ranks(found.latency_ms, latencies[20:, 0]) > 0.95


def test_devices_without_measurements_say_nothing(networks: GraphFeatures, latencies: Floats) -> None:
    gaps = latencies.copy()
    gaps[:, 0] = np.nan
    gaps[1:, 1] = np.nan
    measured = networks[:10], latencies[:10, 5]
    for gappy, whole in ((gaps, latencies[:, 2:]), (gaps[:, :2], latencies[:, :0])):
        found = FewShotPredictor().fit(*measured, [LatencyTable(networks, gappy)]).predict(networks)
        wanted = FewShotPredictor().fit(*measured, [LatencyTable(networks, whole)]).predict(networks)
        np.testing.assert_array_equal(found.latency_ms, wanted.latency_ms)


def test_no_latency_is_below_nothing(networks: GraphFeatures) -> None:
    macs = networks.matrix[:, [name.endswith("macs") for name in networks.names]].sum(axis=1)
    large, small = np.argsort(macs)[-20:], np.argsort(macs)[:20]
    found = FewShotPredictor().fit(networks[large], macs[large] - 0.95 * macs[large].min()).predict(networks[small])
    assert (found.lower_ms > 0).all()
    assert (found.lower_ms <= found.latency_ms).all()
    assert (found.latency_ms <= found.upper_ms).all()


def test_features_are_sums_over_the_graph() -> None:
    space = NasBench201((3, 32, 32), 10)
    genotype = space.largest()
    found = graph_features([space.graph(genotype), space.graph(space.smallest())])
    named = dict(zip(found.names, found.matrix.T.tolist(), strict=True))
    assert named["Conv/dense count"] == [1 + 90 + 4, 1 + 4]
    assert named["Add count"] == [15 * 3 + 2, 2]
    assert named["Conv/pointwise count"] == [2, 2]
    assert named["Conv/dense macs"][0] > 20 * named["Conv/dense macs"][1]


def test_a_published_cell_runs_every_edge() -> None:
    space = NasBench201((3, 32, 32), 10)
    ops = [node.op for node in space.published(np.array([0, 0, 3, 0, 0, 1])).nodes]
    assert ops.count("Sub") == 15 * 4
    assert ops.count("Add") == 15 * 3 + 2
    assert ops.count("Conv") == 15 + 1 + 3 * 2 + 1


def test_what_cannot_be_learnt_from_is_refused(networks: GraphFeatures, latencies: Floats) -> None:
    with pytest.raises(NotFitted):
        FewShotPredictor().predict(networks)
    with pytest.raises(ValueError, match="at least 2 networks"):
        FewShotPredictor().fit(networks[:1], latencies[:1, 0])
    with pytest.raises(ValueError, match="at least 2 networks"):
        FewShotPredictor().fit(networks[:9], latencies[:10, 0])
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="positive"):
            FewShotPredictor().fit(networks[:2], np.array([1.0, wrong]))
    equal = FewShotPredictor().fit(networks[:5], np.full(5, 2.0)).predict(networks)
    np.testing.assert_allclose(equal.latency_ms, 2.0, rtol=0.01)
