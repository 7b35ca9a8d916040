"""NAS-Bench-201 (Dong and Yang 2020, "NAS-Bench-201: extending the scope of reproducible neural architecture search", section 2):
one cell of four nodes, five times in each of three stages, with an operation on each of its six edges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from devices import Graph
from hwnas.space import Gene, Genotypes, checked, checked_task
from hwnas.spaces import _steps
from hwnas.spaces._blocks import INPUT, Conv
from hwnas.spaces._choice import ChoiceSpace
from hwnas.spaces._steps import Step, classifier, convolution, normalization

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_NONE, _SKIP, _, _CONV3, _POOL = range(len(OPERATIONS))
_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # by their ends, in the published order
_WIDTHS, _CELLS = (16, 32, 64), 5
_CELL_PLACES = ("edge01", "edge02", "edge12", "node2", "edge03", "edge13", "edge23", "node3")
_CODES = len(OPERATIONS) ** len(_EDGES)


class NasBench201(ChoiceSpace):
    """The genes are named after the cell's edges; their operations stand in the published order.

    A genotype is drawn as it stands, with operations that nothing reads and with those on nothing but zeros. Its canonical form
    has neither, and is of all cells that compute the same the one with the fewest edges.

    Args:
        input_shape: ``(C, H, W)`` of one example as the task gives it, resized to a square; published for CIFAR's 3×32×32.
        classes: number of classes, at least 2.

    Raises:
        ValueError: not the shape of an image, or too few classes.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        self.input_shape, self.classes = checked_task(input_shape, classes), classes
        self.genes = tuple(Gene(f"edge{a}{b}", OPERATIONS) for a, b in _EDGES)
        places = ["stem"]
        for stage in range(1, len(_WIDTHS) + 1):
            places += [f"reduction{stage}"] if stage > 1 else []
            places += [f"stage{stage}.{place}" for place in _CELL_PLACES]
        self.places = (*places, "head")

    @property
    def piece_count(self) -> int:
        """How many distinct pieces the space has."""
        return 1 + len(_WIDTHS) * (1 + int(_cell_pieces().max()) + 1)

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """``(n, 6)``: of all cells that compute the same as each row's, the one with the fewest edges.

        Raises:
            ValueError: wrong shape, or an option out of range.
        """
        return _cells()[_canonical_codes()[_codes(checked(self, genotypes))]]

    def pieces(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """``(n, P)`` ids of the pieces. The cells of a stage are equal: together they are one piece at each place."""
        cell = _cell_pieces()[_codes(genotypes)]
        per_stage = 1 + int(_cell_pieces().max()) + 1  # and what is before the stage
        columns = []
        for first in per_stage * np.arange(len(_WIDTHS)):
            columns += [np.full((len(genotypes), 1), first), np.where(cell >= 0, first + 1 + cell, -1)]
        return np.concatenate([*columns, np.full((len(genotypes), 1), per_stage * len(_WIDTHS))], axis=1)

    def smallest(self) -> NDArray[np.int64]:
        """Cells that only pass their input on."""
        return np.array([_NONE, _NONE, _NONE, _SKIP, _NONE, _NONE])

    def largest(self) -> NDArray[np.int64]:
        """3×3 convolutions on all edges."""
        return np.full(len(_EDGES), _CONV3)

    def published(self, genotype: NDArray[np.int64]) -> Graph:
        """The graph that the published implementation runs, and that published latencies are of: it multiplies by zero for
        ``none``, here a subtraction of a map from itself, and adds the result."""
        name = "nasbench201-published-" + "".join(map(str, genotype.tolist()))
        steps = self._steps(genotype, draws_nothing=True)
        return _steps.graph(name, self.input_shape[0], self.image_size(genotype), steps)

    def steps(self, genotype: NDArray[np.int64]) -> Sequence[Step]:
        """The one definition of a network."""
        return self._steps(genotype, draws_nothing=False)

    def _steps(self, genotype: NDArray[np.int64], *, draws_nothing: bool) -> Sequence[Step]:
        operations = genotype.tolist()
        steps = [convolution("stem", Conv("conv", self.input_shape[0], _WIDTHS[0], 3), INPUT)]
        x = steps[-1].output
        for stage, width in enumerate(_WIDTHS, start=1):
            if stage > 1:
                steps += _reduction(f"reduction{stage}", width // 2, width, x)
                x = steps[-1].output
            for number in range(_CELLS):
                made, x = _cell(f"stage{stage}", number, operations, width, x, draws_nothing=draws_nothing)
                steps += made
        norm = normalization("head", width, x)
        return (*steps, norm, classifier("head", width, self.classes, norm.output))


def _cell(
    stage: str, number: int, operations: Sequence[int], width: int, x: str, *, draws_nothing: bool
) -> tuple[list[Step], str]:
    """A cell that reads ``x``: its steps and its result. With ``draws_nothing``, ``none`` is a map of zeros."""
    steps: list[Step] = []
    nodes = [x]  # results; empty where nothing arrives
    edges = iter(operations)
    for target in (1, 2, 3):
        terms: list[str] = []
        for source, read in enumerate(nodes):
            operation, place = next(edges), f"{stage}.edge{source}{target}"
            if operation > _SKIP:
                if not read:
                    steps.append(Step(place, f"zero{number}", "zero", (x,)))
                    read = steps[-1].output
                steps += _operation(place, number, operation, width, read)
                read = steps[-1].output
            elif operation == _NONE:
                read = ""
                if draws_nothing:
                    steps.append(Step(place, f"none{number}", "zero", (nodes[source],)))
                    read = steps[-1].output
            if read:
                terms.append(read)
        total = terms[0] if terms else ""
        for i, term in enumerate(terms[1:], start=1):
            steps.append(Step(f"{stage}.node{target}", f"add{number}_{i}", "add", (total, term)))
            total = steps[-1].output
        nodes.append(total)
    if not total:
        steps.append(Step(f"{stage}.node3", f"zero{number}", "zero", (x,)))
        total = steps[-1].output
    return steps, total


@cache
def _operation(place: str, number: int, operation: int, width: int, x: str) -> tuple[Step, ...]:
    if operation == _POOL:
        return (Step(place, f"pool{number}", "average", (x,), Conv("pool", width, width, 3)),)
    kernel = 3 if operation == _CONV3 else 1
    relu = Step(place, f"relu{number}", "relu", (x,))
    return relu, convolution(place, Conv(f"conv{kernel}x{kernel}_{number}", width, width, kernel), relu.output)


def _reduction(place: str, in_width: int, width: int, x: str) -> list[Step]:
    """The residual block with stride 2."""
    before = Step(place, "relu1", "relu", (x,))
    first = convolution(place, Conv("conv1", in_width, width, 3, stride=2), before.output)
    between = Step(place, "relu2", "relu", (first.output,))
    second = convolution(place, Conv("conv2", width, width, 3), between.output)
    pool = Step(place, "pool", "average", (x,), Conv("pool", in_width, in_width, 2, stride=2))
    shortcut = convolution(place, Conv("shortcut", in_width, width, norm=False, bias=False), pool.output)
    return [before, first, between, second, pool, shortcut, Step(place, "add", "add", (second.output, shortcut.output))]


@cache
def _cells() -> Genotypes:
    """``(15625, 6)`` every cell, at the position of its code."""
    return np.stack(np.unravel_index(np.arange(_CODES), (len(OPERATIONS),) * len(_EDGES)), axis=1).astype(np.int64)


def _codes(genotypes: Genotypes) -> NDArray[np.int64]:
    return np.asarray(np.ravel_multi_index(tuple(genotypes.T), (len(OPERATIONS),) * len(_EDGES)), np.int64)


@cache
def _canonical_codes() -> NDArray[np.int64]:
    """``(15625,)`` code of each cell's canonical form.

    Two cells compute the same if their results are sums of the same terms, made of as many operations: a term that two edges
    read is one operation, two equal terms are two.
    """
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for code, operations in enumerate(_cells().tolist()):
        terms: list[tuple[int, ...]] = [
            (0,),
            (),
            (),
            (),
        ]  # of each node: 0 is the input, others are numbered as they are met
        made: list[dict[int, int]] = [{}, {}, {}, {}]  # the operations behind each node: edge to term
        for edge, ((source, target), operation) in enumerate(zip(_EDGES, operations, strict=True)):
            if operation == _NONE or not terms[source]:
                continue
            added, behind = terms[source], made[source]
            if operation != _SKIP:
                term = known.setdefault((operation, terms[source]), len(known) + 1)
                added, behind = (term,), {**behind, edge: term}
            terms[target] = tuple(sorted((*terms[target], *added)))
            made[target] = made[target] | behind
        found.setdefault((terms[3], tuple(sorted(made[3].values()))), []).append(code)
    edges = (_cells() != _NONE).sum(axis=1)
    canonical = np.empty(_CODES, np.int64)
    for codes in found.values():
        canonical[codes] = min(codes, key=lambda code: (edges[code], code))
    return canonical


@cache
def _cell_pieces() -> NDArray[np.int64]:
    """``(15625, 8)`` what stands at each place of each cell's canonical form, numbered over all places; -1 where nothing does."""
    cells = _cells()[_canonical_codes()]
    forms = np.full((_CODES, len(_CELL_PLACES)), -1)
    for edge, (source, target) in enumerate(_EDGES):
        operation = cells[:, edge]
        forms[:, _CELL_PLACES.index(f"edge{source}{target}")] = np.where(operation > _SKIP, operation, -1)
    for node in (2, 3):
        summed = (cells[:, [target == node for _, target in _EDGES]] != _NONE).sum(axis=1)
        forms[:, _CELL_PLACES.index(f"node{node}")] = np.where(summed > 1, summed, -1)
    forms[~cells.any(axis=1), _CELL_PLACES.index("node3")] = 0  # zeros
    pieces, first = np.full_like(forms, -1), 0
    for place, column in enumerate(forms.T):
        options, index = np.unique(column, return_inverse=True)
        empty = int(options[0] == -1)
        pieces[:, place] = np.where(column >= 0, first + index - empty, -1)
        first += len(options) - empty
    return pieces


PLUGIN = NasBench201
