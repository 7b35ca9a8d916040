"""What nodes read, their bodies included, under other names, and the order in which they can be executed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

import onnx

from devices.errors import InvalidModel


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Graphs that a node executes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Tensors that a node reads, and its bodies from outside."""
    yield from node.input
    yield from captured(node)


def captured(node: onnx.NodeProto) -> list[str]:
    """Tensors from outside that only the bodies of a node read, in order."""
    found = [name for body in bodies(node) for name in _from_outside(body)]
    return [name for name in dict.fromkeys(found) if name not in node.input]


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give tensors other names, in place: where nodes read and make them, among the outputs, and where bodies read them from
    outside. What a body makes itself, under a name that there is outside too, is another tensor."""
    todo = [(graph, names)]
    while todo:
        inner, known = todo.pop()
        for node in inner.node:
            node.input[:] = [known.get(name, name) for name in node.input]
            node.output[:] = [known.get(name, name) for name in node.output]
            for body in bodies(node):
                own = {value.name for value in (*body.input, *body.initializer)} | {
                    o for n in body.node for o in n.output
                }
                todo.append((body, {name: new for name, new in known.items() if name not in own}))
        for value in inner.output:
            value.name = known.get(value.name, value.name)


def sort(graph: onnx.GraphProto) -> None:
    """Bring the nodes into topological order, in place.

    Raises:
        InvalidModel: there is none, the graph has a cycle.
    """
    maker = {output: i for i, node in enumerate(graph.node) for output in node.output if output}
    readers: list[list[int]] = [[] for _ in graph.node]
    waits = [0] * len(graph.node)
    for i, node in enumerate(graph.node):
        for name in reads(node):
            if name in maker:
                readers[maker[name]].append(i)
                waits[i] += 1
    free = deque(i for i, n in enumerate(waits) if n == 0)
    order = []
    while free:
        i = free.popleft()
        order.append(i)
        for reader in readers[i]:
            waits[reader] -= 1
            if waits[reader] == 0:
                free.append(reader)
    if len(order) < len(waits):
        stuck = graph.node[next(i for i, n in enumerate(waits) if n)]
        raise InvalidModel(
            f"The graph has a cycle; {stuck.op_type} {stuck.name!r} waits for itself.",
            hint="Export or copy the model again.",
        )
    nodes = [onnx.NodeProto.FromString(graph.node[i].SerializeToString()) for i in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _from_outside(graph: onnx.GraphProto) -> Iterator[str]:
    """Tensors that a graph reads and does not make."""
    own = {""} | {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    own.update(output for node in graph.node for output in node.output)
    read = [name for node in graph.node for name in (*node.input, *captured(node))]
    yield from (name for name in (*read, *(value.name for value in graph.output)) if name not in own)
