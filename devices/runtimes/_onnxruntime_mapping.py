"""Which nodes of a graph are in which kernel of ONNX Runtime's optimised graph."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import onnx

from devices.graph import Graph, Node
from devices.runtimes._tokens import foldable

_NODE = re.compile(r"N(\d+)Z")
_TENSOR = re.compile(r"T(\d+)Z")
_INSERTED = ("ReorderInput", "ReorderOutput", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Cast")
_ACTIVATIONS = frozenset(("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Clip"))
_ALIASES = ("Identity", "Dropout")
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class NodeMap:
    """Where a graph's nodes are.

    Attributes:
        kernels: for each kernel, names of the nodes it computes; a node that the runtime split or doubled is in several.
        removed: nodes that the runtime folded into constants or passed by.
        unmapped: nodes of which no trace was found.
    """

    kernels: tuple[tuple[str, ...], ...]
    removed: tuple[str, ...]
    unmapped: tuple[str, ...]


def map_nodes(graph: Graph, lowered: onnx.GraphProto) -> NodeMap:
    """Anchor kernels at the nodes whose tokens they carry, add what the runtime fused behind them, take the twins that it
    found equal, flood backwards from all of these to whatever is left, and look after kernels that are still without nodes."""
    mapper = _Mapper(graph)
    mapper.anchor(lowered)
    mapper.find_twins()
    mapper.flood()
    mapper.take_apart(lowered)
    return mapper.result(len(lowered.node))


@final
class _Mapper:
    def __init__(self, graph: Graph) -> None:
        self._nodes = graph.nodes
        self._tensors = list(graph.tensors)
        self._outputs = set(graph.outputs)
        self._maker = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs if name}
        self._readers: dict[str, list[int]] = defaultdict(list)
        for i, node in enumerate(graph.nodes):
            for name in dict.fromkeys(node.inputs):
                self._readers[name].append(i)
        self._kernels: list[set[int]] = [set() for _ in graph.nodes]  # of each node
        self._flooded: set[int] = set()
        self._constant = foldable(graph)

    def anchor(self, lowered: onnx.GraphProto) -> None:
        """Give kernels the nodes whose tokens are in their names or outputs. What an inserted kernel passes on under the name
        of a tensor was made by the kernel before it."""
        writer = {name: k for k, node in enumerate(lowered.node) for name in node.output if name}
        for k, kernel in enumerate(lowered.node):
            owned = set(self._named(kernel))
            made = {i for name in kernel.output for i in self._made(name)}
            if not owned and kernel.op_type in _INSERTED and not any(self._is(i, kernel) for i in made):
                source = writer.get(kernel.input[0])
                if source is not None:
                    self._own(made, source)
            else:
                self._own(owned | made | self._fused_behind(kernel, owned | made), k)

    def find_twins(self) -> None:
        """A node equal to another one is computed where that one is: the runtime keeps one of them."""
        same: dict[str, str] = {}
        first: dict[tuple[object, ...], int] = {}
        for i, node in enumerate(self._nodes):
            key = (node.op, node.domain, repr(sorted(node.attributes.items())), *(same.get(n, n) for n in node.inputs))
            twin = first.setdefault(key, i)
            if twin != i:
                same |= dict(zip(node.outputs, self._nodes[twin].outputs, strict=False))
                if not self._kernels[i]:
                    self._kernels[i] |= self._kernels[twin]
                elif not self._kernels[twin]:
                    self._kernels[twin] |= self._kernels[i]

    def flood(self) -> None:
        """What is in no kernel yet was absorbed by the first kernel that reads it; constants and aliases were not."""
        for i in reversed(range(len(self._nodes))):
            node = self._nodes[i]
            if self._kernels[i] or node.op in _ALIASES or (i in self._constant and node.op != "DequantizeLinear"):
                continue
            readers = [min(self._kernels[r]) for name in node.outputs for r in self._readers[name] if self._kernels[r]]
            if readers:
                self._kernels[i].add(min(readers))
                self._flooded.add(i)

    def take_apart(self, lowered: onnx.GraphProto) -> None:
        """Kernels without a name are parts of a function that the runtime took apart (HardSwish): they go with the part behind
        them, or take what was flooded into the kernel that reads them."""
        inside: dict[int, set[int]] = defaultdict(set)
        for i, kernels in enumerate(self._kernels):
            for k in kernels:
                inside[k].add(i)
        reader = {name: k for k, node in reversed([*enumerate(lowered.node)]) for name in node.input}
        for k in reversed(range(len(lowered.node))):
            kernel = lowered.node[k]
            after = reader.get(kernel.output[0])
            if inside[k] or kernel.name or kernel.op_type in _INSERTED or after is None:
                continue
            named = bool(lowered.node[after].name)
            inside[k] = {
                i for i in inside[after] if not named or (i in self._flooded and self._nodes[i].op not in _QUANTISERS)
            }
            for i in inside[k]:
                self._kernels[i] = (self._kernels[i] - {after} if named else self._kernels[i]) | {k}

    def result(self, kernels: int) -> NodeMap:
        """The nodes of each of so many kernels, and of none."""
        inside: list[list[str]] = [[] for _ in range(kernels)]
        removed: list[str] = []
        unmapped: list[str] = []
        for i, node in enumerate(self._nodes):
            for k in self._kernels[i]:
                inside[k].append(node.name)
            if not self._kernels[i]:
                passed = i in self._constant or node.op in _ALIASES
                (removed if passed else unmapped).append(node.name)
        return NodeMap(tuple(map(tuple, inside)), tuple(removed), tuple(unmapped))

    def _named(self, kernel: onnx.NodeProto) -> Iterable[int]:
        if found := _NODE.match(kernel.name):
            yield int(found[1])
        elif (found := _TENSOR.match(kernel.name)) and kernel.name == f"{found[0]}_nchwc":
            yield from self._made(found[0])

    def _made(self, name: str) -> Iterable[int]:
        """The node that made a tensor of the optimised graph, if its name tells."""
        if found := _TENSOR.fullmatch(name):
            maker = self._maker.get(self._tensors[int(found[1])])
            if maker is not None:
                yield maker
        elif found := _NODE.fullmatch(name):
            yield int(found[1])

    def _is(self, i: int, kernel: onnx.NodeProto) -> bool:
        """Whether an otherwise inserted kernel is node ``i`` itself; an output reorder can do the work of a transpose."""
        return self._nodes[i].op in (kernel.op_type, "Transpose" if kernel.op_type == "ReorderOutput" else "")

    def _own(self, nodes: Iterable[int], kernel: int) -> None:
        for i in nodes:
            self._kernels[i].add(kernel)

    def _fused_behind(self, kernel: onnx.NodeProto, owned: set[int]) -> set[int]:
        """Nodes after the owned ones whose work the kernel does too: a sum, an activation, the quantisation of the result."""
        wanted: list[frozenset[str]] = []
        if kernel.op_type == "Conv" and kernel.domain == "com.microsoft.nchwc":
            wanted += [frozenset(("Add",))] * (len(kernel.input) > 3 and bool(kernel.input[3]))
            wanted += [_ACTIVATIONS] * any(a.name == "activation" for a in kernel.attribute)
        elif kernel.name.endswith("/MatMulAddFusion"):
            wanted.append(frozenset(("Add",)))
        elif kernel.op_type.startswith(("QLinear", "QGemm")):
            wanted += [_ACTIVATIONS, frozenset(("QuantizeLinear",))]
        behind: set[int] = set()
        last = max(owned, default=None)
        for operators in wanted:
            if last is None or any(self._nodes[i].op in operators for i in owned):
                continue
            follower = self._only_reader(self._nodes[last])
            if follower is not None and self._nodes[follower].op in operators:
                behind.add(follower)
                last = follower
        return behind

    def _only_reader(self, node: Node) -> int | None:
        readers = self._readers[node.outputs[0]]
        return readers[0] if len(readers) == 1 and node.outputs[0] not in self._outputs else None
