"""Unique names by which nodes and tensors are found again in what a runtime makes of a model. Runs in the host."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx

from devices._onnx_order import rename
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
    rename(model.graph, names)
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
