"""Reading ONNX files that may be damaged or hostile. Nothing here runs a model, but for one whose shapes or branches depend on
the data, or of which ONNX's own inference of shapes says that it does not fit.

The file is parsed and checked in linear time and without recursion over nodes; weights stay within the file's folder; every
tensor gets a type at one binding of shapes. What is wrong is an :class:`InvalidModel` that says what to do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from devices import _onnx_checks as checks
from devices import _onnx_shapes
from devices._onnx_branches import inline
from devices._onnx_external import bring_in
from devices._onnx_inputs import given, open_dimensions, pin
from devices._onnx_observed import condition, observe
from devices._onnx_order import captured
from devices._onnx_outline import LARGE_BYTES, outlined
from devices.errors import DataDependentShape, DeviceError, InvalidModel
from devices.graph import Graph, Node
from devices.kernels import Attribute, TensorType

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
    open_dimensions(model.graph)
    told = dict(inputs or {})
    pin(model, {name: value.shape if isinstance(value, np.ndarray) else value for name, value in told.items()})
    values = given(model.graph, {name: value for name, value in told.items() if isinstance(value, np.ndarray)})
    decided: tuple[str, ...] = ()
    if any(node.op_type == "If" for node in model.graph.node):
        decided = inline(model, None if runner is None else partial(condition, given=values, device=runner))
        checks.structure(model)
        _fold_constants(model.graph)
    name = Path(path).stem
    try:
        return replace(typed(model, name), data_dependent=decided, given=values)
    except DataDependentShape:
        if runner is None:
            raise
        observed = observe(model, values, runner)
        return replace(typed(model, name), data_dependent=(*decided, *observed), given=values)
    except InvalidModel:
        if runner is None:
            raise
        with suppress(DeviceError):  # then inference was right
            observe(model, values, runner, doubted=True)
            return replace(typed(model, name, inferred=model.graph), data_dependent=decided, given=values)
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
