"""``If`` nodes whose condition can be told: the branch that runs takes their place, so that its nodes are nodes like others."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import helper

from devices import _onnx_shapes
from devices._onnx_order import reads, rename
from devices.errors import InvalidModel

_BRANCHES = "then_branch", "else_branch"
Ask = Callable[[onnx.ModelProto], bool]
"""Runs a model whose only output is a condition."""


def inline(model: onnx.ModelProto, ask: Ask | None) -> tuple[str, ...]:
    """Replace in ``model``, whose inputs are pinned, every ``If`` outside of loops by the branch that runs, in place.

    Args:
        model: its nodes are in order.
        ask: told of conditions that depend on the data. Without it those nodes stay.

    Returns:
        Names of the tensors that come from branches which the data decided, in the order in which nodes make them.

    Raises:
        InvalidModel: an ``If`` lacks its condition or a branch, or a branch has other outputs than the node.
    """
    decided: list[str] = []
    left: set[str] = set()
    while node := next((n for n in model.graph.node if n.op_type == "If" and n.name not in left), None):
        _require_whole(node)
        deciding = _deciding(model, node.input[0])
        taken = _told(deciding)
        if taken is None and ask is not None:
            taken = ask(deciding)
            decided += node.output
        if taken is None:
            left.add(node.name)
        else:
            _replace(model.graph, node, taken)
    return tuple(decided)


def _require_whole(node: onnx.NodeProto) -> None:
    branches = {a.name: a.g for a in node.attribute if a.name in _BRANCHES and a.HasField("g")}
    outputs = {len(branch.output) for branch in branches.values()}
    if len(node.input) != 1 or len(branches) < len(_BRANCHES) or outputs != {len(node.output)}:
        raise InvalidModel(
            f"If {node.name!r} needs one condition and two branches with as many outputs as it has.",
            hint="Export or copy the model again.",
        )


def _deciding(model: onnx.ModelProto, condition: str) -> onnx.ModelProto:
    """The part of a model that makes a condition."""
    needed, nodes = {condition}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(reads(node))
    part = onnx.ModelProto(ir_version=model.ir_version)
    part.opset_import.extend(model.opset_import)
    part.graph.name = "condition"
    part.graph.node.extend(reversed(nodes))
    part.graph.input.extend(i for i in model.graph.input if i.name in needed)
    part.graph.initializer.extend(t for t in model.graph.initializer if t.name in needed)
    if condition in {value.name for value in (*part.graph.input, *part.graph.initializer)}:
        part.graph.node.append(helper.make_node("Identity", [condition], [f"{condition}/told"], name="told"))
        condition += "/told"
    part.graph.output.append(helper.make_tensor_value_info(condition, onnx.TensorProto.BOOL, None))
    return part


def _told(deciding: onnx.ModelProto) -> bool | None:
    """The condition, if shapes and constants decide it."""
    light = onnx.ModelProto()
    light.CopyFrom(deciding)
    try:
        values = _onnx_shapes.complete(light)
    except Exception:  # onnx raises its own errors, ValueError, RuntimeError and more: shapes and constants do not tell
        return None
    value = values.get(deciding.graph.output[0].name)
    return None if value is None or value.size != 1 else bool(value.item())


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, taken: bool) -> None:
    """Put the nodes of a branch where ``node`` is, all that it makes named after the node."""
    branch = next(a.g for a in node.attribute if a.name == _BRANCHES[not taken])
    prefix = f"{node.name}/"
    made = {t.name for t in branch.initializer} | {o for n in branch.node for o in n.output if o}
    names = {name: prefix + name for name in made}
    ends = [value.name for value in branch.output]
    rename(branch, names)
    for named in (*branch.node, *branch.initializer):
        named.name = prefix + named.name
    ways_out = [
        helper.make_node("Identity", [names.get(end, end)], [output], name=f"{prefix}output{i}")
        for i, (end, output) in enumerate(zip(ends, node.output, strict=True))
        if output
    ]
    at = next(i for i, n in enumerate(graph.node) if n.name == node.name)
    nodes = [*graph.node[:at], *branch.node, *ways_out, *graph.node[at + 1 :]]
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    graph.initializer.extend(branch.initializer)
    del graph.node[:]
    graph.node.extend(nodes)
