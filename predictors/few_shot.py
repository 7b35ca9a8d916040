"""Latency of whole networks from a handful that were measured: for devices of which nothing else is known.

A closed accelerator, or a published table, gives one number per network. A network's latency is then modelled as linear in what
its graph computes, with a prior over the coefficients: Bayesian linear regression (Rasmussen and Williams 2006, section 2.1).
Where tables of other devices are at hand, the prior is what their coefficients have in common and how they differ (empirical
Bayes), so that ten networks only have to say how this device differs from others. Variances are those by which the others predict
each network best (the same, equations 5.11 and 5.12), and how well they do scales the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from devices import Graph, Kernel, Operand
from predictors.errors import NotFitted
from predictors.features import kernel_table

Floats = NDArray[np.float64]

_COARSE = ("count", "macs", "bytes")
_FINE = 0.1  # how much smaller coefficients of single operators are than those of families
_RIDGE = 1.0  # of the regressions on the sources' tables
_MEAN = 0.5  # standard deviation of how many times the sources' common part a device's latency varies
_OWN = (0.03, 0.3)  # what a device has of its own, relative to how sources differ
_ALONE = (0.1, 1.0, 10.0)  # variance of the coefficients over that of the latencies, without sources
_NOISES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)  # variance of what no coefficient explains over that of the latencies
_INTERCEPT = 10.0  # as good as free, where the mean latency is 1
_CONSTANT = 1e-9  # a feature that varies by less than so many times its size does not vary
_NOTHING = 1e-12  # where all latencies are equal
_FEWEST = 2  # networks that say what a device's coefficients are
_LEAST = 0.01  # of the mean latency learnt from: what is predicted at least, where a straight line leads below nothing
_LEVEL = 0.95  # of each end of a two-sided 90 % interval


@dataclass(frozen=True)
class GraphFeatures:
    """What n networks compute.

    Attributes:
        names: of the F features: a family of operators with ``count``, ``macs`` or ``bytes``; or one operator with its shapes.
        matrix: ``(n, F)`` sums over a network's nodes.
    """

    names: tuple[str, ...]
    matrix: Floats

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, rows: Any) -> GraphFeatures:
        """The networks that a slice, a mask or an array of positions selects."""
        return GraphFeatures(self.names, self.matrix[rows])

    def columns(self, names: Sequence[str]) -> Floats:
        """``(n, len(names))``; 0 for what these networks have nothing of."""
        index = {name: i for i, name in enumerate(self.names)}
        found = np.zeros((len(self), len(names)))
        for to, name in enumerate(names):
            if name in index:
                found[:, to] = self.matrix[:, index[name]]
        return found


@dataclass(frozen=True)
class LatencyTable:
    """Whole-network latencies of other devices.

    Attributes:
        networks: n networks.
        latency_ms: ``(n, D)`` of each on D devices, NaN where it was not measured; devices with fewer than two are left out.
    """

    networks: GraphFeatures
    latency_ms: Floats


@dataclass(frozen=True)
class NetworkLatencies:
    """Predictions for n networks.

    Attributes:
        latency_ms: ``(n,)``, as those learnt from: best, median or mean.
        lower_ms, upper_ms: ``(n,)`` ends of the 90 % interval, as far as the model holds.
    """

    latency_ms: Floats
    lower_ms: Floats
    upper_ms: Floats


def graph_features(graphs: Sequence[Graph]) -> GraphFeatures:
    """Features of networks: about a millisecond each."""
    kernels: dict[Kernel, int] = {}
    counts: list[dict[int, int]] = []
    for graph in graphs:
        of_graph: dict[int, int] = {}
        for node in graph.nodes:
            inputs = tuple(Operand(graph.tensors[i], i in graph.constants) for i in node.inputs if i)
            outputs = tuple(graph.tensors[o] for o in node.outputs if o)
            kernel = Kernel(node.op, inputs, outputs, tuple(sorted(node.attributes.items())))
            at = kernels.setdefault(kernel, len(kernels))
            of_graph[at] = of_graph.get(at, 0) + 1
        counts.append(of_graph)
    matrix = np.zeros((len(graphs), len(kernels)))
    for row, of_graph in enumerate(counts):
        matrix[row, list(of_graph)] = list(of_graph.values())
    table = kernel_table(list(kernels))
    families, family = np.unique(table.family, return_inverse=True)
    member = np.eye(len(families))[family]
    coarse = {
        "count": matrix @ member,
        "macs": matrix @ (member * table.macs[:, None]),
        "bytes": matrix @ (member * table.moved_bytes[:, None]),
    }
    names = [f"{name} {what}" for what in coarse for name in families.tolist()]
    names += [str(kernel.to_json()) for kernel in kernels]
    return GraphFeatures(tuple(names), np.concatenate([*coarse.values(), matrix], axis=1))


@final
class FewShotPredictor:
    """Predicts whole-network latency from as few as ten measured networks."""

    def fit(self, networks: GraphFeatures, latency_ms: Floats, sources: Sequence[LatencyTable] = ()) -> Self:
        """Learn from ``(n,)`` latencies of n networks, and from other devices' tables.

        Raises:
            ValueError: fewer than two networks, or latencies that are not positive numbers.
        """
        from scipy.stats import t as student_t

        latency = np.asarray(latency_ms, np.float64)
        if len(networks) < 2 or latency.shape != (len(networks),):
            raise ValueError(f"needs the latencies of at least 2 networks, got {latency.shape} for {len(networks)}")
        if not (np.isfinite(latency) & (latency > 0)).all():
            raise ValueError("latencies must be positive numbers of milliseconds")
        known = [networks, *(source.networks for source in sources)]
        self._names = list(dict.fromkeys(name for features in known for name in features.names))
        self._width = np.array([1.0 if name.endswith(_COARSE) else _FINE for name in self._names])
        rows = np.concatenate([features.columns(self._names) for features in known])
        self._center, scale = rows.mean(axis=0), rows.std(axis=0)
        varies = scale > _CONSTANT * np.abs(rows).max(axis=0)
        self._scale = np.where(varies, scale, np.inf)
        self._unit = float(latency.mean())
        self._known, target = self._standard(networks), latency / self._unit
        others = np.array([w for source in sources for w in self._coefficients(source)]).reshape(-1, len(self._names))
        spread = float(target.var()) + _NOTHING
        if len(others):
            self._common = others.mean(axis=0)
            differing = others - self._common
            self._directions = np.concatenate([differing / np.sqrt(len(others)), [_MEAN * self._common]])
            variances = np.array(_OWN) * float(differing.var(axis=0).mean())
        else:
            self._common = np.zeros(len(self._names))
            self._directions = np.zeros((0, len(self._names)))
            variances = np.array(_ALONE) * spread
        left = target - 1 - self._known @ self._common
        best = np.inf
        for own in variances.tolist():
            values, vectors = np.linalg.eigh(self._covariance(self._known, self._known, own))
            for noise in _NOISES:
                root = vectors / np.sqrt(np.maximum(values, 0) + noise * spread)
                weights, precision = root @ (root.T @ left), (root**2).sum(axis=1)
                off = weights**2 / precision  # squared, each network from what the others say of it, in its variances
                surprise = float(np.sum(off - np.log(precision)))
                if surprise < best:
                    best, self._own, self._noise = surprise, own, noise * spread
                    self._weights, self._root, self._stretch = weights, root, float(np.sqrt(off.mean()))
        self._stretch *= float(student_t.ppf(_LEVEL, len(target) - 1))
        return self

    def predict(self, networks: GraphFeatures) -> NetworkLatencies:
        """Latencies of n networks.

        Raises:
            NotFitted: before :meth:`fit`.
        """
        if not hasattr(self, "_known"):
            raise NotFitted("The predictor has learnt nothing yet.", hint="Call fit first.")
        x = self._standard(networks)
        cross = self._covariance(x, self._known, self._own)
        mean = 1 + x @ self._common + cross @ self._weights
        own = (
            np.sum((x @ self._directions.T) ** 2, axis=1)
            + self._own * np.sum((x * self._width) ** 2, axis=1)
            + _INTERCEPT
        )
        spread = np.sqrt(np.maximum(own - np.sum((cross @ self._root) ** 2, axis=1), 0) + self._noise)
        half = self._stretch * spread
        latency, lower, upper = (np.maximum(end, _LEAST) * self._unit for end in (mean, mean - half, mean + half))
        return NetworkLatencies(latency, lower, upper)

    def _standard(self, networks: GraphFeatures) -> Floats:
        return np.asarray((networks.columns(self._names) - self._center) / self._scale, np.float64)

    def _coefficients(self, source: LatencyTable) -> list[Floats]:
        """Of each device of a table on which enough was measured, for latencies relative to its mean."""
        x = self._standard(source.networks)
        found = []
        for column in source.latency_ms.T:
            there = np.isfinite(column)
            if there.sum() < _FEWEST:
                continue
            relative = column[there] / column[there].mean()
            low, high = np.quantile(relative, [0.02, 0.98])  # single outliers are the measurement's
            a, y = x[there] - x[there].mean(axis=0), np.clip(relative, low, high)
            gram = a.T @ a + _RIDGE * np.eye(a.shape[1])
            found.append(np.linalg.solve(gram, a.T @ (y - y.mean())))
        return found

    def _covariance(self, one: Floats, other: Floats, own: float) -> Floats:
        directions = (one @ self._directions.T) @ (other @ self._directions.T).T
        return np.asarray(directions + own * ((one * self._width) @ (other * self._width).T) + _INTERCEPT, np.float64)
