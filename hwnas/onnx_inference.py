"""Running ONNX networks over many images at once, for their numbers; devices say how fast they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.threads import thread_count

if TYPE_CHECKING:
    import onnx

_BATCH = 50


def logits(model: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(n, classes)`` outputs of a network of batch 1 for normalised images ``(n, C, H, W)``."""
    output = model.graph.output[0].name
    return np.concatenate([batch[output] for batch in tensors(model, images, [output], optimised=True)]).astype(
        np.float64
    )


def tensors(
    model: onnx.ModelProto, images: NDArray[np.float32], names: Sequence[str], *, optimised: bool
) -> Iterator[dict[str, NDArray[Any]]]:
    """Float32 tensors of a network of batch 1 by name, for batch after batch of images; ``optimised`` as the runtime does it
    when the network is deployed, or operator by operator."""
    import onnx
    import onnxruntime

    many = onnx.ModelProto()
    many.CopyFrom(model)
    graph = many.graph
    del graph.value_info[:], graph.output[:]
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = thread_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work may want the cores
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(many.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for start in range(0, len(images), _BATCH):
        found = session.run(list(names), {graph.input[0].name: images[start : start + _BATCH]})
        yield dict(zip(names, found, strict=True))
