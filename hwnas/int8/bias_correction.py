"""Bias correction: what quantisation shifts in the mean of a layer's outputs is taken back by its bias.

Empirical, channel by channel, from the first layer to the last, each seeing what the layers before it do after their own
correction (Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2). All
layers at once would not do: measured, it makes things worse, because later layers then correct errors that are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.onnx_inference import tensors

if TYPE_CHECKING:
    import onnx

_INT32 = np.iinfo(np.int32)


def correct_biases(int8: onnx.ModelProto, model: onnx.ModelProto, images: NDArray[np.float32]) -> None:
    """Change the biases of a Q/DQ network's INT8 layers, in place, so that convolutions and products have the means that they
    have in the float32 network ``model`` it comes from, over normalised images ``(n, C, H, W)``. Biases may be int32, read
    through a ``DequantizeLinear``, or float."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in int8.graph.initializer}
    makers = {name: node for node in int8.graph.node for name in node.output}
    outputs = {node.name: node.output[0] for node in model.graph.node}
    layers = [
        node
        for node in int8.graph.node
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 and node.input[1] in makers
    ]
    wanted = _means(model, images, [outputs[node.name] for node in layers]) if layers else []
    for node, mean in zip(layers, wanted, strict=True):
        (found,) = _means(int8, images, [node.output[0]])
        if node.input[2] in makers:
            bias, scale = (constants[name] for name in makers[node.input[2]].input[:2])
            steps = np.rint((mean - found) / numpy_helper.to_array(scale).astype(np.float64))
            corrected = np.clip(numpy_helper.to_array(bias) + steps, _INT32.min, _INT32.max).astype(np.int32)
        else:
            bias = constants[node.input[2]]
            corrected = (numpy_helper.to_array(bias) + mean - found).astype(np.float32)
        bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))


def _means(model: onnx.ModelProto, images: NDArray[np.float32], names: Sequence[str]) -> list[NDArray[np.float64]]:
    """``(C,)`` mean of each tensor over images and positions."""
    sums = [np.zeros(1) for _ in names]
    for batch in tensors(model, images, names, optimised=False):
        for i, name in enumerate(names):
            value = batch[name]
            sums[i] = sums[i] + value.reshape(*value.shape[:2], -1).mean(axis=2, dtype=np.float64).sum(axis=0)
    return [total / len(images) for total in sums]
