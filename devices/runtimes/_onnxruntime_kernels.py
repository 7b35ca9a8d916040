"""What ONNX Runtime executes, read from its optimised model and its trace. Runs in the host.

Every node and tensor of the model has a unique token as its name (:mod:`devices.runtimes._tokens`); what the runtime does to the
graph leaves those tokens in the names of its kernels and their outputs, which anchor the mapping (:func:`map_nodes`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from devices.device import Memory
from devices.errors import UnsupportedOp
from devices.frames import Blob
from devices.graph import Graph
from devices.kernels import CONTROL_FLOW, ExecutedKernel, Kernel, Operand, TensorType, type_from_json
from devices.onnx_file import attributes
from devices.runtimes._onnxruntime_mapping import map_nodes
from devices.runtimes.onnxruntime import MEMORY_RUNS, WARMUP_RUNS

# fmt: off
_DTYPES = {
    "float": "float32", "double": "float64", "Int4x2": "int4", "UInt4x2": "uint4", "Int2x4": "int2", "UInt2x4": "uint2",
    "Float4E2M1x2": "float4_e2m1fn", "Float8E4M3FN": "float8_e4m3fn", "Float8E4M3FNUZ": "float8_e4m3fnuz",
    "Float8E5M2": "float8_e5m2", "Float8E5M2FNUZ": "float8_e5m2fnuz",
}  # where the trace's word is not numpy's
# fmt: on
_PROFILER_S, _PROFILER_SD_S = (
    2.5e-6,
    1e-6,
)  # that the profiler adds to a kernel: what is usual, and how far it may be from that
_WHOLE_SD = 0.01  # with which whole runs with and without it can be compared, as a fraction
_LEAST = 0.05  # of a kernel's profiled time: what it takes at least
_CUT_OFF_S = 0.5e-6  # of a kernel's time on average: the profiler has whole microseconds
_BLOCKED = "com.microsoft.nchwc"  # domain of the kernels that work on blocks of channels, and name of that layout


def executed(graph: Graph, optimised: Blob, trace: Blob, wholes: Blob | None = None) -> list[ExecutedKernel]:
    """Kernels in the order of execution, with the graph's nodes in each and what they take without the profiler. ``wholes`` are
    the seconds of runs without it, as 64-bit floats; None if the trace is of a single run, which tells no times."""
    lowered = onnx.ModelProto.FromString(bytes(optimised)).graph
    runs = _Runs.read(lowered, trace)
    seconds: list[float] | list[None] = [None] * len(lowered.node)
    if wholes is not None:
        seconds = _without_profiler(runs.seconds, runs.whole_s, _fastest_quarter(np.frombuffer(wholes))).tolist()
    constants = {tensor.name: _tensor_type(tensor) for tensor in lowered.initializer}
    outputs = {value.name for value in lowered.output}
    nodes = map_nodes(graph, lowered).kernels
    maker: dict[str, int] = {}
    kernels: list[ExecutedKernel] = []
    for i, node in enumerate(lowered.node):
        shapes = runs.shapes[i]
        reads = tuple(maker.get(name, -1) for name in node.input if name and name not in constants)
        read = {kernels[at].layout if at >= 0 else "" for at in reads}
        operands = _operands(node, constants, shapes[0])
        kernels.append(
            ExecutedKernel(
                Kernel(_kind(node), operands, shapes[1], tuple(sorted(attributes(node).items()))),
                nodes[i],
                reads,
                not outputs.isdisjoint(node.output),
                seconds[i],
                _layout(node, read),
            )
        )
        maker |= dict.fromkeys(filter(None, node.output), i)
    return kernels


def memory(optimised: Blob, trace: Blob) -> Memory:
    """Bytes of the optimised graph's initializers, and the highest number of bytes requested in use in the last run.

    The profiler notes what is requested in use after each kernel, its inputs and outputs included. Workspace that a kernel frees
    again shows in the arena's peak only; where that is above everything seen after kernels, the difference is added.
    What is in use between runs (weights that the runtime packed for itself) does not count: their initializers do.
    """
    lowered = onnx.ModelProto.FromString(bytes(optimised)).graph
    weights = sum(_tensor_type(tensor).nbytes for tensor in lowered.initializer)
    events = [e["args"] for e in json.loads(bytes(trace)) if "mem_bytes_requested_in_use" in e.get("args", {})]
    last = events[-(len(events) // MEMORY_RUNS) :]
    if not last:
        return Memory(weights, 0, "runtime")
    requested = [int(e["mem_bytes_requested_in_use"]) for e in last]
    base = requested[0] - int(last[0]["mem_requested_in_use_delta"])
    hidden = int(last[-1]["mem_in_use_peak"]) - max(int(e["mem_bytes_in_use"]) for e in last)
    return Memory(weights, max(requested) - base + max(0, hidden), "runtime")


@dataclass(frozen=True)
class _Runs:
    """The trace, for each node of the optimised graph in its order.

    Attributes:
        shapes: types of the inputs that the profiler names (it leaves packed weights out) and of the outputs.
        seconds: the node's time, as the profiler has it.
        whole_s: what all of them take in the fastest quarter of the runs.
    """

    shapes: list[tuple[tuple[TensorType, ...], tuple[TensorType, ...]]]
    seconds: NDArray[np.float64]
    whole_s: float

    @classmethod
    def read(cls, lowered: onnx.GraphProto, trace: Blob) -> _Runs:
        wanted = [node.op_type for node in lowered.node]
        events = _events(lowered, trace)
        last = events[-len(wanted) :]
        if len(events) % len(wanted) or [e["args"]["op_name"] for e in last] != wanted:
            raise UnsupportedOp("The profiler's trace does not fit the optimised graph.")
        shapes = [(_types(e["args"]["input_type_shape"]), _types(e["args"]["output_type_shape"])) for e in last]
        micros = np.array([e["dur"] for e in events], float).reshape(-1, len(wanted))
        warm = micros[min(WARMUP_RUNS, len(micros) - 1) :]
        totals = warm.sum(axis=1) * 1e-6 + _CUT_OFF_S * len(wanted)
        return cls(shapes, _typical(warm), _fastest_quarter(totals))


def _events(lowered: onnx.GraphProto, trace: Blob) -> list[dict[str, Any]]:
    """The profiler's events of the main graph's kernels; those in bodies of loops and branches are part of their node's time."""
    names = {node.name for node in lowered.node if node.name}
    unnamed = {node.op_type for node in lowered.node if not node.name}  # told by operator and number
    events = []
    for event in json.loads(bytes(trace)):
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        name = event["name"].removesuffix("_kernel_time")
        if name in names or (event["args"]["op_name"] in unnamed and name.rpartition("_")[0] in unnamed):
            events.append(event)
    bodies = [(e["ts"], e["ts"] + e["dur"]) for e in events if e["args"]["op_name"] in CONTROL_FLOW]
    return [e for e in events if not any(start < e["ts"] and e["ts"] + e["dur"] < end for start, end in bodies)]


