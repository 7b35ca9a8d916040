"""INT8 without regret: which layers stay float32, so that the file is as fast as can be and as accurate as is asked.

How much each layer hurts is seen on validation images when it alone goes back to float32; what that costs in time is predicted
from the kernels that the device makes of such a network. Layers go back in the order of what they win for the time they cost.
The few files that come of it are evaluated on all validation images and measured beside the float32 file. Test images are never
seen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import devices
from devices.events import OnEvent, ignore
from hwnas.int8 import flavours
from hwnas.int8.bias_correction import correct_biases
from hwnas.int8.calibration import METHODS, Method
from hwnas.int8.flavours import Flavour
from hwnas.int8.paired import Drop
from hwnas.int8.quantize import Quantizer
from hwnas.int8.sensitivity import AccuracyCheck, Sensitivity, Timer, sensitivities

if TYPE_CHECKING:
    import onnx

    from devices import Device, Profile

SUBSET = 2000
"""Validation images on which ways to calibrate, and layers, are compared."""
CORRECTION_IMAGES = 64
_MEASURING_S = 8.0
_CLEARLY = 0.05  # of the latency: what a mixture has to win, or the noise of measuring would choose


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
        device: measures, and says what kernels it makes of a network; decides the flavour.
        max_accuracy_drop: as a fraction of the validation images.
        profile: of the device; its sentinels tell whether the machine is as it was.
        seed: draws the subset, and orders the measurements.
        on_event: told of progress.

    Raises:
        ExportError: the network cannot be quantised.
        DeviceError: the device cannot run it.
    """
    import onnx

    quantizer = Quantizer(source, calibration, flavours.of(device.info.spec))
    subset = np.random.default_rng(seed).permutation(len(labels))[:SUBSET]
    check = AccuracyCheck(onnx.load(source), validation, labels, subset)
    calibrated = _calibrated(quantizer, check, calibration)
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        timer = Timer(device, Path(folder), profile, seed, on_event)
        original, whole = devices.load_onnx(source), timer.graph(quantizer.int8(calibrated.method))
        float_ms, whole_ms = timer.learn(original, whole)
        sensitivity = sensitivities(quantizer, calibrated.method, check, timer, whole, on_event)
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
            candidates.append(Candidate(plan, check.drop(model), predicted_ms, np.nan))
        measured = [whole_ms]
        if len(models) > 1:
            float_ms, *measured = timer.p50_ms([original, *map(timer.graph, models)], _MEASURING_S)
    candidates = [replace(c, p50_ms=ms) for c, ms in zip(candidates, measured, strict=True)]
    chosen = choose(candidates, float_ms, max_accuracy_drop)
    sentence = verdict(candidates[chosen], float_ms, max_accuracy_drop)
    return Mixture(models[chosen], calibrated, sensitivity, tuple(candidates), chosen, float_ms, sentence)


def int8_throughout(
    source: Path,
    calibration: NDArray[np.float32],
    validation: NDArray[np.float32],
    labels: NDArray[np.int64],
    flavour: Flavour,
    *,
    seed: int = 0,
) -> onnx.ModelProto:
    """The INT8 version of ``source`` for a runtime that is not here to be asked for times: INT8 wherever the flavour has it.

    The arguments are those of :func:`mix`.

    Raises:
        ExportError: the network cannot be quantised.
    """
    import onnx

    quantizer = Quantizer(source, calibration, flavour)
    subset = np.random.default_rng(seed).permutation(len(labels))[:SUBSET]
    calibrated = _calibrated(quantizer, AccuracyCheck(onnx.load(source), validation, labels, subset), calibration)
    model = quantizer.int8(calibrated.method)
    if calibrated.corrected:
        correct_biases(model, quantizer.model, calibration[:CORRECTION_IMAGES])
    return model


def _calibrated(quantizer: Quantizer, check: AccuracyCheck, calibration: NDArray[np.float32]) -> Calibrated:
    """The way whose network diverges least on the subset; biases are corrected for the best ranges only."""
    divergences: dict[str, float] = {method: check.on_subset(quantizer.int8(method))[1] for method in METHODS}
    best = min(METHODS, key=lambda method: divergences[method])
    model = quantizer.int8(best)
    correct_biases(model, quantizer.model, calibration[:CORRECTION_IMAGES])
    plain, with_correction = Calibrated(best, False, divergences), Calibrated(best, True, divergences)
    divergences[with_correction.name] = check.on_subset(model)[1]
    return min(plain, with_correction, key=lambda way: divergences[way.name])


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
