"""What a runtime made of a graph in a profile, taken apart into units: nodes that it executes together, with their kernels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from devices import ExecutedKernel, Graph, Lowering, TensorType
from predictors.lowering.pattern import Match, Pattern, outline
from predictors.lowering.view import View, equal_nodes

Source = tuple[str, int]
"""``("x", i)`` tensor i from outside · ``("k", j)`` kernel j of the unit · ``("c", i)`` a constant, made of tensor i from outside
or, if i is -1, of none of them · ``("many", 0)`` all tensors from outside"""


@dataclass(frozen=True)
class Unit:
    """Nodes that are executed together.

    Attributes:
        pattern, match: which, and where.
        kernels: what executes them, in order.
        sources: for each kernel, where its operands come from.
        layouts: of the tensors from outside, in which the kernels read them; empty for those that no kernel reads.
    """

    pattern: Pattern
    match: Match
    kernels: tuple[ExecutedKernel, ...]
    sources: tuple[tuple[Source, ...], ...]
    layouts: tuple[str, ...]


@dataclass(frozen=True)
class Conversion:
    """A kernel that the runtime inserted between two units to change the layout of a tensor.

    Attributes:
        tensor: the type that the graph gives it.
        before: the layout read.
        kernel: the kernel.
    """

    tensor: TensorType
    before: str
    executed: ExecutedKernel


@dataclass(frozen=True)
class Dissection:
    """A lowering taken apart.

    Attributes:
        view: what is left of the graph.
        removed: positions of the nodes that are in no kernel.
        doubled: positions of nodes that are in several units.
        twins: whether the runtime executes only one of equal nodes; None if there are none.
        units: by position of the node that makes their result. What could not be understood is missing.
        conversions: the kernels between them.
    """

    view: View
    removed: frozenset[int]
    doubled: frozenset[int]
    twins: bool | None
    units: dict[int, Unit]
    conversions: tuple[Conversion, ...]


def dissect(graph: Graph, lowering: Lowering) -> Dissection:
    """Take a lowering apart."""
    kernels = lowering.kernels
    position = {node.name: i for i, node in enumerate(graph.nodes)}
    inside = [{position[name] for name in k.nodes} for k in kernels]
    executed = set().union(*inside)
    equal = equal_nodes(graph)
    of_node: dict[int, set[int]] = defaultdict(set)
    for k, nodes in enumerate(inside):
        for i in nodes:
            of_node[i].add(k)
    twins = {i: first for i, first in equal.items() if i in executed and of_node[i] == of_node[first]}
    alike = [i for i in equal if i in executed and graph.nodes[i].op not in ("Constant",)]
    removed = frozenset(i for i in range(len(graph.nodes)) if i not in executed)
    view = View(graph, removed, twins)
    inside = [nodes - twins.keys() for nodes in inside]
    return _Dissector(view, kernels, inside).dissection(removed, bool(twins) if alike else None)


class _Dissector:
    def __init__(self, view: View, kernels: tuple[ExecutedKernel, ...], inside: list[set[int]]) -> None:
        self.view = view
        self.kernels = kernels
        self.changes = {
            k
            for k, executed in enumerate(kernels)
            if not inside[k] and executed.reads and self._layout(executed.reads[0]) != executed.layout
        }
        self.root: dict[int, int] = {k: max(nodes) for k, nodes in enumerate(inside) if nodes}
        self._place_inserted()
        self.members: dict[int, list[int]] = defaultdict(list)
        self.nodes: dict[int, set[int]] = defaultdict(set)
        for k in range(len(kernels)):
            if k in self.root:
                self.members[self.root[k]].append(k)
                self.nodes[self.root[k]] |= inside[k]

    def dissection(self, removed: frozenset[int], twins: bool | None) -> Dissection:
        self._close()
        for root, members in self.members.items():
            for i in self.nodes[root]:
                self.view.layout |= dict.fromkeys(self.view.nodes[i].outputs, self._layout(members[-1]))
        units = {root: unit for root in self.members if (unit := self._unit(root)) is not None}
        several: dict[int, int] = defaultdict(int)
        for nodes in self.nodes.values():
            for i in nodes:
                several[i] += 1
        doubled = frozenset(i for i, n in several.items() if n > 1)
        return Dissection(self.view, removed, doubled, twins, units, tuple(self._conversions()))

    def _layout(self, at: int) -> str:
        return self.kernels[at].layout if at >= 0 else ""

    def _origin(self, at: int) -> int:
        """The kernel that made what kernel ``at`` only changes the layout of."""
        while at in self.changes:
            at = self.kernels[at].reads[0]
        return at

    def _place_inserted(self) -> None:
        """Inserted kernels that keep the layout belong to the unit behind them if they read a tensor of the graph as it is, else
        to the unit that they read."""
        readers: dict[int, list[int]] = defaultdict(list)
        for k, executed in enumerate(self.kernels):
            for at in executed.reads:
                readers[at].append(k)
        for k, executed in reversed(list(enumerate(self.kernels))):
            if k in self.root or k in self.changes:
                continue
            made = self.root.get(self._origin(executed.reads[0])) if executed.reads else None
            behind = {self.root[r] for r in readers[k] if r in self.root}
            whole = made is None or self._whole(executed.reads[0], made)
            if whole and len(behind) == 1:
                self.root[k] = behind.pop()
        for k, executed in enumerate(self.kernels):
            if k not in self.root and k not in self.changes and executed.reads:
                made = self.root.get(self._origin(executed.reads[0]))
                if made is not None:
                    self.root[k] = made

    def _whole(self, at: int, root: int) -> bool:
        """Whether a kernel's result is the graph's tensor, not one that only the runtime has."""
        results = {self.view.type(name) for name in self.view.nodes[root].outputs if name}
        return (
            at in self.changes
            or bool(self.kernels[at].layout)
            or not results.isdisjoint(self.kernels[at].kernel.outputs)
        )

    def _close(self) -> None:
        """A node inside one unit, whose result another unit reads although no kernel hands it out, is in that one too."""
        for root in sorted(self.members, reverse=True):
            nodes = self.nodes[root]
            todo = list(nodes)
            while todo:
                for name in self.view.inputs(todo.pop()):
                    maker = self.view.maker.get(name) if name else None
                    if maker is None or maker in nodes or maker in self.members:
                        continue
                    owners = [r for r, of in self.nodes.items() if maker in of]
                    handed = any(
                        len(self.kernels[self.members[r][-1]].kernel.outputs) > len(self.view.nodes[r].outputs)
                        for r in owners
                    )
                    if not handed:
                        nodes.add(maker)
                        todo.append(maker)

    def _unit(self, root: int) -> Unit | None:
        nodes = self.nodes[root]
        for _ in range(4):
            pattern, match = outline(self.view, nodes, root)
            lost = self._unseen(root, match)
            if not lost:
                break
            nodes |= lost
        members = self.members[root]
        number = {k: j for j, k in enumerate(members)}
        layouts = [""] * len(match.outside)
        sources = []
        for k in members:
            executed = self.kernels[k]
            reads = iter(executed.reads)
            found: list[Source] = []
            if sum(not o.constant for o in executed.kernel.inputs) != len(executed.reads):
                return None
            used: set[int] = set()
            for operand in executed.kernel.inputs:
                if operand.constant:
                    found.append(("c", self._constant(operand.type, match)))
                    continue
                at = next(reads)
                if at in number:
                    found.append(("k", number[at]))
                    continue
                i = self._outside(at, operand.type, match, used)
                if i is None:
                    return None
                used.add(i)
                layouts[i] = self._layout(at)
                found.append(("x", i))
            sources.append(tuple(found))
        if pattern[0][2] == (("many",),) and sources[0] == tuple(("x", i) for i in range(len(match.outside))):
            sources[0] = (("many", 0),)
            layouts = layouts[:1]
        return Unit(pattern, match, tuple(self.kernels[k] for k in members), tuple(sources), tuple(layouts))

    def _unseen(self, root: int, match: Match) -> set[int]:
        """Nodes that have to be in the unit as its kernels read not their results but what they read."""
        lost = set[int]()
        read = {self.view.maker[name] for name in match.outside if name in self.view.maker}
        for k in self.members[root]:
            for at in self.kernels[k].reads:
                made = self.root.get(self._origin(at))
                if made is None or made == root or made in read:
                    continue
                for maker in read:
                    inputs = {self.view.maker.get(name) for name in self.view.inputs(maker) if name}
                    if made in inputs:
                        lost.add(maker)
        return lost

    def _outside(self, at: int, kind: TensorType, match: Match, used: set[int]) -> int | None:
        """Which tensor from outside kernel ``at`` made."""
        made = self.root.get(self._origin(at))
        fits = [
            i
            for i, name in enumerate(match.outside)
            if not self.view.fixed(name)
            and (
                self.view.maker.get(name) == made
                or (made is not None and self.view.maker.get(name) in self.nodes[made])
            )
        ]
        same = [i for i in fits if self.view.type(match.outside[i]) == kind] or fits
        new = [i for i in same if i not in used] or same
        return new[0] if new else None

    def _constant(self, kind: TensorType, match: Match) -> int:
        """Which fixed tensor a constant was made of, by rank and size; -1 if none fits."""
        types = [self.view.type(name) if self.view.fixed(name) else None for name in match.outside]
        fits = [
            (abs(math.log(max(t.size, 1) / max(kind.size, 1))), i)
            for i, t in enumerate(types)
            if t and len(t.shape) == len(kind.shape)
        ]
        return min(fits, default=(0.0, -1))[1]

    def _conversions(self) -> Iterator[Conversion]:
        for k in self.changes:
            at = self.kernels[k].reads[0]
            made = self.root.get(self._origin(at))
            names = self.view.graph.inputs if made is None else self.view.nodes[made].outputs
            ranks = [
                t for t in map(self.view.type, names) if len(t.shape) == len(self.kernels[k].kernel.outputs[0].shape)
            ]
            if len(ranks) == 1:
                yield Conversion(ranks[0], self._layout(at), self.kernels[k])
