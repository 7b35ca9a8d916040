"""INT8 files of the families' members, as their users would make them: by hwnas, by ONNX Runtime, recurrent ones dynamically.

Ranges of activations are made up where they would be calibrated: which kernels run does not depend on them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization

from devices import Graph
from hwnas.int8.calibration import quiet
from hwnas.int8.quantize import like_int8

STYLES = ("hwnas", "uint8", "int8")
"""By hwnas; by ONNX Runtime with activations of ``uint8``, or of ``int8``, its default."""

_WITHIN = {"Relu": (0, 4), "Sigmoid": (0, 1), "Softmax": (0, 1), "HardSigmoid": (0, 1), "Tanh": (-1, 1)}
_OTHERS = (-4, 4)


def quantized(graph: Graph, style: str) -> onnx.ModelProto:
    """The INT8 model of a float32 network.

    Args:
        graph: made by a family.
        style: of :data:`STYLES`; ``hwnas`` is for networks for images, others are quantised as ``uint8``.
    """
    model = graph.to_onnx()
    ops = {node.op for node in graph.nodes}
    if style == "hwnas" and "Conv" in ops and len(graph.inputs) == 1 and len(graph.tensors[graph.inputs[0]].shape) == 4:
        return like_int8(model)
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, quiet():
        target = Path(folder, "int8.onnx")
        if ops & {"LSTM", "GRU"}:
            quantization.quantize_dynamic(model, target)
        else:
            _static(
                graph, model, target, quantization.QuantType.QInt8 if style == "int8" else quantization.QuantType.QUInt8
            )
        return onnx.load(target)


def _static(graph: Graph, model: onnx.ModelProto, target: Path, activations: quantization.QuantType) -> None:
    found = {name: _range(*_OTHERS) for name in graph.inputs}
    for node in graph.nodes:
        found |= dict.fromkeys(node.outputs, _range(*_WITHIN.get(node.op, _OTHERS)))
    made_up = quantization.TensorsData(quantization.CalibrationMethod.MinMax, found)
    model.metadata_props.add(
        key="onnx.quant.pre_process", value="onnxruntime.quant"
    )  # shapes are known, norms are folded
    cache = target.with_suffix(".json")
    quantization.save_tensors_data(made_up, cache)
    quantization.quantize_static(model, target, None, activation_type=activations, calibration_cache_path=cache)


def _range(low: float, high: float) -> tuple[np.float32, np.float32]:
    return np.float32(low), np.float32(high)