def _typical(micros: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(kernels,)`` seconds of ``(runs, kernels)`` whole microseconds: the mean over the faster half of the runs, plus half
    of the microsecond that the profiler cuts off. A mean keeps what a median of whole numbers loses."""
    total = micros.sum(axis=1)
    fast: NDArray[np.float64] = micros[np.argsort(total, kind="stable")[: max(1, len(micros) // 2)]].mean(axis=0)
    return fast * 1e-6 + _CUT_OFF_S


def _fastest_quarter(seconds: NDArray[np.float64]) -> float:
    """Their mean. It repeats better than that of the faster half; of single kernels, which are timed in whole microseconds, it
    would be too few."""
    return float(np.sort(seconds)[: max(1, len(seconds) // 4)].mean())


def _without_profiler(seconds: NDArray[np.float64], profiled_s: float, whole_s: float) -> NDArray[np.float64]:
    """``(kernels,)`` times that add up to the run without the profiler.

    The profiler adds the same to each kernel: what runs with it take longer, weighed with what is usual by how well either is
    known, and no more than the shortest kernel takes. What is left is how the machine was, the same factor for all.
    """
    n = len(seconds)
    known, usual = (_WHOLE_SD * whole_s / n) ** -2, _PROFILER_SD_S**-2
    each = ((profiled_s - whole_s) / n * known + _PROFILER_S * usual) / (known + usual)
    left = np.maximum(seconds - np.clip(each, 0, seconds.min() + _CUT_OFF_S), _LEAST * seconds)
    return np.asarray(left * (whole_s / left.sum()), np.float64)


def _types(described: Sequence[Mapping[str, Sequence[int]]]) -> tuple[TensorType, ...]:
    return tuple(_traced_type(kind, shape) for entry in described for kind, shape in entry.items())


def _traced_type(kind: str, shape: Sequence[int]) -> TensorType:
    try:
        return type_from_json(_DTYPES.get(kind, kind), list(shape))
    except (TypeError, ValueError) as error:
        raise UnsupportedOp(f"The profiler's trace has a tensor of an unknown type: {kind!r}.") from error


def _operands(
    node: onnx.NodeProto, constants: Mapping[str, TensorType], traced: Sequence[TensorType]
) -> tuple[Operand, ...]:
    """Constants are typed by the optimised graph, the others by the trace. That leaves out those constants that the runtime
    packed for itself; which ones these are shows where its list and the node's inputs disagree."""
    names = [name for name in node.input if name]
    packed = len(names) - len(traced)
    told = iter(traced)
    following = next(told, None)
    operands = []
    for name in names:
        constant = constants.get(name)
        if constant is not None and packed > 0 and following != constant:
            packed -= 1
            operands.append(Operand(constant, True))
        elif following is not None:
            operands.append(Operand(following, constant is not None))
            following = next(told, None)
    return tuple(operands)


def _tensor_type(tensor: onnx.TensorProto) -> TensorType:
    return TensorType(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).name, tuple(tensor.dims))


def _layout(node: onnx.NodeProto, read: Set[str]) -> str:
    """The layout of a kernel's results: what works element by element passes on the layout that it reads."""
    if node.op_type == "ReorderOutput":
        return ""
    return _BLOCKED if node.domain == _BLOCKED or read == {_BLOCKED} else ""


def _kind(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}:{node.op_type}"
