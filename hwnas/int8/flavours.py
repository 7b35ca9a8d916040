"""Flavours of INT8 models: what one runtime runs fast another refuses, so each target has its own.

A flavour is chosen by the device (:func:`of`); :mod:`hwnas.int8.quantize` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from devices.spec import runtime_of
from hwnas.int8 import graph

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Flavour:
    """How a float32 network becomes a Q/DQ network.

    Attributes:
        name: of the runtime that it is for.
        activations: their type; ``int8`` is symmetric, with zero points of zero.
        grouped: whether convolutions with groups become INT8.
        align: rewrites the float32 network for integer kernels, in place, once.
        split: rewrites operators so that what is between their parts gets a range, in place; is given the nodes that stay float.
        finish: rewrites the quantised network, in place.
        operators: those that are quantised; None for all that ONNX Runtime knows how to.
        options: ``extra_options`` of ``onnxruntime.quantization.quantize_static``.
    """

    name: str
    activations: Literal["int8", "uint8"]
    grouped: bool
    align: Callable[[onnx.ModelProto], None] = graph.unchanged
    split: Callable[[onnx.ModelProto, Collection[str]], None] = graph.unchanged
    finish: Callable[[onnx.ModelProto], None] = graph.unchanged
    operators: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def always_float(self, model: onnx.ModelProto) -> set[str]:
        """Names of the convolutions that stay float: those that read the network's input, with their one or three channels,
        gain nothing from INT8."""
        constants = {w.name for w in model.graph.initializer}
        inputs = {i.name for i in model.graph.input} - constants
        return {
            node.name
            for node in model.graph.node
            if node.op_type == "Conv" and (inputs & set(node.input) or (not self.grouped and _groups(node) > 1))
        }


def _groups(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "group"), 1)


# uint8 and asymmetric, so that Relu is a bound of the quantised range and costs nothing; biases int32. The logits stay float:
# eight bits of them would make ties.
CPU = Flavour(
    "onnxruntime",
    "uint8",
    grouped=True,
    align=graph.align_depthwise,
    split=graph.split_hardswish,
    finish=graph.saturate,
    options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
)

# The parser of TensorRT takes zero points of zero only and no int32 biases. Q/DQ stands on inputs alone, so that convolution,
# bias and activation fuse. Groups are padded to whole vectors: depthwise convolutions come out larger and slower than in float.
_PRODUCTS = ("Conv", "Gemm", "MatMul")
TENSORRT = Flavour(
    "tensorrt",
    "int8",
    grouped=False,
    operators=_PRODUCTS,
    options={
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": list(_PRODUCTS),
    },
)


# Q/DQ stands on inputs of products alone: convolution, bias, activation and sum fuse, and the next quantisation is part of the
# same kernel. With Q/DQ everywhere, HardSwish and sums become kernels of their own; measured on networks of
# ``hwnas/spaces/mobile.py``, 0.56 × the float32 time against 0.69 ×. Depthwise convolutions gain nothing from INT8.
OPENVINO = Flavour(
    "openvino",
    "uint8",
    grouped=False,
    operators=_PRODUCTS,
    options={"QuantizeBias": False, "OpTypesToExcludeOutputQuantization": list(_PRODUCTS)},
)

_FLAVOURS = {flavour.name: flavour for flavour in (CPU, TENSORRT, OPENVINO)}


def of(spec: str) -> Flavour:
    """The flavour for a device, by its specification; wherever the device is."""
    return _FLAVOURS.get(runtime_of(spec), CPU)
