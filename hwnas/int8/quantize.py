"""INT8 by static quantisation, as a Q/DQ model in the flavour of the runtime that is to run it (:mod:`hwnas.int8.flavours`).

Weights are int8 per output channel; how activations and biases are quantised, and what stays float, is the flavour's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from devices.atomic import write_bytes
from hwnas.errors import ExportError
from hwnas.int8.calibration import Method, quiet, ranges
from hwnas.int8.flavours import CPU, Flavour

if TYPE_CHECKING:
    import onnx
    from onnxruntime.quantization import TensorsData

_MADE_UP = 4.0  # ends of made-up ranges; kernels do not depend on them


def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    calibration: NDArray[np.float32],
    flavour: Flavour = CPU,
) -> None:
    """Write the INT8 model of the float32 ONNX file ``source`` to ``target``, calibrated by the smallest and largest values.

    Args:
        source: a network with one input of batch 1.
        target: appears whole or not at all.
        calibration: ``(n, C, H, W)`` normalised training images.
        flavour: of the runtime that it is for.

    Raises:
        ValueError: the calibration images do not fit the network's input, or there are none, or not all are finite.
        ExportError: the network cannot be quantised.
    """
    write_bytes(target, Quantizer(source, calibration, flavour).int8().SerializeToString())


@final
class Quantizer:
    """A float32 network that can be had in INT8, whole or but for some of its layers.

    Args:
        source, calibration, flavour: see :func:`quantize`, with the errors that it raises.

    Attributes:
        model: the network, ready for integer kernels but still float32.
        layers: what may be INT8 and can stay float, by name: the nodes that are named ``LAYER/…``; in the order of execution.
    """

    def __init__(
        self, source: str | os.PathLike[str], calibration: NDArray[np.float32], flavour: Flavour = CPU
    ) -> None:
        import onnx

        try:
            self.model = onnx.load(source)
            _, shape = _input(self.model)
        except Exception as error:
            raise ExportError(f"{source} cannot be quantised: {error}", hint="Export the network again.") from error
        if len(calibration) == 0 or (1, *calibration.shape[1:]) != shape or not np.isfinite(calibration).all():
            raise ValueError(
                f"calibration images must be finite, at least one, and of shape {('n', *shape[1:])}, "
                f"got {calibration.shape}"
            )
        flavour.align(self.model)
        self._source, self._calibration, self._flavour = source, calibration, flavour
        self._float = flavour.always_float(self.model)
        weighted = [n for n in self.model.graph.node if n.op_type in ("Conv", "Gemm") and n.name not in self._float]
        self.layers = tuple(dict.fromkeys(_layer(node) for node in weighted))
        self._ranges: dict[Method, TensorsData] = {}

    def int8(self, method: Method = "minmax", float_layers: Collection[str] = ()) -> onnx.ModelProto:
        """The INT8 model; what its flavour leaves in float stays so whatever ``float_layers`` says.

        Raises:
            ExportError: the network cannot be quantised.
        """
        import onnx

        float_nodes = self._float | {n.name for n in self.model.graph.node if _layer(n) in float_layers}
        try:
            if method not in self._ranges:
                everything = _copy(self.model)
                self._flavour.split(everything, self._float)
                self._ranges[method] = ranges(everything, self._calibration, method)
            quantized = _quantized(_copy(self.model), self._ranges[method], float_nodes, self._flavour)
            onnx.checker.check_model(quantized, full_check=True)
        except Exception as error:
            raise ExportError(
                f"{self._source} could not be quantised: {error}",
                hint="Deploy the float32 file, and report this network.",
            ) from error
        return quantized


def like_int8(model: onnx.ModelProto, flavour: Flavour = CPU) -> onnx.ModelProto:
    """An INT8 model of the same kernels as ``model`` will have, without calibration: every range is made up."""
    from onnxruntime import quantization

    model = _copy(model)
    flavour.align(model)
    float_nodes = flavour.always_float(model)
    split = _copy(model)
    flavour.split(split, float_nodes)
    low, high = np.float32(-_MADE_UP), np.float32(_MADE_UP)
    found = {_input(model)[0]: (low, high)}
    for node in split.graph.node:  # Relu disappears into a range that ends at zero
        found |= dict.fromkeys(node.output, (np.float32(0), high) if node.op_type == "Relu" else (low, high))
    made_up = quantization.TensorsData(quantization.CalibrationMethod.MinMax, found)
    return _quantized(model, made_up, float_nodes, flavour)


def _quantized(
    model: onnx.ModelProto, found: TensorsData, float_nodes: Collection[str], flavour: Flavour
) -> onnx.ModelProto:
    """Changes ``model``."""
    import onnx
    from onnxruntime import quantization

    flavour.split(model, float_nodes)
    # Says that shapes are known and constants folded, which they are; the library warns otherwise.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, quiet():
        path, cache = Path(folder, "int8.onnx"), Path(folder, "ranges.json")
        quantization.save_tensors_data(found, cache)
        quantization.quantize_static(
            model,
            path,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=flavour.operators,
            activation_type={"uint8": quantization.QuantType.QUInt8, "int8": quantization.QuantType.QInt8}[
                flavour.activations
            ],
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            calibrate_method=found.calibration_method,
            calibration_cache_path=cache,
            nodes_to_exclude=sorted(float_nodes),
            extra_options=dict(flavour.options),
        )
        quantized = onnx.load(path)
    flavour.finish(quantized)
    del quantized.graph.value_info[:]  # runtimes infer it; it would be a tenth of a small file
    return quantized


def _input(model: onnx.ModelProto) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the only input."""
    constants = {w.name for w in model.graph.initializer}
    (graph_input,) = [i for i in model.graph.input if i.name not in constants]
    return graph_input.name, tuple(d.dim_value for d in graph_input.type.tensor_type.shape.dim)


def _layer(node: onnx.NodeProto) -> str:
    name: str = node.name or node.output[0]
    return name.partition("/")[0]


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
