"""Unique names by which nodes and tensors are found again in what a runtime makes of a model. Runs in the host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import onnx

from devices._onnx_order import bodies
from devices.graph import Graph

_SHAPES = ("Shape", "Size")
_TOKEN = re.compile(r"([NT])(\d+)Z")


def node_token(i: int) -> str:
    """The name under which the runtime sees node ``i``."""
    return f"N{i}Z"


def tensor_token(i: int) -> str:
    """The name under which the runtime sees tensor ``i``."""
    return f"T{i}Z"


def tokens(text: str) -> Iterator[tuple[str, int]]:
    """The tokens in a runtime's own name: ``"N"`` or ``"T"``, and the number."""
    return ((found[1], int(found[2])) for found in _TOKEN.finditer(text))


def tokenised(graph: Graph) -> bytes:
    """The serialised model with a unique token for the name of every node and tensor; types of tensors are kept."""
    source = graph.to_onnx()
    model = onnx.ModelProto()
    model.CopyFrom(source)
    names = {name: tensor_token(i) for i, name in enumerate(graph.tensors)}
    for i, node in enumerate(model.graph.node):
        node.name = node_token(i)
    _rename(model.graph, names)
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.initializer):
        value.name = names.get(value.name, value.name)
    serialised: bytes = model.SerializeToString()
    return serialised


def foldable(graph: Graph) -> set[int]:
    """Nodes whose results do not depend on the inputs' values: all shapes are fixed."""
    fixed = {*graph.constants, ""}
    found = set()
    for i, node in enumerate(graph.nodes):
        if node.op in _SHAPES or fixed.issuperset(node.inputs):
            found.add(i)
            fixed.update(node.outputs)
    return found


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Tensors' names in nodes and outputs, and where subgraphs read tensors from outside: what they make themselves, under a name
    that there is outside too, is another tensor."""
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
                todo.append((body, {name: token for name, token in known.items() if name not in own}))
        for value in inner.output:
            value.name = known.get(value.name, value.name)
