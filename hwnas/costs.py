"""What networks of a space cost on a device, in arrays: a space's distinct pieces are predicted once, then gathered and added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, final

import numpy as np
from numpy.typing import NDArray

from devices import Device, ExecutedKernel, Graph
from devices.events import OnEvent, Progress, ignore
from hwnas.places import kernel_places, place_of
from hwnas.space import Genotypes, SearchSpace
from predictors import LatencyPredictor, MemoryRules
from predictors.calibration import Calibration

Floats = NDArray[np.float64]

_SAMPLE = 20_000
_ROWS = 8192  # networks worked on at a time, so that they stay in the cache


@dataclass(frozen=True)
class Costs:
    """Costs of n networks.

    Attributes:
        latency_ms: ``(n,)`` latency at the machine's best, what predictors learn.
        p50_ms: ``(n,)`` median latency; latency budgets are on this.
        upper_ms: ``(n,)`` its one-sided upper bound, at 95 % unless said otherwise.
        memory_bytes: ``(n,)`` weights and the highest use of activations.
        model_bytes: ``(n,)`` size of the ONNX file.
    """

    latency_ms: Floats
    p50_ms: Floats
    upper_ms: Floats
    memory_bytes: Floats
    model_bytes: Floats

    def __getitem__(self, index: Any) -> Costs:
        """The rows that a slice, a mask or an array of positions selects."""
        return Costs(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def joined(parts: Sequence[Costs]) -> Costs:
        """All of at least one part, in order."""
        return Costs(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Costs)))


class CostModel(Protocol):
    """Measured, predicted or tabulated costs are interchangeable; ``source`` is the word for which of them they are."""

    @property
    def source(self) -> str:
        """The word."""

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` genotypes."""


