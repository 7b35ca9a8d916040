"""What TensorRT's inspector and profiler say of an engine, as kernels.

With detailed verbosity the inspector gives each layer's tensors, and in its metadata the names of the ONNX nodes in it. Much of
a network may be one layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from devices.kernels import Attribute, ExecutedKernel, Kernel, Operand, TensorType

if TYPE_CHECKING:
    from devices.graph import Graph

_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_TYPES = (("int8", "int8"), ("int32", "int32"), ("int64", "int64"), ("uint8", "uint8"), ("bool", "bool"), ("half", "float16"),
          ("fp16", "float16"), ("bf16", "float16"))  # fmt: skip
_CONSTANTS = ("Weights", "Bias")
_IDENTITY = ("Name", "LayerType", "Inputs", "Outputs", "Metadata", "StreamId", "HasSparseWeights", *_CONSTANTS)


def executed(
    graph: Graph, information: Mapping[str, Any], times_ms: Mapping[str, Sequence[float]]
) -> list[ExecutedKernel]:
    """Kernels in the order of execution, from the inspector's JSON and each layer's times (the first half are warm-ups)."""
    known = {node.name for node in graph.nodes}
    placed: set[str] = set()
    producers: dict[str, int] = {}
    kernels: list[ExecutedKernel] = []
    for layer in information.get("Layers", ()):
        if isinstance(layer, str):  # without detailed verbosity
            layer = {"Name": layer}
        inputs, outputs = layer.get("Inputs", ()), layer.get("Outputs", ())
        nodes = [n for n in dict.fromkeys(_NODE.findall(layer.get("Metadata", ""))) if n in known - placed]
        placed.update(nodes)
        constants = [_constant(layer[name]) for name in _CONSTANTS if _count(layer.get(name))]
        kernel = Kernel(
            str(layer.get("LayerType", "Layer")),
            (*(Operand(_tensor(t)) for t in inputs), *constants),
            tuple(_tensor(t) for t in outputs),
            tuple(sorted((key, value) for key, raw in layer.items() if (value := _attribute(key, raw)) is not None)),
        )
        taken = times_ms.get(layer["Name"], ())
        kernels.append(
            ExecutedKernel(
                kernel,
                tuple(nodes),
                tuple(producers.get(t.get("Name", ""), -1) for t in inputs),
                any(t.get("Name") in graph.outputs for t in outputs),
                median(taken[len(taken) // 2 :]) * 1e-3 if taken else None,
            )
        )
        producers.update((t.get("Name", ""), len(kernels) - 1) for t in outputs)
    return kernels


def _tensor(described: Mapping[str, Any]) -> TensorType:
    form = str(described.get("Format/Datatype", described.get("Format", ""))).lower()
    dtype = next((dtype for word, dtype in _TYPES if word in form), "float32")
    return TensorType(dtype, tuple(int(d) for d in described.get("Dimensions", ())))


def _count(described: Any) -> int:
    return int(described.get("Count", 0)) if isinstance(described, Mapping) else 0


def _constant(described: Mapping[str, Any]) -> Operand:
    kind = {"Half": "float16", "Int8": "int8"}.get(str(described.get("Type")), "float32")
    return Operand(TensorType(kind, (_count(described),)), constant=True)


def _attribute(key: str, raw: Any) -> Attribute | None:
    """Numbers, short words and rows of numbers that say how a layer works."""
    if key in _IDENTITY or isinstance(raw, bool):
        return None
    if isinstance(raw, str) or (isinstance(raw, int | float) and math.isfinite(raw)):
        return raw
    if isinstance(raw, list) and raw and all(isinstance(v, int) for v in raw):
        return tuple(raw)
    return None
