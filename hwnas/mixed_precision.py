"""INT8 without regret: which layers stay float32, so that the file is as fast as can be and as accurate as is asked.

How much each layer hurts is seen on validation images when it alone goes back to float32; what that costs in time is predicted
from the kernels that the device makes of such a network. Layers go back in the order of what they win for the time they cost.
The few files that come of it are evaluated on all validation images and measured beside the float32 file. Test images are never
seen.

Layers are compared by how far the predicted classes diverge from the float32 network's (as in Cai et al. 2020, "ZeroQ", section
3.2): the accuracy that one layer costs is far below what some thousand images can show.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

import devices
import profilers
from devices.events import OnEvent, Progress, ignore
from hwnas.bias_correction import correct_biases
from hwnas.calibration import METHODS, Method
from hwnas.onnx_inference import logits
from hwnas.paired import Drop, paired_drop
from hwnas.quantize import Quantizer

if TYPE_CHECKING:
    import onnx

    from devices import Device, Graph, Profile

SUBSET = 2000
"""Validation images on which ways to calibrate, and layers, are compared."""
CORRECTION_IMAGES = 64
_LEARNING_S, _MEASURING_S = 3.0, 8.0
_LOOKS = 3  # at the kernels of each network; of each kernel the shortest time counts
_CLEARLY = 0.05  # of the latency: what a mixture has to win, or the noise of measuring would choose


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


@dataclass(frozen=True)
class Candidate:
    """One INT8 file that was considered.

    Attributes:
        float_layers: the layers that stay float32.
        drop: of accuracy on all validation images.
        predicted_ms: median latency, by what its layers gain.
        p50_ms: measured.
    """

    float_layers: tuple[str, ...]
    drop: Drop
    predicted_ms: float
    p50_ms: float


@dataclass(frozen=True)
class Calibrated:
    """How ranges and biases are found.

    Attributes:
        method: of the ranges.
        corrected: whether biases are corrected.
        divergences: of each way that was tried.
    """

    method: Method
    corrected: bool
    divergences: dict[str, float]

    @property
    def name(self) -> str:
        """The way in words."""
        return f"{self.method}, biases corrected" if self.corrected else self.method


@dataclass(frozen=True)
class Mixture:
    """The INT8 file that was chosen, and why.

    Attributes:
        model: the Q/DQ network.
        calibrated: how.
        sensitivity: of each layer.
        candidates: what was measured beside the float32 file; ``chosen`` is a position in it.
        float_ms: median latency of that file.
        verdict: whether INT8 pays, in a sentence.
    """

    model: onnx.ModelProto
    calibrated: Calibrated
    sensitivity: tuple[Sensitivity, ...]
    candidates: tuple[Candidate, ...]
    chosen: int
    float_ms: float
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """All but the network, as a JSON object."""
        return {
            "calibration": self.calibrated.name,
            "divergences": self.calibrated.divergences,
            "float_layers": self.candidates[self.chosen].float_layers,
            "drop": asdict(self.candidates[self.chosen].drop),
            "sensitivity": [asdict(s) for s in self.sensitivity],
            "candidates": [asdict(c) for c in self.candidates],
            "float_ms": self.float_ms,
            "verdict": self.verdict,
        }


def mix(
    source: Path,
    calibration: NDArray[np.float32],
    validation: NDArray[np.float32],
    labels: NDArray[np.int64],
    device: Device,
    *,
    max_accuracy_drop: float,
    profile: Profile | None = None,
    seed: int = 0,
    on_event: OnEvent = ignore,
) -> Mixture:
    """The fastest INT8 version of ``source`` on ``device`` that loses at most ``max_accuracy_drop`` of its accuracy.

    Where none does both, it is the one with fewest float32 layers that keeps the accuracy, else INT8 throughout.

    Args:
        source: a float32 ONNX file with one input of batch 1.
        calibration: ``(n, C, H, W)`` normalised training images.
        validation: ``(v, C, H, W)`` normalised validation images.
        labels: ``(v,)`` their classes.
        device: measures, and says what kernels it makes of a network.
        max_accuracy_drop: as a fraction of the validation images.
        profile: of the device; its sentinels tell whether the machine is as it was.
        seed: draws the subset, and orders the measurements.
        on_event: told of progress.

    Raises:
        ExportError: the network cannot be quantised.
        DeviceError: the device cannot run it.
    """
    import onnx

    quantizer = Quantizer(source, calibration)
    subset = np.random.default_rng(seed).permutation(len(labels))[:SUBSET]
    judge = _Judge(onnx.load(source), validation, labels, subset)
    calibrated = _calibrated(quantizer, judge, calibration)
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        clock = _Clock(device, Path(folder), profile, seed, on_event)
        original, whole = devices.load_onnx(source), clock.graph(quantizer.int8(calibrated.method))
        float_ms, whole_ms = clock.learn(original, whole)
        sensitivity = _sensitivities(quantizer, calibrated.method, judge, clock, whole, on_event)
        models: list[onnx.ModelProto] = []
        candidates: list[Candidate] = []
        first, further = plans(sensitivity, float_ms, whole_ms)
        for plan in (*first, *further):
            if len(models) >= len(first) and any(c.drop.lost <= max_accuracy_drop for c in candidates):
                break
            model = quantizer.int8(calibrated.method, plan)
            if calibrated.corrected:
                correct_biases(model, quantizer.model, calibration[:CORRECTION_IMAGES])
            predicted_ms = whole_ms + sum(s.time_gained_ms for s in sensitivity if s.layer in plan)
            models.append(model)
            candidates.append(Candidate(plan, judge.drop(model), predicted_ms, np.nan))
        measured = [whole_ms]
        if len(models) > 1:
            float_ms, *measured = clock.p50_ms([original, *map(clock.graph, models)], _MEASURING_S)
    candidates = [replace(c, p50_ms=ms) for c, ms in zip(candidates, measured, strict=True)]
    chosen = choose(candidates, float_ms, max_accuracy_drop)
    sentence = verdict(candidates[chosen], float_ms, max_accuracy_drop)
    return Mixture(models[chosen], calibrated, sensitivity, tuple(candidates), chosen, float_ms, sentence)


@final
class _Judge:
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
class _Clock:
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


def _calibrated(quantizer: Quantizer, judge: _Judge, calibration: NDArray[np.float32]) -> Calibrated:
    """The way whose network diverges least on the subset; biases are corrected for the best ranges only."""
    divergences: dict[str, float] = {method: judge.on_subset(quantizer.int8(method))[1] for method in METHODS}
    best = min(METHODS, key=lambda method: divergences[method])
    model = quantizer.int8(best)
    correct_biases(model, quantizer.model, calibration[:CORRECTION_IMAGES])
    plain, with_correction = Calibrated(best, False, divergences), Calibrated(best, True, divergences)
    divergences[with_correction.name] = judge.on_subset(model)[1]
    return min(plain, with_correction, key=lambda way: divergences[way.name])


def _sensitivities(
    quantizer: Quantizer, method: Method, judge: _Judge, clock: _Clock, whole: Graph, on_event: OnEvent
) -> tuple[Sensitivity, ...]:
    """Of every layer that INT8 is in."""
    accuracy, divergence = judge.on_subset(quantizer.int8(method))
    found, graphs = [], [whole]
    for done, layer in enumerate(quantizer.layers, start=1):
        model = quantizer.int8(method, [layer])
        found.append(judge.on_subset(model))
        graphs.append(clock.graph(model))
        on_event(Progress("sensitivity", done, len(quantizer.layers)))
    whole_ms, *without_ms = clock.predicted_ms(graphs)
    return tuple(
        Sensitivity(layer, float_accuracy - accuracy, divergence - float_divergence, ms - whole_ms)
        for layer, (float_accuracy, float_divergence), ms in zip(quantizer.layers, found, without_ms, strict=True)
    )


def plans(
    sensitivity: Sequence[Sensitivity], float_ms: float, whole_ms: float
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Sets of layers to keep float32: those worth a measurement in any case, and further ones in case that those lose too much.

    Layers in which INT8 loses time go first, together, if that promises more than noise. The others follow by divergence for
    the time they cost; by divergence alone where INT8 is slower anyway, and can pay by its size only.
    """
    slow = tuple(s.layer for s in sensitivity if s.time_gained_ms < 0)
    promised_ms = whole_ms + sum(s.time_gained_ms for s in sensitivity if s.layer in slow)
    promising = len(slow) < len(sensitivity) and promised_ms < (1 - _CLEARLY) * min(float_ms, whole_ms)
    base = slow if promising else ()
    pays = promising or whole_ms < float_ms
    shortest_ms = 1e-3 * whole_ms
    rest = sorted(
        (s for s in sensitivity if s.layer not in base),
        key=lambda s: -s.divergence / (max(s.time_gained_ms, shortest_ms) if pays else 1),
    )
    further = []
    count = 1
    while count < len(rest):
        further.append((*base, *(s.layer for s in rest[:count])))
        count *= 2
    return [(), base] if base else [()], further


