"""FP16: the network with half-precision weights and activations, for runtimes that take precision from the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` in float16 throughout; inputs and outputs stay float32, cast at the border.

    Weights beyond float16's range become its largest numbers, and those below its smallest become that.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    copy = onnx.ModelProto.FromString(model.SerializeToString())
    converted: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True)
    OnnxModel(converted).topological_sort()  # the casts of inputs were appended
    del converted.graph.value_info[:]  # runtimes infer it
    return converted
