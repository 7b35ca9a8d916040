"""Shapes that ONNX's own inference does not find, because they are computed by nodes from shapes: node by node, and what is small
and known is worked out on the way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.shape_inference import infer_node_outputs

_SMALL = 1024  # elements; what decides a shape has a few
# fmt: off
_ARITHMETIC = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather", "Greater",
    "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "ReduceMax", "ReduceMin", "ReduceProd",
    "ReduceSum", "Reshape", "Shape", "Size", "Slice", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
})
# fmt: on
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze"})


def complete(model: onnx.ModelProto) -> None:
    """Add to ``model`` the types of all nodes' outputs as far as they can be told, in place. The nodes are in order.

    Raises:
        onnx.shape_inference.InferenceError: types or shapes do not fit.
    """
    graph = model.graph
    opsets = {o.domain: o.version for o in model.opset_import}
    values: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    types = {v.name: v.type for v in (*graph.input, *graph.value_info)}
    types |= {t.name: helper.make_tensor_type_proto(t.data_type, t.dims) for t in graph.initializer}
    found: dict[str, onnx.TypeProto] = {}
    for node in graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if not onnx.defs.has(node.op_type, opsets.get(domain, 1), domain):
            continue
        schema = onnx.defs.get_schema(node.op_type, opsets[domain], domain)
        known = {name: types[name] for name in node.input if name in types}
        if len(known) < sum(1 for name in dict.fromkeys(node.input) if name):
            continue
        data = {name: numpy_helper.from_array(values[name], name) for name in known if name in values}
        told = infer_node_outputs(schema, node, known, data, opset_imports=list(model.opset_import))
        types |= told
        found |= told
        if node.op_type in _ARITHMETIC:
            values |= _worked_out(node, types, values, opsets)
    for value in graph.output:  # one that a file declares may be more general
        value.type.CopyFrom(found.get(value.name, value.type))
    del graph.value_info[:]
    graph.value_info.extend(helper.make_value_info(name, kind) for name, kind in found.items())


def _worked_out(
    node: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    values: dict[str, NDArray[Any]],
    opsets: dict[str, int],
) -> dict[str, NDArray[Any]]:
    """The value of the node's output if its inputs are known and it is small."""
    from onnx.reference import ReferenceEvaluator

    (output, *rest) = node.output
    shape = _fixed(types.get(output))
    if rest or shape is None or math.prod(shape) > _SMALL:
        return {}
    if node.op_type in ("Shape", "Size"):
        source = _fixed(types[node.input[0]])
        if source is None:
            return {}
        start = next((a.i for a in node.attribute if a.name == "start"), 0)
        end = next((a.i for a in node.attribute if a.name == "end"), len(source))
        whole = np.array(source, np.int64)
        return {output: whole[start:end] if node.op_type == "Shape" else np.array(whole.prod())}
    if not all(name in values for name in node.input if name):
        return {}
    if node.op_type in _VIEWS:  # the reference does not know their older forms
        return {output: values[node.input[0]].reshape(shape)}
    evaluator = ReferenceEvaluator(node, opsets=opsets)
    (value,) = evaluator.run(None, {name: values[name] for name in node.input if name})
    return {output: np.asarray(value)}


def _fixed(kind: onnx.TypeProto | None) -> tuple[int, ...] | None:
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None
