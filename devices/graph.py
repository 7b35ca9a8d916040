"""A typed, read-only view of a network at one binding of shapes. ONNX is the interchange between all packages."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices.kernels import Attribute, TensorType, element_type

if TYPE_CHECKING:
    import onnx

    from devices.engine_file import Engine

OPSET = 17
IR_VERSION = 8
_PERIOD = 1021  # of made-up weights: a prime, so that the rows of a matrix differ


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. ``attributes`` holds numbers, strings and tuples of them; what else an ONNX file has stays in the file. What
    only the bodies of a branch or a loop read are the last of its ``inputs``."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    domain: str = ""


@dataclass(frozen=True)
class Graph:
    """A network: nodes in topological order, the type of every tensor, and the constants.

    A search space makes graphs directly, in well under a millisecond, with constants that have a type but no value
    (:meth:`to_onnx` makes up He-scaled random ones or takes real ones). :func:`devices.load_onnx` makes a graph of a file,
    with its values.

    Attributes:
        name: for people; not part of the digest.
        nodes: in topological order, with unique names.
        tensors: the type of every tensor, constants included.
        inputs, outputs: tensor names, in order.
        constants: name to value, or None where only the type is known.
        model: the ONNX model that this is a view of, with shapes pinned; None for a graph made by a space.
        make_module: makes the torch module with the same function, for devices that run torch modules.
        engine: built of the model, for TensorRT to run instead of building one.
        data_dependent: names of the tensors whose shapes depend on the data, and are here those of one run.
        given: values of inputs, where they were told, by name.
        native: the network in the format of the runtime that is to load it, as it is shipped (:meth:`devices.Device.native`).
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, TensorType]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any] | None]
    model: onnx.ModelProto | None = None
    make_module: Callable[[], Any] | None = None
    engine: Engine | None = None
    data_dependent: tuple[str, ...] = ()
    given: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    native: bytes | None = None

    @property
    def weights(self) -> set[str]:
        """Names of the constants that have no value yet: training gives them theirs."""
        return {name for name, value in self.constants.items() if value is None}

    def digest(self) -> str:
        """Hex digest of structure, types and attributes; equal graphs run equally fast. Weight values do not count,
        except those of small integer constants (shapes, axes), which decide what runs."""
        sha = hashlib.sha256()
        ids = {name: i for i, name in enumerate(self.tensors)}
        for node in self.nodes:
            sha.update(
                repr(
                    (
                        node.domain,
                        node.op,
                        [ids.get(i, -1) for i in node.inputs],
                        [ids.get(o, -1) for o in node.outputs],
                        sorted(node.attributes.items()),
                    )
                ).encode()
            )
        for name, tensor in self.tensors.items():
            value = self.constants.get(name)
            decides = value is not None and value.dtype.kind in "iu" and value.size <= 64
            sha.update(
                repr(
                    (tensor, name in self.constants, value.tolist() if decides and value is not None else None)
                ).encode()
            )
        sha.update(repr(([ids[i] for i in self.inputs], [ids[o] for o in self.outputs])).encode())
        for name, value in sorted(self.given.items()):
            sha.update(name.encode() + value.tobytes())
        return sha.hexdigest()[:32]

    def to_onnx(self, weights: Mapping[str, NDArray[Any]] | None = None) -> onnx.ModelProto:
        """The ONNX model. ``weights`` gives values to constants by name; what has none is made up by :func:`made_up_weight`.

        Raises:
            ValueError: ``weights`` names an unknown constant or has a wrong shape, or the graph already has its values.
        """
        from onnx import helper, numpy_helper

        if self.model is not None:
            if weights:
                raise ValueError("this graph comes from an ONNX file and has its weights already")
            return self.model
        values = dict(weights or {})
        initializers = []
        for name, known in self.constants.items():
            tensor = self.tensors[name]
            value = values.pop(name, known)
            if value is None:
                value = made_up_weight(name, tensor)
            if value.shape != tensor.shape:
                raise ValueError(f"constant {name!r} must have shape {tensor.shape}, got {value.shape}")
            initializers.append(numpy_helper.from_array(np.asarray(value, element_type(tensor.dtype), order="C"), name))
        if values:
            raise ValueError(f"unknown constants: {', '.join(sorted(values))}")

        def info(name: str) -> onnx.ValueInfoProto:
            tensor = self.tensors[name]
            return helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(element_type(tensor.dtype)), tensor.shape
            )

        nodes = [
            helper.make_node(n.op, n.inputs, n.outputs, name=n.name, domain=n.domain, **dict[str, Any](n.attributes))
            for n in self.nodes
        ]
        ends = {*self.inputs, *self.outputs, *self.constants}
        graph = helper.make_graph(
            nodes,
            self.name,
            [info(i) for i in self.inputs],
            [info(o) for o in self.outputs],
            initializers,
            value_info=[info(t) for t in self.tensors if t not in ends],
        )
        domains = {n.domain for n in self.nodes} - {""}
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in sorted(domains))]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="hwnas")


def made_up_weight(name: str, tensor: TensorType) -> NDArray[Any]:
    """A value for a constant that has none: He-scaled normal numbers (He et al. 2015, section 2.2), of which a short sequence
    repeats, from a place that the name decides: made at once, and small when sent to a machine elsewhere.
    Never zeros: runtimes may skip them, and denormals run slower."""
    dtype = element_type(tensor.dtype)
    rng = np.random.default_rng(_PERIOD)
    if dtype.kind in "iu":
        low, high = (-127, 128) if dtype.kind == "i" else (0, 256)
        period = rng.integers(low, high, _PERIOD).astype(dtype)
    else:
        fan_in = max(1, math.prod(tensor.shape[1:]))
        scale = math.sqrt(2 / fan_in) if len(tensor.shape) > 1 else 0.1
        period = (scale * rng.standard_normal(_PERIOD)).astype(dtype)
    return np.resize(np.roll(period, zlib.crc32(name.encode()) % _PERIOD), tensor.shape)


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Seeded inputs for timing, but for those that are given: normal numbers for floats, ids within the smallest vocabulary, ones
    for masks."""
    rng = np.random.default_rng(seed)
    rows = [
        graph.tensors[n.inputs[0]].shape[0] for n in graph.nodes if n.op == "Gather" and n.inputs[0] in graph.constants
    ]
    vocabulary = min(rows, default=2)
    made: dict[str, NDArray[Any]] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        dtype = element_type(tensor.dtype)
        if name in graph.given:
            made[name] = graph.given[name]
        elif dtype.kind == "f":
            made[name] = rng.standard_normal(tensor.shape, np.float32).astype(dtype, copy=False)
        elif dtype.kind == "b" or "mask" in name.lower():
            made[name] = np.ones(tensor.shape, dtype)
        else:
            made[name] = rng.integers(0, vocabulary, tensor.shape).astype(dtype)
    return made
