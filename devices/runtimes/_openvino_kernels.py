"""What OpenVINO's CPU plug-in executes, read from its executable graph. Runs in the host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.frames import Blob
from devices.graph import Graph, Node
from devices.kernels import Attribute, ExecutedKernel, Kernel, Operand, TensorType
from devices.runtimes._openvino_mapping import map_nodes

_CUT_US = 0.5  # in the mean: what the profiler cuts off a run, and again off the mean
_SHORTEST_S = 0.2e-6
_DISTURBED = 1.25  # times the median run
_TYPES = {
    "f64": "float64", "f32": "float32", "f16": "float16", "bf16": "float16", "i64": "int64", "i32": "int32", "i16": "int16",
    "i8": "int8", "u64": "uint64", "u32": "uint32", "u16": "uint16", "u8": "uint8", "boolean": "bool",
}  # fmt: skip
_ABSENT = "dynamic"  # type of what stands for a bias that is not there
_OPERATORS = {
    "Convolution": ("Conv",), "Deconvolution": ("ConvTranspose",), "FullyConnected": ("MatMul", "Gemm", "MatMulInteger"),
    "MatMul": ("MatMul", "Gemm"), "RNNSeq": ("RNN", "LSTM", "GRU"), "Pooling": ("MaxPool", "AveragePool"),
    "Reduce": ("ReduceMean", "GlobalAveragePool", "GlobalMaxPool", "ReduceSum", "ReduceMax"), "Softmax": ("Softmax",),
    "MVN": ("LayerNormalization", "InstanceNormalization", "GroupNormalization"), "RMS": ("RMSNormalization",),
    "Concatenation": ("Concat",), "Split": ("Split",), "StridedSlice": ("Slice",), "Transpose": ("Transpose",),
    "Interpolate": ("Resize", "Upsample"), "Gather": ("Gather",), "Pad": ("Pad",), "Tile": ("Tile",),
    "TopK": ("TopK", "ArgMax", "ArgMin"), "DepthToSpace": ("DepthToSpace",), "SpaceToDepth": ("SpaceToDepth",),
    "Convert": ("Cast",), "FakeQuantize": ("QuantizeLinear",),
}  # fmt: skip
"""Of layers that do one thing: what ONNX calls it; the first names the kind, whatever of a graph is in it."""
_MAIN = ("MatMul", "Gemm", "Softmax", "LayerNormalization", "ReduceMean")
"""What names the kind of other layers, which do several things at once; without any of these they go over elements."""
_ATTENTION, _ELEMENTWISE = "Attention", "Elementwise"
_ACTIVATIONS = frozenset(("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "LeakyRelu"))


@dataclass(frozen=True)
class ExecNode:
    """A node of the executable graph; see the fields of the same names in OpenVINO's run-time information.

    Attributes:
        reads: (position of the node, number of its output) of each input.
        constant: its value is fixed when the model is compiled.
        executed: it does work; views of other nodes' results do not.
    """

    name: str
    layer: str
    primitive: str
    layouts: str
    originals: str
    reads: tuple[tuple[int, int], ...]
    outputs: tuple[TensorType, ...]
    constant: bool
    executed: bool


def executed(graph: Graph, trace: Blob) -> list[ExecutedKernel]:
    """Kernels in the order of execution, with the graph's nodes in each and their times."""
    told = json.loads(bytes(trace))
    means_us = np.array(told["mean_us"], float)
    worked = [
        max(us) > 0 or _generated(node)
        for node, us in zip(told["nodes"], zip(*told["mean_us"], strict=True), strict=True)
    ]  # what does work takes time at least when cold, but for a fraction of a microsecond
    nodes = _exec_nodes(told["nodes"], worked)
    seconds = _seconds(np.array(told["wall_s"]), means_us) if told["wall_s"] else [None] * len(nodes)
    inside = map_nodes(graph, nodes)
    operators = {node.name: node for node in graph.nodes}
    order = sorted((i for i, node in enumerate(nodes) if node.executed), key=lambda i: told["nodes"][i]["order"])
    place = {i: k for k, i in enumerate(order)}
    results = {origin(nodes, *r)[0] for node in nodes if node.layer == "Output" for r in node.reads}
    kernels = []
    for i in order:
        sources = [(nodes[at], origin(nodes, at, port)[0], nodes[at].outputs[port]) for at, port in nodes[i].reads]
        within = [operators[name] for name in inside[i]]
        kernels.append(
            ExecutedKernel(
                _kernel(graph, nodes[i], [(t, source) for source, _, t in sources], within),
                inside[i],
                tuple(place.get(at, -1) for source, at, _ in sources if not source.constant),
                i in results,
                seconds[i],
                _layout(nodes[i]),
            )
        )
    return kernels


