"""Which nodes of a graph are in which node of OpenVINO's executable graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from devices.graph import Graph
from devices.runtimes._tokens import foldable, tokens

if TYPE_CHECKING:
    from devices.runtimes._openvino_kernels import ExecNode


def map_nodes(graph: Graph, executable: Sequence[ExecNode]) -> list[tuple[str, ...]]:
    """Names of the graph's nodes in each executable node, in the graph's order.

    Executable nodes carry names of nodes that they were made of. What is in none of them is looked for in two ways: forwards,
    by executable nodes without names, which take the nodes that read what they read, up to the next named one; then
    backwards, by whatever reads a node's result.
    """
    makers = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs if name}
    readers: dict[str, list[int]] = defaultdict(list)
    for i, node in enumerate(graph.nodes):
        for name in dict.fromkeys(node.inputs):
            readers[name].append(i)
    folded, names = foldable(graph), list(graph.tensors)
    place: dict[int, int] = {}  # of a node, the executable node that has it
    held: dict[int, set[str]] = defaultdict(set)  # tensors that an executable node makes, where that is known

    def take(node: int, k: int) -> None:
        place[node] = k
        held[k].update(graph.nodes[node].outputs)

    for k, found in enumerate(executable):
        if found.constant or found.layer == "Output":
            continue
        if found.layer == "Input":
            held[k] |= {names[i] for kind, i in tokens(found.name) if kind == "T"}
            continue
        for kind, i in tokens(f"{found.originals},{'' if _inserted(found) else found.name}"):
            at = i if kind == "N" else makers.get(names[i])
            if at is not None and at not in place and at not in folded:
                take(at, k)

    for k, found in enumerate(executable):
        if found.constant or held[k]:
            continue
        read = {name for at, _ in found.reads for name in held[at]}
        if _inserted(found):
            held[k] |= read
            continue
        known = {*read, *graph.constants, *(o for i in folded for o in graph.nodes[i].outputs), ""}
        for i, node in enumerate(graph.nodes):
            if i in place or i in folded or not known.issuperset(node.inputs) or read.isdisjoint(node.inputs):
                continue
            take(i, k)
            known.update(node.outputs)
            read.update(node.outputs)

    goal = {i: k for i, k in place.items() if executable[k].executed}
    reached = dict(goal)
    for i in reversed(range(len(graph.nodes))):
        after = [reached[r] for name in graph.nodes[i].outputs for r in readers[name] if r in reached]
        if i not in reached and after:
            reached[i] = min(after)
            if i not in place and i not in folded:
                goal[i] = reached[i]
    inside: list[list[str]] = [[] for _ in executable]
    for i, k in sorted(goal.items()):
        inside[k].append(graph.nodes[i].name)
    return [tuple(names) for names in inside]


def _inserted(node: ExecNode) -> bool:
    """Whether it only changes layouts or types between others."""
    return node.layer == "Reorder" and not node.originals
