"""What a profile that is for no network in particular measures next."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, final

from profilers import Proposal, sampling

if TYPE_CHECKING:
    from devices import Graph, Profile

BATCH = 48
TIMED = 12
CANDIDATES = 72
"""Networks of a batch of which the kernels are measured, those of them that are timed whole as well, and random ones that the
batch is chosen from."""
LONGEST_S, FIRST_S = 0.02, 0.002
"""Nominal times of those that are timed whole, and in the first batch, so that little time is enough for a predictor."""


FEW, LOOKED_AT = 10, 60
"""Networks to know a device's sibling by, and random ones that they are taken from."""


@final
class Proposer:
    """Random networks in batches, each chosen for the work that was seen least. Those timed whole in one batch are visited again
    in the next, at another time in other company.

    Args:
        seed: of the networks.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def __call__(self, profile: Profile) -> Proposal:
        """The next batch: what it is depends on what the profile has. The first is of short networks that are all
        timed, so that little time is enough for a predictor."""
        if any(g.digest() not in profile.timings and g.digest() not in profile.failed for g in self._first):
            return Proposal(timed=self._first)
        batch = math.ceil((len(profile.lowerings) + len(profile.failed)) / BATCH)
        graphs = least_seen(self._candidates(batch), profile.graphs.values())
        return Proposal(
            tuple(g for g in graphs if not sampling.is_soup(g)),
            (*self._timed(batch), *self._timed(batch - 1)),
            tuple(g for g in graphs if sampling.is_soup(g)),
        )

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
        return (sampling.network(self._seed, i) for i in range(batch * CANDIDATES, (batch + 1) * CANDIDATES))


def least_seen(candidates: Iterable[Graph], measured: Iterable[Graph]) -> list[Graph]:
    """Those :data:`BATCH` whose time goes to work that few nodes measured so far do: operators and sizes seldom seen."""
    seen = Counter(cell for graph in measured for cell, _ in _cells(graph))

    def novelty(graph: Graph) -> float:
        cells = list(_cells(graph))
        return sum(s / math.sqrt(1 + seen[cell]) for cell, s in cells) / sum(s for _, s in cells)

    return sorted(candidates, key=novelty, reverse=True)[:BATCH]


def _cells(graph: Graph) -> Iterator[tuple[tuple[str, int, int], float]]:
    """Each node's operator and size, to a factor of four, and its nominal seconds."""
    for node in graph.nodes:
        size = math.prod(graph.tensors[node.outputs[0]].shape)
        work = sampling.macs(graph, node)
        yield (
            (node.op, int(math.log2(1 + size)) // 2, int(math.log2(1 + work)) // 2),
            sampling.nominal_seconds_of(graph, node),
        )


def few(seed: int = 0) -> list[Graph]:
    """Networks that tell a device from its sibling: short ones of every recipe, in floats and integers."""
    found: list[tuple[int, Graph]] = []
    kinds: Counter[tuple[str, bool]] = Counter()
    for graph in itertools.islice(sampling.networks(seed), LOOKED_AT):
        if not sampling.is_soup(graph) and sampling.nominal_seconds(graph) <= LONGEST_S:
            kind = graph.name.partition("-")[0], graph.name.endswith("int8")
            found.append((kinds[kind], graph))
            kinds[kind] += 1
    return [graph for _, graph in sorted(found, key=lambda f: f[0])][:FEW]
