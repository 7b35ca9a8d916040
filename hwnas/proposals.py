"""What a profile that is for no network in particular measures next."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, final

import numpy as np

from devices.events import Note, OnEvent, ignore
from predictors import LatencyPredictor
from profilers import Proposal, sampling

if TYPE_CHECKING:
    from devices import Graph, Node, Profile

BATCH = 48
TIMED = 8
CANDIDATES = 64
"""Networks of a batch of which the kernels are measured, those of them that are timed whole as well, and random ones that the
batch is chosen from."""
REFUSED = 2
"""Times as many quantised networks as were executed have to fail for the others to be left out."""
LONGEST_S, FIRST_S = 0.01, 0.002
"""Nominal times of those that are timed whole, and in the first batch, so that little time is enough for a predictor."""


FEWEST_TIMED, LOOK_AGAIN, NINE_OF_TEN = 24, 1.25, 0.9
"""Networks that are timed before it is looked how well they are predicted, so many times as many before it is again, and of which
the error is looked at."""

FEW, LOOKED_AT = 10, 60
"""Networks to know a device's sibling by, and random ones that they are taken from."""

Cell = tuple[str, tuple[int, ...], int, int]
"""Nodes that are taken to be alike: operator, what decides how it is executed, and output elements and multiply-accumulates to a
factor of four."""
Shares = dict[Cell, float]
"""Nominal seconds of a network's nodes by cell."""


@final
class Proposer:
    """Random networks in batches, each chosen for the work whose time is known least. Those timed whole in one batch are visited
    again in the next, at another time in other company.

    Args:
        seed: of the networks.
    """

    def __init__(self, seed: int = 0) -> None:
        self._network = lru_cache(3 * CANDIDATES)(partial(sampling.network, seed))
        self._shares: dict[str, Shares] = {}
        self._int8 = True

    def __call__(self, profile: Profile) -> Proposal:
        """The next batch: what it is depends on what the profile has. The first is of short networks that are all
        timed, so that little time is enough for a predictor. A device that refuses most of the quantised ones gets floats from
        then on."""
        if any(g.digest() not in profile.timings and g.digest() not in profile.failed for g in self._first):
            return Proposal(timed=self._first)
        batch = math.ceil((len(profile.lowerings) + len(profile.failed)) / BATCH)
        self._int8 = not self._refuses_int8(profile)
        new = profile.graphs.keys() - self._shares.keys()
        self._shares |= {digest: shares(profile.graphs[digest]) for digest in new}
        graphs = least_known(self._candidates(batch), (self._shares[d] for d in profile.graphs))
        return Proposal(tuple(graphs), (*self._timed(batch), *self._timed(batch - 1)))

    def _refuses_int8(self, profile: Profile) -> bool:
        """Judged by all quantised networks of the first batch, and those measured since."""
        failed = sum(sampling.is_int8(g) and g.digest() in profile.failed for g in self._first)
        executed = sum(map(sampling.is_int8, profile.graphs.values()))
        return failed > REFUSED * executed

    @cached_property
    def _first(self) -> tuple[Graph, ...]:
        return tuple(self._timed(0))

    def _timed(self, batch: int) -> list[Graph]:
        """Of a batch, those that are timed whole."""
        longest_s = LONGEST_S if batch else FIRST_S
        fitting = (
            g for g in self._candidates(batch) if not sampling.is_soup(g) and sampling.nominal_seconds(g) <= longest_s
        )
        return list(itertools.islice(fitting, TIMED))

    def _candidates(self, batch: int) -> Iterator[Graph]:
        return (self._network(i, int8=self._int8) for i in range(batch * CANDIDATES, (batch + 1) * CANDIDATES))


