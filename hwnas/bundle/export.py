"""Export of a trained network to ONNX, checked against the module that it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from devices.atomic import write_bytes
from hwnas.errors import ExportError
from hwnas.space import SearchSpace
from hwnas.task import Task, normalize

if TYPE_CHECKING:
    import onnx
    from torch import nn

_TOLERANCE = 1e-3  # of the largest logit: float32 sums in another order, batch norm folded
_IMAGES = 32


def export(space: SearchSpace, genotype: NDArray[np.int64], module: nn.Module, task: Task, path: Path) -> float:
    """Write the inference graph of ``genotype`` with the weights of ``module`` to ``path``: batch 1, batch norm folded.

    Args:
        space: gives graph and weights.
        genotype: ``(G,)``.
        module: trained, as made by the space's ``build``.
        task: its validation images compare file and module.
        path: of the ONNX file; appears only if it is right.

    Returns:
        The largest absolute difference of the file's outputs from the module's, over real images.

    Raises:
        ExportError: the model is not valid ONNX, or differs from the module by more than rounding.
        HwnasError: the file cannot be written.
    """
    import onnx

    model = space.graph(genotype).to_onnx(space.weights(module))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"The exported model is not valid ONNX: {error}", hint="This is a defect of the space: please report it."
        ) from error
    difference = _difference(model, module, task, space.image_size(genotype))
    write_bytes(path, model.SerializeToString())
    return difference


def _difference(model: onnx.ModelProto, module: nn.Module, task: Task, size: int) -> float:
    import onnxruntime

    from hwnas.training.train import logits

    images = task.validation.images[:_IMAGES]
    wanted = logits(module, images, task, size)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = model.graph.input[0].name
    found = np.concatenate([session.run(None, {name: x[None]})[0] for x in normalize(images, task, size)])
    difference = float(np.abs(found - wanted).max())
    limit = _TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    if not difference <= limit:
        raise ExportError(
            f"Outputs of the exported model differ from the module's by up to {difference:.3g}; {limit:.3g} is allowed.",
            hint="Graph and module of the space do not compute the same: please report it.",
        )
    return difference
