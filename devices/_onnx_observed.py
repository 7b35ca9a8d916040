"""Shapes that depend on the data, and types of what a runtime's own operators make: those of one run on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from devices import _onnx_checks as checks
from devices import _onnx_shapes
from devices.errors import InvalidModel
from devices.graph import Graph, Node
from devices.kernels import TensorType

if TYPE_CHECKING:
    from devices.device import Device

_SLICE_READS_BOUNDS = 10  # since this opset; before, they are attributes


Given = Mapping[str, NDArray[Any]]


def condition(deciding: onnx.ModelProto, given: Given, device: Device) -> bool:
    """What a model comes to whose only output is a condition; ``given`` are values of its inputs, by name.

    Raises:
        DeviceError: the device cannot run it.
    """
    with device.load(_bare(deciding, given)) as session:
        return bool(session.outputs()[0].item())


def observe(model: onnx.ModelProto, given: Given, device: Device, *, doubted: bool = False) -> tuple[str, ...]:
    """Declare in ``model``, whose inputs are pinned, all shapes that cannot be told before it runs, as a run makes them.

    Args:
        model: the model.
        given: values of inputs, by name; the others are the usual ones.
        device: runs it.
        doubted: ONNX's own inference finds that shapes do not fit; it errs, for operators of which it knows little, and nothing
            that it says of shapes is believed.

    Returns:
        Names of the tensors, in the order in which nodes make them.

    Raises:
        InvalidModel: types or shapes do not fit.
        DeviceError: the device cannot run it.
    """
    inferred = _onnx_shapes.infer(model, strict=not doubted).graph
    infos = {value.name: value.type for value in (*inferred.value_info, *inferred.output)}
    for name, info in infos.items():
        if info.WhichOneof("value") not in (None, "tensor_type"):
            raise InvalidModel(f"{name!r} is not a tensor.", hint="Only networks of tensors can be measured.")
    types = {name: info.tensor_type for name, info in infos.items()}
    made = [name for node in model.graph.node for name in node.output if name]
    unknown = [name for name in made if doubted or name not in types or not _onnx_shapes.fixed(types[name])]
    untyped = [name for name in unknown if name not in types or not types[name].elem_type]
    with device.load(_asking(model, given, unknown, untyped)) as session:
        told = list(session.outputs())
    shapes = [tuple(int(d) for d in shape) for shape in told[: len(unknown)]]
    kinds = {name: types[name].elem_type for name in types}
    for name, value in zip(untyped, told[len(unknown) :], strict=True):
        kinds[name] = helper.np_dtype_to_tensor_dtype(value.dtype)
    declared = {
        name: helper.make_tensor_value_info(name, kinds[name], shape)
        for name, shape in zip(unknown, shapes, strict=True)
    }
    kept = [value for value in model.graph.value_info if value.name not in declared]
    outputs = [declared.get(value.name, value) for value in model.graph.output]
    for field, values in ((model.graph.value_info, [*kept, *declared.values()]), (model.graph.output, outputs)):
        values = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(values)
    return tuple(unknown)


def _asking(model: onnx.ModelProto, given: Given, names: list[str], untyped: list[str]) -> Graph:
    """The model with the shapes of the tensors ``names`` for outputs, and behind them an element, or none, of ``untyped``."""
    asking = onnx.ModelProto()
    asking.CopyFrom(model)
    del asking.graph.output[:]
    for i, name in enumerate(names):
        asking.graph.node.append(helper.make_node("Shape", [name], [f"hwnas/shape{i}"], name=f"hwnas/shape{i}"))
        asking.graph.output.append(helper.make_tensor_value_info(f"hwnas/shape{i}", TensorProto.INT64, None))
    opset = next((o.version for o in model.opset_import if not o.domain), _SLICE_READS_BOUNDS)
    for i, name in enumerate(untyped):
        flat, first = f"hwnas/flat{i}", f"hwnas/first{i}"
        asking.graph.node.append(helper.make_node("Reshape", [name, "hwnas/flat"], [flat], name=flat))
        asking.graph.node.append(
            helper.make_node("Slice", [flat, "hwnas/start", "hwnas/end"], [first], name=first)
            if opset >= _SLICE_READS_BOUNDS
            else helper.make_node("Slice", [flat], [first], name=first, starts=[0], ends=[1])
        )
        asking.graph.output.append(onnx.ValueInfoProto(name=first))
    if untyped:
        numbers = {"hwnas/flat": -1, "hwnas/start": 0, "hwnas/end": 1}
        asking.graph.initializer.extend(numpy_helper.from_array(np.array([n]), name) for name, n in numbers.items())
    return _bare(asking, given)


def _bare(model: onnx.ModelProto, given: Given) -> Graph:
    """A graph to be run for its outputs alone: no types but those of its inputs and constants are known."""
    graph = model.graph
    tensors = {t.name: TensorType(checks.dtype(t.data_type, t.name), tuple(t.dims)) for t in graph.initializer}
    tensors |= {value.name: _onnx_shapes.tensor_type(value) for value in graph.input}
    return Graph(
        graph.name,
        tuple(Node(node.name, node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node),
        tensors,
        tuple(value.name for value in graph.input),
        tuple(value.name for value in graph.output),
        {t.name: None for t in graph.initializer},
        model,
        given={name: value for name, value in given.items() if name in tensors},
    )
