"""Shapes of all tensors: by ONNX's own inference; where that does not find them, because nodes compute them from shapes, node by
node, and what is small and known is worked out on the way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.shape_inference import infer_node_outputs

from devices import _onnx_checks as checks
from devices.errors import DataDependentShape, InvalidModel
from devices.kernels import TensorType

FIXED = "Export the model with fixed shapes, or let a runtime run it (hwnas measure, hwnas predict without --learned)."
_SMALL = 1024  # elements; what decides a shape has a few
# fmt: off
_ARITHMETIC = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather", "Greater",
    "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "ReduceMax", "ReduceMin", "ReduceProd",
    "ReduceSum", "Reshape", "Shape", "Size", "Slice", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
})
# fmt: on
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze"})


def infer(model: onnx.ModelProto, *, strict: bool = True) -> onnx.ModelProto:
    """Shape inference on a copy whose large weights are only declared: the time is for nodes, not for bytes.

    Args:
        model: the model.
        strict: refuse what does not fit; else it is left open.

    Raises:
        InvalidModel: types or shapes do not fit.
    """
    light = onnx.ModelProto()
    light.ir_version = max(model.ir_version, 4)
    light.opset_import.extend(model.opset_import)
    light.graph.name = "light"
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    light.graph.value_info.extend(model.graph.value_info)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        inferred = onnx.shape_inference.infer_shapes(light, check_type=strict, strict_mode=strict, data_prop=True)
        if strict and not _whole(inferred.graph):
            complete(light)
            inferred = onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True, data_prop=True)
        return inferred
    except Exception as error:  # onnx raises its own errors, ValueError, RuntimeError and more
        raise InvalidModel(
            f"The shapes or types of the model do not fit: {checks.first_line(error)}",
            hint="Check the shapes given with --input, or export the model again.",
        ) from error


def fixed(tensor: onnx.TypeProto.Tensor) -> bool:
    """Whether a tensor's type says all of its shape."""
    return tensor.HasField("shape") and all(d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim)


def tensor_type(value: onnx.ValueInfoProto) -> TensorType:
    """What a value is declared as.

    Raises:
        DataDependentShape: its shape is not told.
    """
    tensor = value.type.tensor_type
    if not fixed(tensor):
        raise DataDependentShape(
            f"The shape of {value.name!r} is {checks.shape_text(value)}: it depends on the data.", hint=FIXED
        )
    return TensorType(checks.dtype(tensor.elem_type, value.name), tuple(d.dim_value for d in tensor.shape.dim))


def _whole(graph: onnx.GraphProto) -> bool:
    known = {v.name for v in (*graph.value_info, *graph.output) if fixed(v.type.tensor_type)}
    return all(output in known for node in graph.node for output in node.output if output)


def complete(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Add to ``model`` the types of all nodes' outputs as far as they can be told, in place. The nodes are in order.

    Returns:
        The small tensors whose values can be told too, by name.

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
        if not onnx.defs.has(node.op_type, opsets[node.domain], node.domain):
            continue
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
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
    told_only = [value for value in graph.value_info if value.name not in found]  # of operators that ONNX does not know
    values_info = [*told_only, *(helper.make_value_info(name, kind) for name, kind in found.items())]
    del graph.value_info[:]
    graph.value_info.extend(values_info)
    return values


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
