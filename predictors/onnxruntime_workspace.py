"""Memory that kernels of ONNX Runtime's CPU provider take while they run and give back at once, from their shapes.

Found by reading what its kernels allocate and confirmed on what the runtime reports: the unfolding of convolutions that do not
run on blocks of channels, accumulators and rearranged tensors of integer convolutions and products, gates of recurrent kernels.
"""

from __future__ import annotations

import math

from devices import ExecutedKernel, Kernel, TensorType

_TILE = 128 * 128  # numbers that a convolution unfolds at a time
_PACKED_FILTERS, _PACKED_CHANNELS = 16, 4  # how many, and multiples of how many, integer convolutions pack weights of
_FLOAT_BYTES = 4
_POINTER_BYTES = 8
_GATES = {"GRU": 3, "LSTM": 4, "DynamicQuantizeLSTM": 4}


def workspace_bytes(executed: ExecutedKernel) -> int:
    """Bytes beside the operands and results; 0 for kernels that take none worth mentioning. For one thread."""
    kernel = executed.kernel
    tensors = [*(o.type for o in kernel.inputs[:1]), *kernel.outputs[:1]]
    # a learned kernel may lack what nobody recorded, and a batch may be empty
    if len(tensors) < 2 or not all(t.size for t in tensors):
        return 0
    match kernel.op:
        case "Conv" | "FusedConv" if not executed.layout:
            return _convolution(kernel)
        case "ConvTranspose":
            return _transposed_convolution(kernel)
        case "QLinearConv":
            return _integer_convolution(kernel)
        case "ConvInteger":
            return _unfolded(kernel) * kernel.inputs[0].type.item_bytes
        case "QGemm" | "QLinearMatMul" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul":
            return kernel.outputs[0].size * 4
        case "LSTM" | "GRU" | "DynamicQuantizeLSTM" as op:
            return _recurrence(kernel, _GATES[op])
    return 0


def _convolution(kernel: Kernel) -> int:
    """See ``MlasConvPrepare``."""
    weight = _weight(kernel)
    if weight is None or _pointwise(kernel, weight):
        return 0
    filters = weight.shape[0] // int(kernel.attribute("group", 1))
    positions = math.prod(kernel.outputs[0].shape[2:])
    return (positions * math.prod(weight.shape[1:]) if filters > positions else _TILE) * _FLOAT_BYTES


def _transposed_convolution(kernel: Kernel) -> int:
    weight = _weight(kernel)
    if weight is None:
        return 0
    return math.prod(weight.shape[1:]) * math.prod(kernel.inputs[0].type.shape[2:]) * _FLOAT_BYTES


def _integer_convolution(kernel: Kernel) -> int:
    """One image at a time, but pointers to all of them. See ``MlasConvSymPackWSize`` for which are not unfolded."""
    weight = next((o.type for o in kernel.inputs[3:] if len(o.type.shape) > 2), None)
    if weight is None:
        return 0
    x, y = kernel.inputs[0].type, kernel.outputs[0]
    last = bool(kernel.attribute("channels_last", 0))
    positions = math.prod(y.shape[1:-1] if last else y.shape[2:])
    images = 0 if last else (x.size + y.size) // x.shape[0] * x.item_bytes
    area = math.prod(weight.shape[2:])
    whole = _pointwise(kernel, weight)
    group = int(kernel.attribute("group", 1))
    depthwise = weight.shape[1] == 1 and group == weight.shape[0]
    if depthwise:
        packs = group % _PACKED_FILTERS == 0
    else:
        packs = group == 1 and weight.shape[0] >= _PACKED_FILTERS and weight.shape[1] % _PACKED_CHANNELS == 0
    packed = packs and weight.dtype == "int8"
    sums = 0 if packed else 4 * y.size // y.shape[0]
    if whole:
        return images + sums
    if depthwise or packed:
        return images + sums + _POINTER_BYTES * area * positions * x.shape[0]
    return images + sums + math.prod(weight.shape[1:]) * positions


def _recurrence(kernel: Kernel, gates: int) -> int:
    """Both directions at once; the one that runs backwards turns its inputs and results round."""
    if len(kernel.inputs) < 3 or len(kernel.inputs[0].type.shape) != 3:
        return 0
    steps, batch, depth = kernel.inputs[0].type.shape
    hidden = int(kernel.attribute("hidden_size", 0)) or kernel.inputs[2].type.shape[-1]
    direction = kernel.attribute("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    numbers = directions * (gates * hidden * batch * steps + 4 * batch * hidden)
    if direction != "forward":
        numbers += steps * batch * (depth + hidden)
    return numbers * _FLOAT_BYTES


def _unfolded(kernel: Kernel) -> int:
    weight = _weight(kernel)
    if weight is None or _pointwise(kernel, weight):
        return 0
    return math.prod(weight.shape[1:]) * math.prod(kernel.outputs[0].shape[2:])


def _weight(kernel: Kernel) -> TensorType | None:
    return kernel.inputs[1].type if len(kernel.inputs) > 1 and len(kernel.inputs[1].type.shape) > 2 else None


def _pointwise(kernel: Kernel, weight: TensorType) -> bool:
    """Whether the input can be used as it is."""
    return (
        math.prod(weight.shape[2:]) == 1
        and all(s == 1 for s in kernel.attribute("strides", ()))
        and not any(kernel.attribute("pads", ()))
    )
