"""What MNN executes, from the operators that it named as they ran. Runs in the host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from devices.frames import Blob
from devices.graph import Graph, Node
from devices.kernels import Attribute, ExecutedKernel, Kernel, Operand, TensorType
from devices.runtimes._tokens import foldable, tokens

# They do what they are told: a power takes a hundred times as long as a sum.
_GENERIC = ("BinaryOp", "Reduction", "UnaryOp", "While")
_MOVES = "Raster"  # rearranges data: for a node of the graph, or between two layouts
_MOVING = (
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
_CHANNELS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # their constants are inside of MNN's operator


def executed(graph: Graph, trace: Blob) -> list[ExecutedKernel]:
    """Kernels in the order of execution, with the graph's nodes in each and their times.

    MNN names an operator after the tensor that it makes. What it needs to get there, such as a change of layout, has the name
    with something behind it, or none. A node that no operator is named after computes where what it reads is made (a fused
    activation); a product, in the operator that adds the bias; if it only moves data, it is in the operator that reads what it
    makes, or in that one's change of layout.
    """
    told = json.loads(bytes(trace))
    operators: list[dict[str, Any]] = told["operators"]
    seconds = np.median(told["seconds"], axis=0).tolist() if told["seconds"] else [None] * len(operators)
    inside = _inside(graph, operators)
    makers = _makers(graph, operators, inside)
    nodes = {node.name: node for node in graph.nodes}
    kernels = []
    for k, (operator, taken) in enumerate(zip(operators, inside, strict=True)):
        within = [nodes[name] for name in taken]
        made = {name for node in within for name in node.outputs}
        read = [n for node in within for n in node.inputs if n and n not in graph.constants and n not in made]
        sources = [makers.get(name, -1) for name in dict.fromkeys(read)] or [k - 1]
        reads = tuple(source if source < k else k - 1 for source in sources[: len(operator["inputs"])])
        kernels.append(
            ExecutedKernel(
                _kernel(graph, operator, within, len(reads)),
                taken,
                reads,
                any(makers.get(name) == k for name in graph.outputs),
                seconds[k],
            )
        )
    return kernels


def _inside(graph: Graph, operators: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Names of the nodes in each operator."""
    names = list(graph.tensors)
    producer = {output: i for i, node in enumerate(graph.nodes) for output in node.outputs if output}
    place: dict[int, int] = {}
    for wanted in (False, True):  # what computes goes before what moves
        for k, operator in enumerate(operators):
            for kind, number in tokens(operator["name"]):
                i = producer.get(names[number]) if kind == "T" else number
                moves = operator["kind"] == _MOVES
                if i is not None and moves == wanted and (not moves or graph.nodes[i].op in _MOVING):
                    place.setdefault(i, k)
    folded = foldable(graph)
    for i, node in enumerate(graph.nodes):
        before = [place[producer[n]] for n in node.inputs if n in producer and producer[n] in place]
        fused = before and operators[max(before)]["kind"] != _MOVES and node.op not in (*_MOVING, *_CHANNELS)
        if i not in place and i not in folded and fused:
            place[i] = max(before)
    readers = {n: place[i] for i, node in reversed(list(enumerate(graph.nodes))) if i in place for n in node.inputs}
    for i, node in reversed(list(enumerate(graph.nodes))):
        after = [readers[output] for output in node.outputs if output in readers]
        if i not in place and i not in folded and after:
            place[i] = _before(operators, min(after)) if node.op in _MOVING else min(after)
            readers |= {n: place[i] for n in node.inputs if n not in readers}
    inside: list[list[str]] = [[] for _ in operators]
    for i in sorted(place):
        inside[place[i]].append(graph.nodes[i].name)
    return [tuple(taken) for taken in inside]


def _before(operators: Sequence[dict[str, Any]], k: int) -> int:
    """The operator that moves what operator ``k`` reads into place, if there is one."""
    moving = f"{operators[k]['name']}_raster"
    found = [i for i in range(k) if operators[i]["kind"] == _MOVES and operators[i]["name"].startswith(moving)]
    return found[-1] if found else k


def _makers(graph: Graph, operators: Sequence[dict[str, Any]], inside: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """For each tensor the last operator that works on it."""
    names = list(graph.tensors)
    outputs = {node.name: node.outputs for node in graph.nodes}
    makers = {tensor: k for k, taken in enumerate(inside) for name in taken for tensor in outputs[name]}
    for k, operator in enumerate(operators):
        for kind, number in tokens(operator["name"]):
            if kind == "T" and makers.get(names[number], k) < k:
                makers[names[number]] = k
    return makers


def _kernel(graph: Graph, operator: dict[str, Any], within: Sequence[Node], reads: int) -> Kernel:
    """Shapes are MNN's, and what nobody makes is constant; weights, which it keeps inside, and attributes are the nodes'. What
    rearranges data names a tensor once for each region of it; once is enough."""
    main = next((node for node in within if node.op in _CHANNELS), within[0] if within else None)
    attributes: dict[str, Attribute] = {}
    types = [TensorType(dtype, tuple(shape)) for dtype, shape in operator["inputs"]]
    again = types[:reads] if operator["kind"] == _MOVES else ()
    operands = [
        Operand(tensor, constant=i >= reads) for i, tensor in enumerate(types) if i < reads or tensor not in again
    ]
    if main is not None:
        attributes = {**main.attributes, "operator": main.op, "operators": tuple(node.op for node in within)}
        operands += [Operand(graph.tensors[name], constant=True) for name in main.inputs if name in graph.constants]
    outputs = tuple(TensorType(dtype, tuple(shape)) for dtype, shape in operator["outputs"])
    kind = f"{operator['kind']}:{main.op}" if operator["kind"] in _GENERIC and main is not None else operator["kind"]
    return Kernel(kind, tuple(operands), outputs, tuple(sorted(attributes.items())))
