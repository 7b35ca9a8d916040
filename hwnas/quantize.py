"""INT8 by static quantisation, as a Q/DQ model in the flavour that ONNX Runtime runs fast on CPUs.

Activations are uint8 and asymmetric, so that Relu is a bound of the quantised range and costs nothing; weights are int8 per
output channel, biases int32. Ranges are the smallest and largest values over the calibration images. Measured beside the
alternatives on networks of ``hwnas/spaces/mobile.py``:

- The first convolution stays float: with one or three input channels it gains nothing from INT8.
- The logits stay float: eight bits of them would make ties.
- ``HardSigmoid`` and ``HardSwish`` have no integer kernels, and would break the network into float pieces. But a quantisation
  saturates: ``clip(x + 3, 0, 6)`` is x + 3 quantised over [0, 6], and the division by 6 is a smaller scale when it is read
  back. So ``HardSwish(x)`` becomes an integer Add and Mul, and a ``HardSigmoid`` behind a convolution disappears into it.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.atomic import write_bytes
from hwnas.errors import ExportError

if TYPE_CHECKING:
    import onnx

_LEVELS = 255


def quantize(source: str | os.PathLike[str], target: str | os.PathLike[str], calibration: NDArray[np.float32]) -> None:
    """Write the INT8 model of the float32 ONNX file ``source`` to ``target``.

    Args:
        source: a network with one input of batch 1.
        target: appears whole or not at all.
        calibration: ``(n, C, H, W)`` normalised training images.

    Raises:
        ValueError: the calibration images do not fit the network's input, or there are none, or not all are finite.
        ExportError: the network cannot be quantised.
    """
    import onnx

    try:
        model = onnx.load(source)
        (graph_input,) = [i for i in model.graph.input if i.name not in {w.name for w in model.graph.initializer}]
    except Exception as error:
        raise ExportError(f"{source} cannot be quantised: {error}", hint="Export the network again.") from error
    shape = tuple(d.dim_value for d in graph_input.type.tensor_type.shape.dim)
    if len(calibration) == 0 or (1, *calibration.shape[1:]) != shape or not np.isfinite(calibration).all():
        raise ValueError(
            f"calibration images must be finite, at least one, and of shape {('n', *shape[1:])}, got {calibration.shape}"
        )
    float_nodes = {n.name for n in model.graph.node if n.op_type == "Conv" and graph_input.name in n.input}
    try:
        _split_hardswish(model, float_nodes)
        quantized = _quantized(model, graph_input.name, calibration, sorted(float_nodes))
        _saturate(quantized)
        onnx.checker.check_model(quantized, full_check=True)
    except Exception as error:
        raise ExportError(
            f"{source} could not be quantised: {error}", hint="Deploy the float32 file, and report this network."
        ) from error
    write_bytes(target, quantized.SerializeToString())


def _quantized(
    model: onnx.ModelProto, input_name: str, calibration: NDArray[np.float32], float_nodes: list[str]
) -> onnx.ModelProto:
    import onnx
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._images: Iterator[Any] = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._images, None)
            return None if image is None else {input_name: image[None]}

    # Says that shapes are known and constants folded, which they are; the library warns otherwise.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, _own_logging():
        path = Path(folder, "int8.onnx")
        quantization.quantize_static(
            model,
            path,
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=float_nodes,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        return onnx.load(path)


@contextmanager
def _own_logging() -> Iterator[None]:
    """The library logs through module functions, which configure the root logger if it has no handler: give it one for the
    time, that drops what nobody listens to."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _split_hardswish(model: onnx.ModelProto, float_nodes: set[str]) -> None:
    """``HardSwish(x)`` as ``x · HardSigmoid(x)``, so that both factors get ranges; not behind a float convolution, which
    takes the whole of it."""
    from onnx import helper

    producers = {o: n for n in model.graph.node for o in n.output}
    nodes = []
    for node in model.graph.node:
        before = producers.get(node.input[0]) if node.input else None
        if node.op_type == "HardSwish" and (before is None or before.name not in float_nodes):
            gate = f"{node.output[0]}/gate"
            nodes.append(helper.make_node("HardSigmoid", node.input[:1], [gate], name=gate, alpha=1 / 6, beta=0.5))
            nodes.append(helper.make_node("Mul", [node.input[0], gate], node.output, name=node.name))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _saturate(model: onnx.ModelProto) -> None:
    """Replace each ``HardSigmoid`` that stands between quantised tensors by the saturation of a quantisation.

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