def choose(candidates: Sequence[Candidate], float_ms: float, max_accuracy_drop: float) -> int:
    """Position of the fastest that keeps the accuracy. INT8 throughout is preferred where the difference is small; where none
    is faster than float32, the first that keeps the accuracy."""
    keeping = [i for i, c in enumerate(candidates) if c.drop.lost <= max_accuracy_drop]
    paying = [i for i in keeping if candidates[i].p50_ms < float_ms]
    if not paying:
        return keeping[0] if keeping else 0
    fastest = min(paying, key=lambda i: candidates[i].p50_ms)
    close = (1 - _CLEARLY) * candidates[0].p50_ms <= candidates[fastest].p50_ms
    return 0 if 0 in paying and close else fastest


def verdict(chosen: Candidate, float_ms: float, max_accuracy_drop: float) -> str:
    """Whether INT8 pays, and what it costs."""
    changes = f"validation accuracy changes by {chosen.drop}"
    times = f"{chosen.p50_ms:.3g} against {float_ms:.3g} ms"
    kept = f" {', '.join(chosen.float_layers)} stay float32." if chosen.float_layers else ""
    if chosen.drop.lost > max_accuracy_drop:
        allowed = f"{-100 * max_accuracy_drop:+z.2f} points are allowed"
        return f"With INT8 {changes}; {allowed}. The float32 file is the one to deploy."
    if chosen.p50_ms >= float_ms:
        slower = f"INT8 is {chosen.p50_ms / float_ms:.2f} times as slow here, {times}; {changes}."
        return f"{slower} It pays only where memory or file size decide.{kept}"
    return f"INT8 is {float_ms / chosen.p50_ms:.2f} times as fast here, {times}; {changes}.{kept}"
