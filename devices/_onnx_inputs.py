"""What a model's inputs are: their full shapes, and their values where those are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from devices import _onnx_checks as checks
from devices import _onnx_shapes
from devices.errors import InvalidModel
from devices.kernels import element_type
from devices.plugins import did_you_mean


def open_dimensions(graph: onnx.GraphProto) -> None:
    """Leave open what some exporters write as -1 or ``?``, each dimension for itself."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value == -1 or dim.dim_param == "?":
                dim.Clear()


def pin(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give every input of ``model`` its full shape, in place."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    names = [i.name for i in inputs]
    for name in shapes:
        if name not in names:
            raise InvalidModel(
                f"The model has no input {name!r}{did_you_mean(name, names)} (inputs: {', '.join(names)}).",
                hint=f"Write --input {_example(inputs[0])}" if inputs else "Leave --input out.",
            )
    bound = dict(_bindings(inputs, shapes))
    for value in inputs:
        dims = [
            bound.get(d.dim_param) if d.dim_param else d.dim_value if d.HasField("dim_value") else None
            for d in value.type.tensor_type.shape.dim
        ]
        given = shapes.get(value.name)
        pinned = given if given is not None else dims if value.type.tensor_type.HasField("shape") else [None]
        if any(d is None for d in pinned):
            raise InvalidModel(
                f"Input {value.name!r} has no fixed shape: {checks.shape_text(value)}.",
                hint=f"Say which one is meant: --input {_example(value)}",
            )
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        shape.SetInParent()
        for d in pinned:
            shape.dim.add().dim_value = cast(int, d)
    kept = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in inputs]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def given(graph: onnx.GraphProto, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Values of inputs, in the inputs' types."""
    made = {}
    for value in graph.input:
        if value.name in values:
            array, kind = values[value.name], element_type(_onnx_shapes.tensor_type(value).dtype)
            if not np.can_cast(array.dtype, kind, "same_kind"):
                raise InvalidModel(
                    f"Input {value.name!r} is of {kind}, the values given are of {array.dtype}.",
                    hint=f"Save them as {kind}.",
                )
            made[value.name] = array.astype(kind)
    return made


def _bindings(
    inputs: Sequence[onnx.ValueInfoProto], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, int]]:
    """Values of the named dimensions, from the shapes that were given."""
    known: dict[str, int] = {}
    for value in inputs:
        given = shapes.get(value.name)
        if given is None:
            continue
        tensor = value.type.tensor_type
        fits = not tensor.HasField("shape") or len(given) == len(tensor.shape.dim)
        for dim, size in zip(tensor.shape.dim, given, strict=False):
            fits &= size > 0 and dim.dim_value in (0, size)
            if dim.dim_param:
                fits &= known.setdefault(dim.dim_param, size) == size
                yield dim.dim_param, size
        if not fits or min(given, default=1) < 1:
            raise InvalidModel(
                f"Input {value.name!r} has shape {checks.shape_text(value)}, got {'x'.join(map(str, given))}.",
                hint=f"Write, for example, --input {_example(value)}",
            )


def _example(value: onnx.ValueInfoProto) -> str:
    """``NAME=1x3x224x224``: the declared shape with something usual in place of what is open."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return f"{value.name}=1x3x224x224"
    usual = (1, 3, 224, 224) if len(tensor.shape.dim) == 4 else (1,) * len(tensor.shape.dim)
    return f"{value.name}=" + "x".join(str(d.dim_value or u) for d, u in zip(tensor.shape.dim, usual, strict=True))