def origin(nodes: Sequence[ExecNode], at: int, port: int) -> tuple[int, int]:
    """Where a value really comes from: views are passed by."""
    while not nodes[at].executed and not nodes[at].constant and nodes[at].reads:
        at, port = nodes[at].reads[0]
    return at, port


def _layout(node: ExecNode) -> str:
    """Order of the axes of its first result in memory, ``acdb`` for channels last; empty for the plain one."""
    first = node.layouts.partition(",")[0]
    return "" if first == "".join(sorted(first)) else first


def _generated(node: Mapping[str, Any]) -> bool:
    """Whether code was made for a node; for reorders it is, also for those that turn out to be views."""
    return str(node["primitive"]).startswith("jit") and node["layer"] != "Reorder"


def _exec_nodes(told: Sequence[Mapping[str, Any]], worked: Sequence[bool]) -> list[ExecNode]:
    nodes: list[ExecNode] = []
    for node, works in zip(told, worked, strict=True):
        reads = tuple((at, port) for at, port in node["reads"] if told[at]["outputs"][port][0] != _ABSENT)
        constant = node["layer"] == "Const" or (bool(reads) and all(nodes[at].constant for at, _ in reads))
        live = sum(not nodes[at].constant for at, _ in reads)
        joins = (
            live > 1 and node["layer"] != "Output"
        )  # a concatenation in place does no work, but is no view of one result
        nodes.append(
            ExecNode(
                node["name"],
                node["layer"],
                node["primitive"],
                node["layouts"],
                node["originals"],
                reads,
                tuple(TensorType(_TYPES.get(name, "uint8"), tuple(shape)) for name, shape in node["outputs"]),
                constant,
                (works or joins) and not constant,
            )
        )
    return nodes


def _seconds(walls: NDArray[np.float64], means_us: NDArray[np.float64]) -> list[float]:
    """Seconds of each of n nodes in an undisturbed run.

    After run r the runtime tells the mean over all runs so far in whole microseconds, cold and disturbed runs included. That
    is modelled as the usual time plus what each disturbed run d added, spread over r runs: ``t + Σ_{d ≤ r} a_d / r``; least
    squares finds ``t``, finer than a microsecond because the mean of many runs crosses many whole ones.

    Args:
        walls: ``(r - 1,)`` seconds of the whole runs but the first, the cold one.
        means_us: ``(r, n)``.
    """
    count = len(means_us)
    disturbed = np.array([True, *(walls > _DISTURBED * np.median(walls))])
    added = np.tril(np.ones((count, count)))[:, disturbed] / np.arange(1, count + 1)[:, None]
    usual = np.linalg.lstsq(np.column_stack([np.ones(count), added]), means_us + _CUT_US, rcond=None)[0][0]
    seconds: list[float] = np.maximum((usual + _CUT_US) * 1e-6, _SHORTEST_S).tolist()
    return seconds


def _kernel(
    graph: Graph, node: ExecNode, inputs: Sequence[tuple[TensorType, ExecNode]], within: Sequence[Node]
) -> Kernel:
    """The executable graph has shapes, types, layouts and the primitive that was chosen, which is the kind's domain; what else
    decides the cost is the attributes of the graph's node inside that the layer is for."""
    wanted = _OPERATORS.get(node.layer, _MAIN)
    main = next((n for op in wanted for n in within if n.op == op), None)
    if node.layer in _OPERATORS:
        operator = wanted[0]
    elif node.layer == "Reorder":
        operator = f"{inputs[0][1].layouts.partition(',')[0]} to {node.layouts}"
    elif sum(n.op == "MatMul" for n in within) > 1:
        operator = _ATTENTION
    else:
        operator = main.op if main is not None else _ELEMENTWISE
    activation = next((n.op for n in within if n is not main and n.op in _ACTIVATIONS), "")
    attributes: dict[str, Attribute] = {
        **(main.attributes if main is not None else {}),
        "layouts": node.layouts,
        "activation": activation,
        "operators": tuple(n.op for n in within),
    }
    weight = graph.tensors.get(main.inputs[1]) if main is not None and main.op.startswith("Conv") else None
    operands = []
    for tensor, source in inputs:
        constant = source.constant
        if weight is not None and constant and tensor.size == weight.size:
            tensor = TensorType(tensor.dtype, weight.shape)  # groups are an axis of their own there
        if not (constant and tensor.dtype in ("int32", "int64") and len(tensor.shape) <= 1):  # axes and shapes
            operands.append(Operand(tensor, constant))
    kind = f"{node.layer}.{node.primitive}:{operator}"
    return Kernel(kind, tuple(operands), node.outputs, tuple(sorted(attributes.items())))