@final
class UnknownCosts:
    """Costs before there is a device: NaN, which no budget lets pass."""

    source = "unknown"

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` genotypes."""
        return Costs(*(np.full(len(genotypes), np.nan) for _ in fields(Costs)))


@final
@dataclass(frozen=True)
class CompiledCosts:
    """A predictor, worked out for every piece of a space.

    Attributes:
        space: the space.
        added: ``(pieces + 1, 4)`` what a piece adds to latency in ms, to its doubt in ms, to weight and to file bytes. The last
            piece is zero, for places that are empty.
        live: ``(pieces + 1,)`` highest use of activations while the piece runs, in bytes.
        run_overhead_ms: what a run costs beside its pieces.
        file_bytes: what a file has beside its pieces.
        calibration: what it knows of medians and of errors.
        difficulty: of the space's networks, which are alike in it.
        guarantee: probability with which a network's median latency is below its upper bound.
    """

    space: SearchSpace
    added: Floats
    live: Floats
    run_overhead_ms: float
    file_bytes: float
    calibration: Calibration
    difficulty: float
    guarantee: float
    source: ClassVar[str] = "predicted"

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` genotypes."""
        n = len(genotypes)
        sums, live = np.zeros((n, 4)), np.zeros(n)
        for start in range(0, n, _ROWS):
            rows = slice(start, start + _ROWS)
            for place in self.space.pieces(genotypes[rows]).T:
                sums[rows] += self.added[place]
                np.maximum(live[rows], self.live[place], out=live[rows])
        added, doubt, weight_bytes, file_bytes = sums.T
        latency = added + self.run_overhead_ms
        expected = self.calibration.expected_error(np.full(n, self.difficulty), latency)
        return Costs(
            latency,
            latency * self.calibration.p50,
            (latency + doubt) * self.calibration.p50_upper(expected, self.guarantee),
            weight_bytes + live,
            file_bytes + self.file_bytes,
        )


def cover(space: SearchSpace, seed: int = 0) -> Genotypes:
    """``(n, G)`` few networks that together contain every piece: of many random ones always the one with the most new pieces.

    Random networks are drawn until twice as many have no further piece.
    """
    rng = np.random.default_rng(seed)
    sample = space.sample(rng, _SAMPLE)
    pieces = space.pieces(sample)
    while (found := np.unique(pieces[pieces >= 0])).size < space.piece_count:
        more = space.sample(rng, len(sample))
        more_pieces = space.pieces(more)
        sample, pieces = np.concatenate([sample, more]), np.concatenate([pieces, more_pieces])
        if np.isin(more_pieces[more_pieces >= 0], found).all():
            break
    missing = np.zeros(space.piece_count + 1, bool)  # the last one stands for empty places
    missing[found] = True
    chosen = []
    while missing.any():
        new = missing[pieces].sum(axis=1)
        best = int(np.argmax(new))
        chosen.append(sample[best])
        missing[pieces[best]] = False
        sample, pieces = sample[new > 0], pieces[new > 0]
    return np.stack(chosen)


def compile_costs(
    space: SearchSpace,
    predictor: LatencyPredictor,
    device: Device | None = None,
    *,
    seed: int = 0,
    guarantee: float = 0.95,
    on_event: OnEvent = ignore,
) -> CompiledCosts:
    """Predict every piece of a space, inside the networks of its :func:`cover`.

    Each kernel belongs to a place (:func:`hwnas.places.kernel_places`). What a piece costs is the mean over the cover's networks
    that contain it.

    Args:
        space: what to compile.
        predictor: a fitted one.
        device: asked for the kernels of those networks of the cover that are not in the predictor's profile; without one they
            are what the profile lets expect.
        seed: the cover's; with the seed of the profile, no device is needed.
        guarantee: probability with which a network's median latency is below its upper bound.
        on_event: told after every network.

    Raises:
        ValueError: a node of a network is not named after a place.
    """
    genotypes = cover(space, seed)
    pieces = space.pieces(genotypes)
    index = {place: i for i, place in enumerate(space.places)}
    graphs = [space.graph(genotype) for genotype in genotypes]
    if odd := [node.name for graph in graphs for node in graph.nodes if place_of(node.name) not in index]:
        raise ValueError(f"node {odd[0]!r} is not named after a place of the space")
    lowerings = []
    for done, graph in enumerate(graphs, start=1):
        lowerings += predictor.lower([graph], device)
        on_event(Progress("compile", done, len(graphs)))
    places = [np.array([index[p] for p in kernel_places(low.kernels, index)]) for low in lowerings]

    def mean(of_network: Iterable[Floats], columns: int) -> Floats:
        """``(pieces + 1, columns)`` mean over the cover's networks of what each says, ``(P, columns)``, of its pieces."""
        total, seen = np.zeros((space.piece_count + 1, columns)), np.zeros((space.piece_count + 1, 1))
        for ids, values in zip(pieces, of_network, strict=True):
            total[ids[ids >= 0]] += values[ids >= 0]
            seen[ids[ids >= 0]] += 1
        return np.asarray(total / np.maximum(seen, 1), np.float64)

    def summed(values: Sequence[Floats], place: NDArray[np.int64]) -> Floats:
        """``(P, columns)`` from what each kernel adds, a column each."""
        of_place = np.zeros((len(index), len(values)))
        np.add.at(of_place, place, np.column_stack(values))
        return of_place

    files = [_model_bytes(graph, index) for graph in graphs]
    added = [
        np.column_stack(
            [
                summed([costs.latency_ms, costs.over_ms, _weight_bytes(low.kernels, predictor.memory_rules_)], place),
                of_place,
            ]
        )
        for costs, low, place, (of_place, _) in zip(
            predictor.kernel_costs(lowerings), lowerings, places, files, strict=True
        )
    ]
    highest = []
    for low, place in zip(lowerings, places, strict=True):
        live = np.zeros((len(index), 1))
        np.maximum.at(live[:, 0], place, predictor.memory_rules_.bytes_in_use(low.kernels))
        highest.append(live)
    return CompiledCosts(
        space,
        mean(added, 4),
        mean(highest, 1)[:, 0],
        predictor.run_overhead_ms,
        float(np.mean([rest for _, rest in files])),
        predictor.calibration_,
        float(np.median(predictor.difficulty(lowerings))),
        guarantee,
    )


def _weight_bytes(kernels: Sequence[ExecutedKernel], rules: MemoryRules) -> Floats:
    """``(n,)`` bytes of each kernel's constants, as the runtime keeps them."""
    return np.array([rules.kept_bytes(k.kernel) for k in kernels], np.float64)


def _model_bytes(graph: Graph, index: Mapping[str, int]) -> tuple[Floats, int]:
    """``(P,)`` bytes of the ONNX file that each place takes, and what is left."""
    zeros = {name: np.zeros(graph.tensors[name].shape, graph.tensors[name].dtype) for name in graph.constants}
    model = graph.to_onnx({name: zeros[name] for name in graph.weights})
    of_place = np.zeros(len(index))
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.value_info):
        place = index.get(place_of(item.name))
        if place is not None:
            size = item.ByteSize()
            of_place[place] += 1 + (size.bit_length() + 6) // 7 + size  # tag, length, content
    return of_place, model.ByteSize() - int(of_place.sum())
