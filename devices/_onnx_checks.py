"""Checks of a parsed ONNX model, in linear time; subgraphs nest no deeper than protobuf lets them (about 30)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from devices._onnx_order import bodies, reads, sort
from devices.errors import InvalidModel
from devices.kernels import TensorType
from devices.plugins import did_you_mean

_AGAIN = "Export or copy the model again."
_ONNX = ("", "ai.onnx")
_RUNTIME_DOMAINS = ("com.microsoft",)  # operators that a runtime adds; it says itself which it has


def structure(model: onnx.ModelProto) -> None:
    """Names, order, operators and constants. Nodes get unique names and are brought into topological order, and ONNX's own domain
    gets its short name and those of runtimes that are used are imported, in place.

    Raises:
        InvalidModel: with what is wrong.
    """
    _text(model)
    opsets = _opsets(model)
    newest = onnx.defs.onnx_opset_version()
    if not 7 <= opsets.get("", newest) <= newest:
        raise InvalidModel(
            f"The model uses ONNX opset {opsets['']}; 7 to {newest} can be read.", hint="Export it for opset 17."
        )
    if model.functions:
        inlined = _inlined(model)
        model.CopyFrom(inlined)
        opsets = _opsets(model)
    if model.graph.sparse_initializer:
        raise InvalidModel("The model has sparse constants.", hint="Export it with dense ones.")
    for tensor in tensors(model):
        _data(tensor)
    _values(model.graph)
    _name_nodes(model.graph)
    _graph(model.graph, opsets, [])
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opsets.items())


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that carries data: initializers and attributes, in subgraphs too."""
    todo = [model.graph]
    while todo:
        graph = todo.pop()
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                todo += [*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs]


def dtype(elem_type: int, name: str) -> str:
    """The name in numpy of an ONNX element type."""
    try:
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    except (KeyError, ValueError, TypeError):
        raise InvalidModel(f"Tensor {name!r} has an unknown element type ({elem_type}).", hint=_AGAIN) from None
    if kind.kind == "O":
        raise InvalidModel(f"Tensor {name!r} holds strings.", hint="Only networks of numbers can be measured.")
    return kind.name


def declared_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes that the raw data of a tensor must have by its type and shape."""
    if any(d < 0 for d in tensor.dims):
        raise InvalidModel(f"Constant {tensor.name!r} has a negative dimension: {list(tensor.dims)}.", hint=_AGAIN)
    return TensorType(dtype(tensor.data_type, tensor.name), tuple(tensor.dims)).nbytes


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    return {("" if o.domain in _ONNX else o.domain): o.version for o in model.opset_import}


def _text(model: onnx.ModelProto) -> None:
    """Names must be text; protobuf hands out as bytes what is not."""
    todo = [model.graph, *model.functions]
    for opset in model.opset_import:
        _is_text(opset.domain)
    for tensor in tensors(model):
        _is_text(tensor.name)
    while todo:
        graph = todo.pop()
        _is_text(graph.name)
        for node in graph.node:
            _is_text(node.name, node.op_type, node.domain, *node.input, *node.output)
            for attribute in node.attribute:
                _is_text(attribute.name)
                todo += [*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs]
        if isinstance(graph, onnx.GraphProto):
            for value in (*graph.input, *graph.output, *graph.value_info):
                _is_text(value.name, *(d.dim_param for d in value.type.tensor_type.shape.dim))


def _is_text(*names: object) -> None:
    for name in names:
        if not isinstance(name, str):
            raise InvalidModel(f"The name {name!r} in the model is not text.", hint=_AGAIN)


def _data(tensor: onnx.TensorProto) -> None:
    """The data must be as long as type and shape say."""
    wanted = declared_bytes(tensor)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return  # its place was checked
    if tensor.HasField("segment"):
        raise InvalidModel(f"Constant {tensor.name!r} is split into segments.", hint=_AGAIN)
    if tensor.HasField("raw_data"):
        fits = len(tensor.raw_data) == wanted
    else:
        field = helper.tensor_dtype_to_field(tensor.data_type)
        held = len(getattr(tensor, field))
        elements = math.prod(tensor.dims)
        complex_or_packed = field != "raw_data" and tensor.data_type in (14, 15, 21, 22, 23)
        fits = held == elements or (complex_or_packed and held in (2 * elements, -(-elements // 2)))
    if not fits:
        raise InvalidModel(
            f"Constant {tensor.name!r} is declared as {list(tensor.dims)}, but its data has another length.",
            hint=_AGAIN,
        )


def constant_value(node: onnx.NodeProto) -> onnx.TensorProto:
    """The tensor of a ``Constant`` node, under the name of its output."""
    for attribute in node.attribute:
        match attribute.name:
            case "value":
                made = onnx.TensorProto()
                made.CopyFrom(attribute.t)
            case "value_float":
                made = helper.make_tensor("", onnx.TensorProto.FLOAT, [], [attribute.f])
            case "value_floats":
                made = helper.make_tensor("", onnx.TensorProto.FLOAT, [len(attribute.floats)], attribute.floats)
            case "value_int":
                made = helper.make_tensor("", onnx.TensorProto.INT64, [], [attribute.i])
            case "value_ints":
                made = helper.make_tensor("", onnx.TensorProto.INT64, [len(attribute.ints)], attribute.ints)
            case _:
                continue
        made.name = node.output[0]
        return made
    raise InvalidModel(f"Constant {node.name!r} has no value of a supported kind.", hint=_AGAIN)


def shape_text(value: onnx.ValueInfoProto) -> str:
    """``1x3xHxW``, with ``?`` for a nameless open dimension."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return "unknown"
    return "x".join(d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in tensor.shape.dim)


