"""What PyTorch executes, and which of a graph's nodes that is. Runs in the host."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from devices.frames import Blob
from devices.graph import Graph
from devices.kernels import SHARES, Attribute, ExecutedKernel, Kernel, Operand, TensorType

# fmt: off
_OPERATORS = {  # ONNX's operator for each of torch's; others keep their names
    "conv1d": "Conv", "conv2d": "Conv", "conv3d": "Conv", "conv_transpose2d": "ConvTranspose", "linear": "Gemm",
    "matmul": "MatMul", "bmm": "MatMul", "addmm": "Gemm", "batch_norm": "BatchNormalization",
    "layer_norm": "LayerNormalization", "group_norm": "GroupNormalization", "relu": "Relu", "relu_": "Relu", "relu6": "Clip",
    "hardtanh": "Clip", "hardtanh_": "Clip", "clamp": "Clip", "hardswish": "HardSwish", "hardswish_": "HardSwish",
    "hardsigmoid": "HardSigmoid", "hardsigmoid_": "HardSigmoid", "sigmoid": "Sigmoid", "tanh": "Tanh", "silu": "Silu",
    "gelu": "Gelu", "leaky_relu": "LeakyRelu", "softmax": "Softmax", "add": "Add", "add_": "Add", "mul": "Mul", "sub": "Sub",
    "div": "Div", "mean": "GlobalAveragePool", "adaptive_avg_pool2d": "GlobalAveragePool", "max_pool2d": "MaxPool",
    "avg_pool2d": "AveragePool", "cat": "Concat", "split": "Split", "chunk": "Split", "flatten": "Flatten",
    "reshape": "Reshape", "view": "Reshape", "transpose": "Transpose", "permute": "Transpose", "embedding": "Gather",
    "pad": "Pad", "lstm": "LSTM", "gru": "GRU", "scaled_dot_product_attention": "Attention",
}
_ATTRIBUTES = {"stride": "strides", "dilation": "dilations", "groups": "group", "kernel_size": "kernel_shape"}
# fmt: on
_PRODUCTS = ("Gemm", "MatMul")
_SHORTEST_S = 1e-7


def executed(graph: Graph, trace: Blob) -> list[ExecutedKernel]:
    """Kernels in the order of execution: one for each operator of the program."""
    told = json.loads(bytes(trace))
    steps = of_steps(told["steps"])
    inside = _nodes(graph, [step.kernel for step in steps])
    for k, step in enumerate(steps):
        if not inside[k] and step.kernel.kind.endswith("BatchNormalization") and step.reads[0] >= 0:
            inside[k] = inside[step.reads[0]]  # in the graph it is folded into what is before it
    seconds = told["seconds"] or [None] * len(steps)
    return [
        replace(step, nodes=nodes, seconds=None if s is None else max(s, _SHORTEST_S))
        for step, nodes, s in zip(steps, inside, seconds, strict=True)
    ]


def of_steps(steps: Sequence[Mapping[str, Any]]) -> list[ExecutedKernel]:
    """Kernels without nodes and times, from the operators alone."""
    return [
        ExecutedKernel(
            _kernel(step), (), tuple(at for _, _, at in step["inputs"] if at is not None), step["is_output"], None
        )
        for step in steps
    ]


def _kernel(step: Mapping[str, Any]) -> Kernel:
    op = step["op"]
    inputs = tuple(Operand(TensorType(dtype, tuple(shape)), at is None) for dtype, shape, at in step["inputs"])
    outputs = tuple(TensorType(dtype, tuple(shape)) for dtype, shape in step["outputs"])
    attributes: dict[str, Attribute] = {
        _ATTRIBUTES.get(name, name): tuple(value) if isinstance(value, list) else value
        for name, value in step["attributes"].items()
    }
    pads = attributes.pop("padding", None)
    if isinstance(pads, tuple):
        attributes["pads"] = pads * 2
    if step["shares"] is not None:
        attributes[SHARES] = step["shares"]
    return Kernel(f"aten.{op}:{_OPERATORS.get(op, op)}", inputs, outputs, tuple(sorted(attributes.items())))


def _nodes(graph: Graph, kernels: Sequence[Kernel]) -> list[tuple[str, ...]]:
    """Names of the nodes in each kernel. Program and graph compute the same in about the same order, so a node is in the first
    kernel of its operator and type of result that is not taken; what has none goes with the kernel before it."""
    free: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for k, kernel in enumerate(kernels):
        if kernel.outputs:
            free[_key(kernel.op, kernel.outputs[0])].append(k)
    inside: list[list[str]] = [[] for _ in kernels]
    before = 0
    for node in graph.nodes:
        same = free[_key(node.op, graph.tensors[node.outputs[0]])]
        if same:
            before = same.pop(0)
        inside[before].append(node.name)
    return [tuple(names) for names in inside]


def _key(operator: str, result: TensorType) -> tuple[object, ...]:
    """Operator and result, regardless of axes of length one, which exporters add and remove."""
    name = "product" if operator in _PRODUCTS else operator
    return name, result.dtype, tuple(d for d in result.shape if d > 1)
