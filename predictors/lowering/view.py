"""A graph as the learned lowering sees it: without the nodes that are not executed, and with what is fixed told apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import final

from devices import Graph, Node, TensorType

_OF_SHAPES = frozenset({"Shape", "Size"})


@final
class View:
    """What is left of a graph without the nodes that the runtime removes.

    Args:
        graph: the whole.
        removed: positions of the nodes that are not executed.
        twins: positions of nodes that are not executed because an earlier node, at the position given, is their equal.

    Attributes:
        nodes: the graph's, the removed ones among them.
        position: of each node by its name.
        left: positions of the nodes that are executed, in the order of the graph.
        readers: tensor to positions of the nodes that read it, once for each.
        maker: tensor to position of the node that makes it.
        outputs: tensors that leave the network.
        layout: the layout in which tensors are made, as far as it is not the graph's; filled in by whoever knows.
        doubled: operators that are executed once for each reader; likewise.
    """

    def __init__(self, graph: Graph, removed: Collection[int], twins: Mapping[int, int]) -> None:
        self.graph = graph
        self.layout: dict[str, str] = {}
        self.doubled: frozenset[str] = frozenset()
        self.nodes = graph.nodes
        self.position = {node.name: i for i, node in enumerate(graph.nodes)}
        self.left = [i for i in range(len(graph.nodes)) if i not in removed and i not in twins]
        self._fixed = fixed_tensors(graph, removed)
        self._stands_for: dict[str, str] = {}
        for i in sorted({*removed, *twins}):
            node = graph.nodes[i]
            if i in twins:
                for name, same in zip(node.outputs, graph.nodes[twins[i]].outputs, strict=True):
                    self._stands_for[name] = self.resolved(same)
                continue
            source = next((name for name in node.inputs if name and name not in self._fixed), None)
            if source is not None and node.outputs[0] not in self._fixed:
                self._stands_for[node.outputs[0]] = self.resolved(source)
        self.readers: dict[str, list[int]] = defaultdict(list)
        self.maker: dict[str, int] = {}
        for i in self.left:
            node = graph.nodes[i]
            for name in dict.fromkeys(map(self.resolved, filter(None, node.inputs))):
                self.readers[name].append(i)
            self.maker |= dict.fromkeys(filter(None, node.outputs), i)
        self.outputs = {self.resolved(name) for name in graph.outputs}

    def resolved(self, name: str) -> str:
        """The tensor that a name stands for."""
        return self._stands_for.get(name, name)

    def inputs(self, i: int) -> list[str]:
        """Tensors that a node reads; empty names where an optional one is missing, but not at the end."""
        names = [self._stands_for.get(name, name) for name in self.nodes[i].inputs]
        while names and not names[-1]:
            names.pop()
        return names

    def fixed(self, name: str) -> bool:
        """Whether a tensor is known before a run."""
        return name in self._fixed

    def type(self, name: str) -> TensorType:
        """Type of a tensor."""
        return self.graph.tensors[name]


def fixed_tensors(graph: Graph, removed: Collection[int]) -> set[str]:
    """Constants, and what removed nodes make of them or of shapes, which are pinned."""
    fixed = set(graph.constants)
    for i in sorted(removed):
        if foldable(graph.nodes[i], fixed):
            fixed.update(graph.nodes[i].outputs)
    return fixed


def foldable(node: Node, fixed: Collection[str]) -> bool:
    """Whether a node's results are known before a run if the tensors ``fixed`` are."""
    return node.op in _OF_SHAPES or all(not name or name in fixed for name in node.inputs)


def equal_nodes(graph: Graph) -> dict[int, int]:
    """Position of each node that computes the same as an earlier one, to that one's position."""
    same: dict[str, str] = {}
    first: dict[tuple[object, ...], int] = {}
    equal: dict[int, int] = {}
    for i, node in enumerate(graph.nodes):
        inputs = [same.get(name, name) for name in node.inputs]
        key = (node.domain, node.op, len(node.outputs), tuple(sorted(node.attributes.items())), *inputs)
        twin = first.setdefault(key, i)
        if twin != i:
            equal[i] = twin
            same |= zip(node.outputs, graph.nodes[twin].outputs, strict=True)
    return equal
