"""Ranges of a network's activations over calibration images, by ONNX Runtime's own methods."""

from __future__ import annotations

import io
import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx
    from onnxruntime.quantization import TensorsData

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)

_OPTIONS: dict[Method, dict[str, Any]] = {
    "minmax": {},
    "percentile": {"percentile": 99.999, "symmetric": False},
    "entropy": {"num_bins": 256, "num_quantized_bins": 128},  # its time grows with the square of the bins
}
_HELD_BYTES = 128 << 20  # of activations at a time; the library merges the histograms of several batches


def ranges(model: onnx.ModelProto, images: NDArray[np.float32], method: Method) -> TensorsData:
    """The range of every tensor of ``model``, which takes one of the normalised ``images`` ``(n, C, H, W)`` at a time.

    ``minmax``: the smallest and the largest value. ``percentile``: all but 0.001 % of the values. ``entropy``: the range whose
    128 levels lose least information (Migacz 2017, "8-bit inference with TensorRT").
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    known = quantization.CalibrationMethod
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, quiet():
        source = Path(folder, "model.onnx")
        source.write_bytes(model.SerializeToString())
        calibrator = quantization.create_calibrator(
            source,
            [*QDQRegistry, *QLinearOpsRegistry],
            augmented_model_path=str(Path(folder, "augmented.onnx")),
            calibrate_method={"minmax": known.MinMax, "percentile": known.Percentile, "entropy": known.Entropy}[method],
            extra_options=_OPTIONS[method],
        )
        held = sum(4 * math.prod(d or 1 for d in o.shape) for o in calibrator.infer_session.get_outputs())
        batch = max(1, _HELD_BYTES // held)
        for start in range(0, len(images), batch):
            calibrator.collect_data(_Reader(model.graph.input[0].name, images[start : start + batch]))
        return calibrator.compute_data()


class _Reader:
    """Hands images over one by one, as the library asks for them."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._name, self._images = name, iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image[None]}


@contextmanager
def quiet() -> Iterator[None]:
    """The library prints, and logs through module functions, which configure the root logger if it has no handler: give it one
    for the time, that drops what nobody listens to."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().removeHandler(handler)
