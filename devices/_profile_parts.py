"""How a profile spells out what networks have in common: each distinct kernel, operator and type once, then by number."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.graph import Graph, Node
from devices.kernels import (
    Attribute,
    ExecutedKernel,
    Kernel,
    TensorType,
    attributes_from_json,
    attributes_to_json,
    kernel_from_json,
    type_from_json,
)

Operator = tuple[str, str, tuple[tuple[str, Attribute], ...]]  # domain, name, sorted attributes
Part = Kernel | TensorType | Operator

_LONGEST = 1e9  # milliseconds or seconds; what is longer was never measured
_DECIDES = 64  # elements; the values of larger constants do not decide what runs


class PartsWriter:
    """Numbers parts in the order in which they appear. ``known`` are those that a file has already."""

    def __init__(self, known: Iterable[Part]) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._new: list[Any] = []
        for part in known:
            self._number(part)
        self._new.clear()

    def take_new(self) -> list[Any]:
        """JSON values of the parts numbered since the last call."""
        new, self._new = self._new, []
        return new

    def kernels(self, kernels: Iterable[ExecutedKernel], graph: Graph) -> list[list[Any]]:
        """A row for each kernel; its nodes by their position in the graph."""
        position = {node.name: i for i, node in enumerate(graph.nodes)}
        return [
            [
                self._number(k.kernel),
                [position[name] for name in k.nodes],
                list(k.reads),
                int(k.is_output),
                k.seconds,
                k.layout,
            ]
            for k in kernels
        ]

    def graph(self, graph: Graph) -> dict[str, Any]:
        """The graph without its weights, its tensors by number."""
        number = {name: i for i, name in enumerate(graph.tensors)} | {"": -1}
        return {
            "name": graph.name,
            "nodes": [
                [
                    node.name,
                    self._number((node.domain, node.op, tuple(sorted(node.attributes.items())))),
                    [number[name] for name in node.inputs],
                    [number[name] for name in node.outputs],
                ]
                for node in graph.nodes
            ],
            "tensors": [self._number(tensor) for tensor in graph.tensors.values()],
            "inputs": [number[name] for name in graph.inputs],
            "outputs": [number[name] for name in graph.outputs],
            "constants": [[number[name], _kept(value)] for name, value in graph.constants.items()],
        }

    def _number(self, part: Part) -> int:
        number = self._numbers.get(part)
        if number is None:
            number = self._numbers[part] = len(self._numbers)
            self._new.append(_to_json(part))
        return number


def part_from_json(value: list[Any]) -> Part:
    """A part from the JSON value that :meth:`PartsWriter.take_new` made of it."""
    if len(value) == 2:
        return type_from_json(*value)
    if len(value) == 3:
        domain, op, attributes = value
        return domain, op, attributes_from_json(attributes)
    return kernel_from_json(value)


def kernels_from_json(rows: Iterable[list[Any]], parts: list[Any], graph: Graph) -> tuple[ExecutedKernel, ...]:
    """Inverse of :meth:`PartsWriter.kernels`."""
    return tuple(
        ExecutedKernel(
            parts[i],
            tuple(graph.nodes[n].name for n in nodes),
            tuple(reads),
            bool(is_output),
            None if seconds is None else checked_time(seconds, or_zero=True),
            layout,
        )
        for i, nodes, reads, is_output, seconds, layout in rows
    )


def checked_time(value: Any, *, or_zero: bool = False) -> float:
    """``value``, which is a time.

    Raises:
        ValueError: it is not a number, or none that a time can be.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (0 < value < _LONGEST or (or_zero and value == 0))
    ):
        raise ValueError(f"a time of {value!r}")
    return value


def graph_from_json(value: dict[str, Any], parts: list[Any]) -> Graph:
    """Inverse of :meth:`PartsWriter.graph`: a graph with the same digest, whose tensors are named by number."""
    nodes = []
    for name, i, inputs, outputs in value["nodes"]:
        domain, op, attributes = parts[i]
        nodes.append(Node(name, op, _names(inputs), _names(outputs), dict(attributes), domain))
    tensors = {str(i): parts[of] for i, of in enumerate(value["tensors"])}
    constants = {
        str(i): None if kept is None else np.array(kept, tensors[str(i)].dtype).reshape(tensors[str(i)].shape)
        for i, kept in value["constants"]
    }
    return Graph(value["name"], tuple(nodes), tensors, _names(value["inputs"]), _names(value["outputs"]), constants)


def _names(numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple("" if i < 0 else str(i) for i in numbers)


def _to_json(part: Part) -> list[Any]:
    if isinstance(part, Kernel):
        return part.to_json()
    if isinstance(part, TensorType):
        return [part.dtype, list(part.shape)]
    domain, op, attributes = part
    return [domain, op, attributes_to_json(attributes)]


def _kept(value: NDArray[Any] | None) -> Any:
    """What can decide about what runs: shapes, axes, bounds of a clip, a zero point; None for weights."""
    if value is None or value.size > _DECIDES or value.dtype.kind not in "iubf":
        return None
    if value.dtype.kind == "f" and not (value.size == 1 and math.isfinite(value.item())):
        return None
    return value.tolist()
