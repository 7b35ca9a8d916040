"""What INT8 does to a network layer by layer: to its answers on validation images, and to its time on a device.

Layers are compared by how far the predicted classes diverge from the float32 network's (as in Cai et al. 2020, "ZeroQ", section
3.2): the accuracy that one layer costs is far below what some thousand images can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

import devices
import profilers
from devices.events import OnEvent, Progress
from hwnas.int8.calibration import Method
from hwnas.int8.paired import Drop, paired_drop
from hwnas.int8.quantize import Quantizer
from hwnas.onnx_inference import logits

if TYPE_CHECKING:
    import onnx

    from devices import Device, Graph, Profile

_LEARNING_S = 3.0
_LOOKS = 3  # at the kernels of each network; of each kernel the shortest time counts


@dataclass(frozen=True)
class Sensitivity:
    """What INT8 does in one layer, beside INT8 in all others.

    Attributes:
        layer: its name.
        accuracy_lost: fraction of the subset's images.
        divergence: of the predicted classes from the float32 network's, in nats.
        time_gained_ms: predicted; negative where INT8 makes the network slower.
    """

    layer: str
    accuracy_lost: float
    divergence: float
    time_gained_ms: float


@final
class AccuracyCheck:
    """Compares networks with the float32 network on validation images."""

    def __init__(
        self,
        model: onnx.ModelProto,
        images: NDArray[np.float32],
        labels: NDArray[np.int64],
        subset: NDArray[np.int64],
    ) -> None:
        self._images, self._labels, self._subset = images, labels, subset
        found = logits(model, images)
        self._right = found.argmax(1) == labels
        self._log_classes = log_softmax(found[subset], axis=1)

    def drop(self, model: onnx.ModelProto) -> Drop:
        """Of accuracy, on all images."""
        return paired_drop(self._right, logits(model, self._images).argmax(1) == self._labels)

    def on_subset(self, model: onnx.ModelProto) -> tuple[float, float]:
        """Accuracy, and mean Kullback–Leibler divergence of the classes from the float32 network's, in nats."""
        found = logits(model, self._images[self._subset])
        difference = np.exp(self._log_classes) * (self._log_classes - log_softmax(found, axis=1))
        right = found.argmax(1) == self._labels[self._subset]
        return float(right.mean()), float(difference.sum(axis=1).mean())


@final
class Timer:
    """Measures networks, and predicts them from their kernels.

    With its profiler on, a runtime adds the same to every kernel; how much, two networks tell that are measured without.
    """

    def __init__(self, device: Device, folder: Path, profile: Profile | None, seed: int, on_event: OnEvent) -> None:
        self._device, self._folder, self._profile = device, folder, profile
        self._seed, self._on_event = seed, on_event
        self._files = 0
        self._added_ms = 0.0

    def graph(self, model: onnx.ModelProto) -> Graph:
        """The network as devices take it."""
        path = self._folder / f"{self._files}.onnx"
        self._files += 1
        path.write_bytes(model.SerializeToString())
        return devices.load_onnx(path)

    def p50_ms(self, graphs: Sequence[Graph], time_limit_s: float) -> list[float]:
        """Median latencies, measured in turns."""
        timings = profilers.measure_graphs(
            self._device,
            graphs,
            profile=self._profile,
            seed=self._seed,
            time_limit_s=time_limit_s,
            on_event=self._on_event,
        )
        return [timing.p50_ms for timing in timings]

    def learn(self, *graphs: Graph) -> list[float]:
        """Median latencies, measured; from now on predictions agree with them on average."""
        measured = self.p50_ms(graphs, _LEARNING_S)
        kernels = self._kernels_ms(graphs)
        self._added_ms = (sum(map(np.sum, kernels)) - sum(measured)) / sum(map(len, kernels))
        return measured

    def predicted_ms(self, graphs: Sequence[Graph]) -> list[float]:
        """Latencies by the kernels."""
        return [float((ms - self._added_ms).sum()) for ms in self._kernels_ms(graphs)]

    def _kernels_ms(self, graphs: Sequence[Graph]) -> list[NDArray[np.float64]]:
        looks = [[self._device.lower(graph).kernels for graph in graphs] for _ in range(_LOOKS)]
        return [
            1e3 * np.min([[k.seconds or 0.0 for k in look[i]] for look in looks], axis=0) for i in range(len(graphs))
        ]


def sensitivities(
    quantizer: Quantizer, method: Method, check: AccuracyCheck, timer: Timer, whole: Graph, on_event: OnEvent
) -> tuple[Sensitivity, ...]:
    """Of every layer that INT8 is in."""
    accuracy, divergence = check.on_subset(quantizer.int8(method))
    found, graphs = [], [whole]
    for done, layer in enumerate(quantizer.layers, start=1):
        model = quantizer.int8(method, [layer])
        found.append(check.on_subset(model))
        graphs.append(timer.graph(model))
        on_event(Progress("sensitivity", done, len(quantizer.layers)))
    whole_ms, *without_ms = timer.predicted_ms(graphs)
    return tuple(
        Sensitivity(layer, float_accuracy - accuracy, divergence - float_divergence, ms - whole_ms)
        for layer, (float_accuracy, float_divergence), ms in zip(quantizer.layers, found, without_ms, strict=True)
    )
