"""Sentinels: fixed networks whose time tells whether the machine has changed.

Their footprints differ because disturbances do: a small network that lives in the core's own caches, a medium one, and a
product with a matrix larger than those caches, which is a probe of shared cache and memory bandwidth.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from devices import Graph, Node, TensorType


def graphs() -> tuple[Graph, ...]:
    """The sentinels: about 0.1 MB, 1 MB and 16 MB of weights and activations."""
    return _convolutions("small", 16, 16), _convolutions("medium", 48, 32), _product("large", 2048)


def _convolutions(name: str, channels: int, size: int) -> Graph:
    image = TensorType("float32", (1, channels, size, size))
    nodes: list[Node] = []
    tensors = {"x0": image}
    for i in range(3):
        tensors[f"w{i}"] = TensorType("float32", (channels, channels, 3, 3))
        tensors[f"c{i}"] = tensors[f"x{i + 1}"] = image
        nodes.append(
            Node(f"conv{i}", "Conv", (f"x{i}", f"w{i}"), (f"c{i}",), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)})
        )
        nodes.append(Node(f"relu{i}", "Relu", (f"c{i}",), (f"x{i + 1}",)))
    make_module = partial(_convolutions_module, channels)
    return Graph(
        name, tuple(nodes), tensors, ("x0",), ("x3",), {f"w{i}": None for i in range(3)}, make_module=make_module
    )


def _convolutions_module(channels: int) -> Any:
    from torch import nn

    layers = [(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.ReLU()) for _ in range(3)]
    return nn.Sequential(*(layer for pair in layers for layer in pair))


def _product(name: str, width: int) -> Graph:
    row = TensorType("float32", (1, width))
    tensors = {"x": row, "w": TensorType("float32", (width, width)), "y": row}
    nodes = (Node("product", "MatMul", ("x", "w"), ("y",)),)
    return Graph(name, nodes, tensors, ("x",), ("y",), {"w": None}, make_module=partial(_product_module, width))


def _product_module(width: int) -> Any:
    from torch import nn

    return nn.Linear(width, width, bias=False)
