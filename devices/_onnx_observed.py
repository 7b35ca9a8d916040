"""Shapes that depend on the data: those that one run on a device makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from devices import _onnx_checks as checks
from devices import _onnx_shapes
from devices.errors import DataDependentShape
from devices.graph import Graph, Node
from devices.kernels import TensorType

if TYPE_CHECKING:
    from devices.device import Device


def observe(model: onnx.ModelProto, device: Device) -> tuple[str, ...]:
    """Declare in ``model``, whose inputs are pinned, all shapes that cannot be told before it runs, as a run with the usual
    inputs makes them.

    Returns:
        Names of the tensors, in the order in which nodes make them.

    Raises:
        InvalidModel: types or shapes do not fit.
        DataDependentShape: not even a type can be told.
        DeviceError: the device cannot run it.
    """
    inferred = _onnx_shapes.infer(model).graph
    types = {value.name: value.type.tensor_type for value in (*inferred.value_info, *inferred.output)}
    made = [name for node in model.graph.node for name in node.output if name]
    unknown = [name for name in made if name not in types or not _onnx_shapes.fixed(types[name])]
    for name in unknown:
        if name not in types or not types[name].elem_type:
            raise DataDependentShape(
                f"The type of {name!r} cannot be told before the model runs.",
                hint=_onnx_shapes.FIXED,
            )
    with device.load(_asking_for_shapes(model, unknown)) as session:
        shapes = [tuple(int(d) for d in shape) for shape in session.outputs()]
    declared = {
        name: helper.make_tensor_value_info(name, types[name].elem_type, shape)
        for name, shape in zip(unknown, shapes, strict=True)
    }
    kept = [value for value in model.graph.value_info if value.name not in declared]
    outputs = [declared.get(value.name, value) for value in model.graph.output]
    for field, values in ((model.graph.value_info, [*kept, *declared.values()]), (model.graph.output, outputs)):
        values = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(values)
    return tuple(unknown)


def _asking_for_shapes(model: onnx.ModelProto, names: list[str]) -> Graph:
    """The model with the shapes of the tensors ``names`` for outputs."""
    asking = onnx.ModelProto()
    asking.CopyFrom(model)
    del asking.graph.output[:]
    for i, name in enumerate(names):
        asking.graph.node.append(helper.make_node("Shape", [name], [f"hwnas/shape{i}"], name=f"hwnas/shape{i}"))
        asking.graph.output.append(helper.make_tensor_value_info(f"hwnas/shape{i}", TensorProto.INT64, None))
    graph = asking.graph
    tensors = {t.name: TensorType(checks.dtype(t.data_type, t.name), tuple(t.dims)) for t in graph.initializer}
    tensors |= {value.name: _onnx_shapes.tensor_type(value) for value in graph.input}
    return Graph(
        graph.name,
        tuple(Node(node.name, node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node),
        tensors,
        tuple(value.name for value in graph.input),
        tuple(value.name for value in graph.output),
        {t.name: None for t in graph.initializer},
        asking,
    )