@final
class UntilKnown:
    """Proposals that end when networks of the profile are predicted well enough without them.

    It looks again whenever a quarter more networks are timed, as every look learns the predictor anew.

    Args:
        propose: what is measured until then.
        target_error: the fraction within which nine of ten networks are to be predicted.
        on_event: told how well they are.
    """

    def __init__(self, propose: Callable[[Profile], Proposal], target_error: float, on_event: OnEvent = ignore) -> None:
        self._propose, self._target_error, self._on_event = propose, target_error, on_event
        self._wanted = FEWEST_TIMED

    def __call__(self, profile: Profile) -> Proposal | None:
        """The next proposal; None when enough is known."""
        if len(profile.timings) >= self._wanted:
            self._wanted = math.ceil(LOOK_AGAIN * len(profile.timings))
            held_out = LatencyPredictor().fit(profile).held_out_ms_
            errors = [abs(ms / profile.timings[digest].latency_ms - 1) for digest, ms in held_out.items()]
            error = float(np.quantile(errors, NINE_OF_TEN))
            self._on_event(Note(f"Nine of ten of {len(errors)} networks held out are predicted within {error:.1%}."))
            if error <= self._target_error:
                return None
        return self._propose(profile)


def least_known(candidates: Iterable[Graph], measured: Iterable[Shares]) -> list[Graph]:
    """Up to :data:`BATCH` candidates, one after the other the one whose time is known least.

    How far the time of a cell is unknown goes with one over the root of how many networks have it, of those measured and those
    chosen before; what is unknown of a network's cells adds up.
    """
    seen = Counter(cell for of in measured for cell in of)
    left = [(graph, shares(graph)) for graph in candidates]

    def doubt(of: Shares) -> float:
        return sum(s / math.sqrt(1 + seen[cell]) for cell, s in of.items()) / sum(of.values())

    chosen: list[Graph] = []
    while left and len(chosen) < BATCH:
        graph, of = left.pop(max(range(len(left)), key=lambda i: doubt(left[i][1])))
        chosen.append(graph)
        seen.update(of.keys())
    return chosen


def shares(graph: Graph) -> Shares:
    """Nominal seconds of a network by cell."""
    found: Shares = {}
    rounded = {o for node in graph.nodes if node.op == "DequantizeLinear" for o in node.outputs}
    for node in graph.nodes:
        shape = graph.tensors[node.outputs[0]].shape
        size, work = math.prod(shape), sampling.macs(graph, node)
        how = int(node.inputs[0] in rounded) if node.inputs else 0, len(shape), *_manner(graph, node)
        cell = node.op, how, int(math.log2(1 + size)) // 2, int(math.log2(1 + work)) // 2
        found[cell] = found.get(cell, 0.0) + sampling.nominal_seconds_of(graph, node)
    return found


def _manner(graph: Graph, node: Node) -> tuple[int, ...]:
    """What decides about an operator besides the sizes: groups, windows and strides; several sequences or one; a single row."""
    shapes = [graph.tensors[i].shape for i in node.inputs if i]
    out = graph.tensors[node.outputs[0]].shape
    match node.op:
        case "Conv" | "ConvTranspose":
            weight, group = shapes[1], int(str(node.attributes.get("group", 1)))
            depthwise = group > 1 and group >= min(shapes[0][1], out[1])
            on_padding = any(k > 2 * s for k, s in zip(weight[2:], shapes[0][2:], strict=True))
            return min(group, 2) + depthwise, int(math.log2(max(weight[2:]))), on_padding, _strides(node)
        case "MaxPool" | "AveragePool":
            return int(math.log2(shapes[0][-1])), _strides(node)
        case "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM":
            return (int(math.log2(shapes[0][1])),)
        case "Gemm" | "MatMul":
            return (min(math.prod(out[:-1]), 2), len(shapes[1]))
    return ()


def _strides(node: Node) -> int:
    return int(node.attributes.get("strides", (1, 1)) not in ((1,), (1, 1), (1, 1, 1)))


def few(seed: int = 0) -> list[Graph]:
    """Networks that tell a device from its sibling: short ones of every recipe, in floats and integers."""
    found: list[tuple[int, Graph]] = []
    kinds: Counter[tuple[str, bool]] = Counter()
    for graph in itertools.islice(sampling.networks(seed), LOOKED_AT):
        if not sampling.is_soup(graph) and sampling.nominal_seconds(graph) <= LONGEST_S:
            kind = graph.name.partition("-")[0], sampling.is_int8(graph)
            found.append((kinds[kind], graph))
            kinds[kind] += 1
    return [graph for _, graph in sorted(found, key=lambda f: f[0])][:FEW]