def first_line(error: Exception) -> str:
    """What an error of a library says, short enough for one message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:400] or type(error).__name__


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the library's C++ raises what it likes
        raise InvalidModel(f"The model's own functions are damaged: {first_line(error)}", hint=_AGAIN) from error


def _values(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        if not value.type.HasField("tensor_type"):
            raise InvalidModel(f"{value.name!r} is not a tensor.", hint="Only networks of tensors can be measured.")
        if any(d.dim_value < -1 for d in value.type.tensor_type.shape.dim):
            raise InvalidModel(f"{value.name!r} has a negative dimension: {shape_text(value)}.", hint=_AGAIN)
    if not graph.output:
        raise InvalidModel("The model has no output.", hint=_AGAIN)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Unique names: those that are missing or taken are made of the operator and the position."""
    taken: set[str] = {node.name for node in graph.node}
    seen: set[str] = {""}
    for i, node in enumerate(graph.node):
        if node.name in seen:
            name = f"{node.op_type}_{i}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)


def _graph(graph: onnx.GraphProto, opsets: dict[str, int], outer: list[set[str]]) -> None:
    """Check one graph; ``outer`` are the names that the graphs around it have at that place."""
    names = [t.name for t in graph.initializer]
    constants = set(names)
    names += [value.name for value in graph.input if value.name not in constants]
    names += [output for node in graph.node for output in node.output if output]
    made = set(names)
    if len(made) < len(names):
        twice = next(name for name in sorted(made) if names.count(name) > 1)
        raise InvalidModel(f"Tensor {twice!r} is made more than once.", hint=_AGAIN)
    ready = constants | {value.name for value in graph.input}
    scopes = [*outer, ready]
    ordered = True
    for node in graph.node:
        _operator(node, opsets)
        if ordered and not all(not i or any(i in s for s in scopes) for i in reads(node)):
            ordered = False
        ready.update(node.output)
        for inner in bodies(node):
            _graph(inner, opsets, [*outer, made | constants])
    for name in (i for node in graph.node for i in reads(node)):
        if name and name not in made and not any(name in s for s in outer):
            raise InvalidModel(f"The model reads tensor {name!r}, which nothing makes.", hint=_AGAIN)
    for value in graph.output:
        if value.name not in made and not any(value.name in s for s in outer):
            raise InvalidModel(f"Nothing makes the output {value.name!r}.", hint=_AGAIN)
    if not ordered:
        sort(graph)


def _operator(node: onnx.NodeProto, opsets: dict[str, int]) -> None:
    """Check that it is known; ``opsets`` gets what need not be said."""
    if node.domain in _ONNX:
        node.domain = ""
    domain = node.domain
    if domain in _RUNTIME_DOMAINS:
        opsets.setdefault(domain, 1)
        return
    if domain not in opsets:
        raise InvalidModel(
            f"Node {node.name!r} uses the operator {node.op_type!r} of {domain or 'ONNX'!r}, which the model does not import.",
            hint=_AGAIN,
        )
    if not onnx.defs.has(node.op_type, opsets[domain], domain):
        known = sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == domain})
        raise InvalidModel(
            f"Node {node.name!r} uses an unknown operator {node.op_type!r}{did_you_mean(node.op_type, known)}"
            f" (domain {domain or 'ai.onnx'!r}, opset {opsets[domain]}).",
            hint="Export the model with standard ONNX operators.",
        )
