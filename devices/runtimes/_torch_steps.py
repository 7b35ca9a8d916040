"""A program's operators one by one: what each reads and makes, where that lies, and how long it takes. Runs in the worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from time import perf_counter
from typing import Any

import torch
from torch import fx


@dataclass(frozen=True)
class Run:
    """One execution.

    Attributes:
        steps: each operator as ``{"op", "inputs", "outputs", "attributes", "is_output"}``. An input is (type, shape, the step
            that made it); that is -1 for the network's inputs and None for constants. ``"shares"`` is the number of the input in
            which all that it makes lies, if it makes no copy.
        seconds: of each step.
    """

    steps: list[dict[str, Any]]
    seconds: list[float]


def run(module: Any, inputs: Sequence[torch.Tensor]) -> Run:
    """Execute the module of an exported program step by step; as in the module itself, a value goes with its last reader."""
    nodes: Sequence[fx.Node] = list(module.graph.nodes)
    last = {source: node for node in nodes for source in node.all_input_nodes}
    results = {source for node in nodes if node.op == "output" for source in node.all_input_nodes}
    values: dict[fx.Node, Any] = {}
    maker: dict[fx.Node, int | None] = {}
    steps: list[dict[str, Any]] = []
    seconds: list[float] = []
    given = iter(inputs)
    for node in nodes:
        if node.op == "placeholder":
            values[node], maker[node] = next(given), -1
        elif node.op == "get_attr":
            values[node], maker[node] = attrgetter(str(node.target))(module), None
        elif node.op == "call_function":
            target: Any = node.target
            args: Any = fx.map_arg(node.args, values.__getitem__)
            kwargs: Any = fx.map_arg(node.kwargs, values.__getitem__)
            start = perf_counter()
            made = target(*args, **kwargs)
            stop = perf_counter()
            values[node] = made
            if isinstance(target, torch._ops.OpOverload):
                maker[node] = len(steps)
                steps.append(_described(node, made, values, maker))
                seconds.append(stop - start)
            else:  # takes one of several results
                maker[node] = maker[node.all_input_nodes[0]]
            for source in node.all_input_nodes:
                if last[source] is node:
                    del values[source]
    ends = {maker[node] for node in results}
    for i, step in enumerate(steps):
        step["is_output"] = i in ends
    return Run(steps, seconds)


def _described(
    node: fx.Node, made: Any, values: Mapping[fx.Node, Any], maker: Mapping[fx.Node, int | None]
) -> dict[str, Any]:
    target: Any = node.target
    names = [argument.name for argument in target._schema.arguments]
    told = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    inputs = [(tensor, maker[source]) for source in node.all_input_nodes for tensor in _tensors(values[source])]
    lies_in = {tensor.untyped_storage().data_ptr() for tensor in _tensors(made)}
    shared = (i for i, (tensor, _) in enumerate(inputs) if lies_in == {tensor.untyped_storage().data_ptr()})
    return {
        "op": target._schema.name.removeprefix("aten::"),
        "inputs": [(*_type(tensor), at) for tensor, at in inputs],
        "outputs": [_type(tensor) for tensor in _tensors(made)],
        "shares": next(shared, None),
        "attributes": {name: value for name, value in told.items() if _is_plain(value)},
    }


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    for each in value if isinstance(value, tuple | list) else (value,):
        if isinstance(each, torch.Tensor):
            yield each


def _type(tensor: torch.Tensor) -> tuple[str, list[int]]:
    return str(tensor.dtype).removeprefix("torch."), list(tensor.shape)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return bool(value) and all(isinstance(each, int | float) for each in value)
    return isinstance(value, int | float | str)
