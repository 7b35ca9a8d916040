"""Rewrites of a network for the integer kernels of ONNX Runtime on CPUs; none changes what it computes by more than rounding.

Measured on networks of ``hwnas/spaces/mobile.py``:

- Depthwise kernels work on 16 channels at a time; 72 take twice as long as 80 (:func:`align_depthwise`).
- ``HardSigmoid`` and ``HardSwish`` have no integer kernels, and would break the network into float pieces. But a quantisation
  saturates: ``clip(x + 3, 0, 6)`` is x + 3 quantised over [0, 6], and the division by 6 is a smaller scale when it is read
  back. So ``HardSwish(x)`` becomes an integer Add and Mul, and a ``HardSigmoid`` behind a convolution disappears into it
  (:func:`split_hardswish`, then :func:`saturate`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

LANES = 16
"""Channels that a depthwise kernel works on at a time."""
_LEVELS = 255
_CHANNELWISE = frozenset(
    {"Add", "AveragePool", "Clip", "GlobalAveragePool", "HardSigmoid", "HardSwish", "MaxPool", "Mul", "Relu", "Sigmoid"}
)


def unchanged(*_: object) -> None:
    """What a runtime needs that takes networks as they are."""


def align_depthwise(model: onnx.ModelProto) -> None:
    """Widen depthwise convolutions to a multiple of :data:`LANES` channels, in place, with channels that nothing reads.

    A widening begins and ends at full convolutions, whose new weights are zero, and goes through operators that keep channels
    apart. Where it would reach anything else, the convolution stays as it is.
    """
    from onnx import helper, numpy_helper

    weights = {w.name: w for w in model.graph.initializer}
    nodes = list(model.graph.node)
    for node in nodes:
        width = _depthwise_width(node, weights)
        missing = -width % LANES
        widened = _widened(model.graph, nodes, node, weights) if missing else None
        if widened is None:
            continue
        axes, depthwise = widened
        for name, axis in sorted(axes):
            value = numpy_helper.to_array(weights[name])
            zeros = np.zeros((*value.shape[:axis], missing, *value.shape[axis + 1 :]), value.dtype)
            weights[name].CopyFrom(numpy_helper.from_array(np.concatenate([value, zeros], axis), name))
        for other in depthwise:
            kept = [a for a in other.attribute if a.name != "group"]
            del other.attribute[:]
            other.attribute.extend([*kept, helper.make_attribute("group", width + missing)])
    del model.graph.value_info[:]


def _depthwise_width(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> int:
    """Channels of a depthwise convolution; 0 for any other node."""
    weight = weights.get(node.input[1]) if node.op_type == "Conv" else None
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    return group if weight is not None and group > 1 and list(weight.dims[:2]) == [group, 1] else 0


def _widened(
    graph: onnx.GraphProto, nodes: list[onnx.NodeProto], start: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]
) -> tuple[set[tuple[str, int]], list[onnx.NodeProto]] | None:
    """What has to grow with the depthwise convolution ``start``: constants with the axis, and depthwise convolutions; None if
    that cannot be done without changing what the network computes."""
    producers = {output: node for node in nodes for output in node.output}
    consumers = defaultdict(list)
    for node in nodes:
        for name in node.input:
            consumers[name].append(node)
    ends = {value.name for value in graph.output}
    width = _depthwise_width(start, weights)
    axes: set[tuple[str, int]] = set()
    depthwise: dict[str, onnx.NodeProto] = {}
    pending, seen = [start.output[0]], set()
    while pending:
        tensor = pending.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor not in producers or tensor in ends:
            return None
        for node in (producers[tensor], *consumers[tensor]):
            if _depthwise_width(node, weights):
                axes |= {(name, 0) for name in node.input[1:]}
                depthwise[node.output[0]] = node
                pending += [node.input[0], node.output[0]]
            elif node.op_type == "Conv" and all(a.i == 1 for a in node.attribute if a.name == "group"):
                axes |= {(name, 0) for name in node.input[1:]} if tensor in node.output else {(node.input[1], 1)}
            elif node.op_type in _CHANNELWISE:
                constants = [name for name in node.input if name in weights]
                if any(weights[name].dims for name in constants):
                    return None
                pending += [name for name in (*node.input, *node.output) if name and name not in constants]
            else:
                return None
    fits = all(
        name in weights and weights[name].dims[axis] == width and len(consumers[name]) == 1 for name, axis in axes
    )
    return (axes, list(depthwise.values())) if fits else None


def split_hardswish(model: onnx.ModelProto, float_nodes: Collection[str]) -> None:
    """``HardSwish(x)`` as ``x · HardSigmoid(x)``, in place, so that both factors get ranges; those that stay float stay whole."""
    from onnx import helper

    nodes = []
    for node in model.graph.node:
        if node.op_type == "HardSwish" and node.name not in float_nodes:
            gate = f"{node.output[0]}/gate"
            nodes.append(helper.make_node("HardSigmoid", node.input[:1], [gate], name=gate, alpha=1 / 6, beta=0.5))
            nodes.append(helper.make_node("Mul", [node.input[0], gate], node.output, name=node.name))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def saturate(model: onnx.ModelProto) -> None:
    """Replace each ``HardSigmoid`` that stands between quantised tensors, in place, by the saturation of a quantisation.

    ``clip(a·x + b, 0, 1)`` is ``x + b/a`` quantised over [0, 1/a] and read back over [0, 1].
    """
    from onnx import helper, numpy_helper

    producers = {o: n for n in model.graph.node for o in n.output}
    consumers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            consumers[name].append(node)

    def constant(name: str, value: np.generic) -> str:
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type != "HardSigmoid":
            continue
        quantizers, read = consumers[node.output[0]], producers.get(node.input[0])
        if read is None or read.op_type != "DequantizeLinear" or [q.op_type for q in quantizers] != ["QuantizeLinear"]:
            continue
        attributes = {a.name: a.f for a in node.attribute}
        a, b = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
        quantizer, written = quantizers[0], producers[read.input[0]]
        for reader in consumers[quantizer.output[0]]:
            reader.input[1] = f"{node.name}/unit"
            reader.input[2] = f"{node.name}/zero"
        constant(f"{node.name}/unit", np.float32(1 / _LEVELS))
        zero = constant(f"{node.name}/zero", np.uint8(0))
        quantizer.input[1] = constant(f"{node.name}/scale", np.float32(1 / a / _LEVELS))
        only_reader = len(consumers[read.output[0]]) == 1 and len(consumers[written.output[0]]) == 1
        if only_reader:  # the float tensor is needed nowhere else: quantise it over the range of the gate at once
            quantizer.input[0] = written.input[0]
            quantizer.input[2] = constant(f"{node.name}/centre", np.uint8(round(b * _LEVELS)))
            replaced |= {node.name: [], read.name: [], written.name: []}
        else:
            shift = f"{node.name}/shift"
            level = constant(f"{shift}/level", np.uint8(_LEVELS))
            scale = constant(f"{shift}/scale", np.float32(b / a / _LEVELS))
            replaced[node.name] = [
                helper.make_node("DequantizeLinear", [level, scale, zero], [shift], name=shift),
                helper.make_node("Add", [node.input[0], shift], [f"{node.name}/shifted"], name=node.name),
            ]
            quantizer.input[0] = f"{node.name}/shifted"
            quantizer.input[2] = zero
    nodes = [new for node in model.graph.node for new in replaced.get(node.name, [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [value for value in model.graph.initializer if value.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
