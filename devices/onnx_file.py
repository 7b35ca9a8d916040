"""Reading ONNX files that may be damaged or hostile. Nothing here runs a model, but
for one whose shapes depend on the data.

The file is parsed and checked in linear time and without recursion over nodes; weights stay within the file's folder; every
tensor gets a type at one binding of shapes. What is wrong is an :class:`InvalidModel` that says what to do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from devices import _onnx_checks as checks
from devices import _onnx_shapes
from devices._onnx_branches import inline
from devices._onnx_external import bring_in
from devices._onnx_observed import condition, observe
from devices._onnx_order import captured
from devices._onnx_outline import LARGE_BYTES, outlined
from devices.errors import DataDependentShape, DeviceError, InvalidModel
from devices.graph import Graph, Node
from devices.kernels import Attribute, TensorType, element_type
from devices.plugins import did_you_mean

if TYPE_CHECKING:
    from devices.device import Device

MAX_FILE_BYTES = 2**31 - 1  # protobuf's own limit
MAX_INPUT_BYTES = 2**31
MAX_TENSOR_BYTES = 2**34


def load_onnx(
    path: str | os.PathLike[str],
    inputs: Mapping[str, tuple[int, ...] | NDArray[Any]] | None = None,
    *,
    weights: bool = True,
    device: Device | None = None,
) -> Graph:
    """Read an ONNX file as a graph at one binding of shapes.

    Args:
        path: the file; external data must lie in its folder.
        inputs: full shapes of those inputs that the file leaves open, by name, or values where they decide what is executed.
        weights: whether its large constants are read. Without them it is quick, and the graph can be predicted, but not run.
        device: runs the model once if shapes within it depend on the data, and the graph has those of that run; likewise what
            decides which branch of an ``If`` is executed. The branch stands in the graph in place of the ``If``.

    Raises:
        InvalidModel: the file cannot be used, or a shape is missing or does not fit.
        DataDependentShape: a shape depends on the data, and there is no ``device``, or no weights to run it with.
        DeviceError: the ``device`` cannot run it.
    """
    model = _parse(Path(path)) if weights else _parse_outline(Path(path))
    runner = device if weights else None
    checks.structure(model)
    _fold_constants(model.graph)
    _open_dimensions(model.graph)
    told = dict(inputs or {})
    pin(model, {name: value.shape if isinstance(value, np.ndarray) else value for name, value in told.items()})
    given = _given(model.graph, {name: value for name, value in told.items() if isinstance(value, np.ndarray)})
    decided: tuple[str, ...] = ()
    if any(node.op_type == "If" for node in model.graph.node):
        decided = inline(model, None if runner is None else partial(condition, given=given, device=runner))
        checks.structure(model)
        _fold_constants(model.graph)
    name = Path(path).stem
    try:
        return replace(typed(model, name), data_dependent=decided, given=given)
    except DataDependentShape:
        if runner is None:
            raise
        observed = observe(model, given, runner)
        return replace(typed(model, name), data_dependent=(*decided, *observed), given=given)
    except InvalidModel:
        if runner is None:
            raise
        with suppress(DeviceError):  # then inference was right
            observe(model, given, runner, doubted=True)
            return replace(typed(model, name, inferred=model.graph), data_dependent=decided, given=given)
        raise


def _parse(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InvalidModel(f"There is no file {path}.", hint="Check the path of the model.")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InvalidModel(
            f"{path} has {size:,} bytes; an ONNX file can have 2 GiB.",
            hint="Save the weights as external data beside it.",
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InvalidModel(f"{path} is not a whole ONNX file.", hint="Export or copy it again.") from error
    if not model.graph.node:
        raise InvalidModel(f"{path} holds no network.", hint="Is it an ONNX file? Export or copy it again.")
    bring_in(model, path, MAX_FILE_BYTES - size)
    return model


def _parse_outline(path: Path) -> onnx.ModelProto:
    if not path.is_file() or not path.stat().st_size:
        return _parse(path)  # which says what is wrong
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        try:
            model = onnx.ModelProto()
            model.ParseFromString(outlined(data, path.name))
        except (DecodeError, ValueError) as error:
            raise InvalidModel(f"{path} is not a whole ONNX file.", hint="Export or copy it again.") from error
    if not model.graph.node:
        raise InvalidModel(f"{path} holds no network.", hint="Is it an ONNX file? Export or copy it again.")
    bring_in(model, path, MAX_FILE_BYTES, most=LARGE_BYTES)
    return model


def _fold_constants(graph: onnx.GraphProto) -> None:
    """Make initializers of ``Constant`` nodes, so that all constants look alike."""
    rest = []
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            graph.initializer.append(checks.constant_value(node))
        else:
            rest.append(node)
    if len(rest) < len(graph.node):
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in rest]
        del graph.node[:]
        graph.node.extend(kept)


def _open_dimensions(graph: onnx.GraphProto) -> None:
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


def _given(graph: onnx.GraphProto, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
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


def typed(model: onnx.ModelProto, name: str, *, inferred: onnx.GraphProto | None = None) -> Graph:
    """The graph of a checked model with pinned inputs.

    Args:
        model: the model.
        name: of the graph, if it has none of its own.
        inferred: what tells the types; ONNX's own inference if it is not given.

    Raises:
        InvalidModel: the shapes contradict each other, or are beyond any memory.
        DataDependentShape: a shape cannot be told before the model runs.
    """
    graph = model.graph
    tensors = {value.name: _onnx_shapes.tensor_type(value) for value in graph.input}
    tensors |= {t.name: TensorType(checks.dtype(t.data_type, t.name), tuple(t.dims)) for t in graph.initializer}
    if inferred is None:
        inferred = _onnx_shapes.infer(model).graph
        del graph.value_info[:]
        graph.value_info.extend(inferred.value_info)
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    for node in graph.node:
        for output in filter(None, node.output):
            if output not in known:
                raise DataDependentShape(
                    f"The type of {output!r}, made by {node.op_type} {node.name!r}, cannot be told before it runs.",
                    hint=_onnx_shapes.FIXED,
                )
            tensors[output] = _onnx_shapes.tensor_type(known[output])
    for value in graph.output:
        value.CopyFrom(known.get(value.name, value))
    ends = {value.name for value in graph.input}
    for tensor, kind in tensors.items():
        limit = MAX_INPUT_BYTES if tensor in ends else MAX_TENSOR_BYTES
        if kind.nbytes > limit:
            raise InvalidModel(
                f"Tensor {tensor!r} of shape {kind.shape} would take {kind.nbytes:,} bytes.",
                hint="The file is damaged, or the shapes given with --input are too large.",
            )
    elsewhere = onnx.TensorProto.EXTERNAL
    values = {t.name: None if t.data_location == elsewhere else numpy_helper.to_array(t) for t in graph.initializer}
    return Graph(
        graph.name or name,
        tuple(_node(node) for node in graph.node),
        tensors,
        tuple(value.name for value in graph.input),
        tuple(value.name for value in graph.output),
        values,
        model,
    )


def _node(node: onnx.NodeProto) -> Node:
    domain = "" if node.domain == "ai.onnx" else node.domain
    rest = {a.name: f"sha256:{hashlib.sha256(a.SerializeToString()).hexdigest()}" for a in node.attribute}
    values = {**rest, **attributes(node)}  # bodies of loops and tensors count for the digest
    inputs = (*node.input, *captured(node))
    return Node(node.name, node.op_type, inputs, tuple(node.output), values, domain)


def attributes(node: onnx.NodeProto) -> dict[str, Attribute]:
    """Those attributes of a node that are numbers, strings or tuples of them."""
    values = {attribute.name: _attribute(attribute) for attribute in node.attribute}
    return {name: value for name, value in values.items() if value is not None}


def _attribute(attribute: onnx.AttributeProto) -> Attribute | None:
    kind = onnx.AttributeProto
    match attribute.type:
        case kind.INT:
            return attribute.i
        case kind.FLOAT:
            return attribute.f
        case kind.STRING:
            return attribute.s.decode(errors="replace")
        case kind.INTS:
            return tuple(attribute.ints)
        case kind.FLOATS:
            return tuple(attribute.floats)
        case kind.STRINGS:
            return tuple(s.decode(errors="replace") for s in attribute.strings)
    return None
