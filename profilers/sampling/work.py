"""About how long a network takes on a nominal core, to draw networks of a wanted length."""

from __future__ import annotations

import math

from devices import Graph, Node

_PER_MAC, _PER_BYTE, _PER_NODE = 1 / 45e9, 1 / 15e9, 2e-6  # seconds


def nominal_seconds(graph: Graph) -> float:
    """Seconds by multiply-accumulates, bytes and nodes."""
    return sum(nominal_seconds_of(graph, node) for node in graph.nodes)


def macs(graph: Graph, node: Node) -> float:
    """Multiply-accumulates of a node with weights; 0 for others."""
    shapes = [graph.tensors[i].shape for i in node.inputs if i]
    out = math.prod(graph.tensors[node.outputs[0]].shape)
    match node.op:
        case "Conv":
            return out * math.prod(shapes[1][1:])
        case "ConvTranspose":
            return math.prod(shapes[0]) * math.prod(shapes[1][1:])
        case "Gemm":
            return out * shapes[0][0 if node.attributes.get("transA") else 1]
        case "MatMul":
            return out * shapes[0][-1]
        case "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM":
            return shapes[0][0] * shapes[0][1] * (math.prod(shapes[1]) + math.prod(shapes[2]))
    return 0.0


def nominal_seconds_of(graph: Graph, node: Node) -> float:
    """Seconds of one node."""
    moved = sum(4 * math.prod(graph.tensors[t].shape) for t in (*node.inputs, *node.outputs) if t)
    if node.op in ("Gather", "Reshape", "Flatten", "Squeeze"):
        moved = 8 * math.prod(graph.tensors[node.outputs[0]].shape)
    return macs(graph, node) * _PER_MAC + moved * _PER_BYTE + _PER_NODE
