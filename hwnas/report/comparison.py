"""Found networks against hand-designed ones, all trained by one recipe and measured in one run: the file that
``benchmarks/against_hand_designed.py`` writes, and how far above the line through the baselines a network lies."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.atomic import write_text
from hwnas.candidates import front
from hwnas.errors import InvalidData

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """One network.

    Attributes:
        name: for people.
        found: by the search; else it is hand-designed.
        parameters: weights and biases of the exported file, batch norm folded.
        memory_bytes, p50_ms, p50_low_ms, p50_high_ms: measured on the exported file; the latter two are the median's 95 %
            interval.
        accuracy, accuracy_se: fraction of the test images that the exported file gets right, and its binomial standard error.
        training_s: wall time of its own training, without the supernet's.
        gain, gain_se: of a found network, accuracy (a fraction) less that of the baselines' line at its latency, and the
            standard error over the same images; None where no baseline is as fast.
        speedup: of a found network, latency of the baselines' line at its accuracy over its own; None where the line does not
            pass that accuracy.
    """

    name: str
    found: bool
    parameters: int
    memory_bytes: int
    p50_ms: float
    p50_low_ms: float
    p50_high_ms: float
    accuracy: float
    accuracy_se: float
    training_s: float
    gain: float | None = None
    gain_se: float | None = None
    speedup: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks side by side.

    Attributes:
        task, device: name of the data and specification of the device.
        epochs: of every network's own training.
        supernet_s: wall time of the supernet's training, which only the found networks needed, once for all of them.
        networks: found and hand-designed ones.
    """

    task: str
    device: str
    epochs: int
    supernet_s: float
    networks: tuple[Compared, ...]

    def write(self, path: str | os.PathLike[str]) -> None:
        """As JSON."""
        write_text(Path(path), json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, allow_nan=False) + "\n")


def read(path: str | os.PathLike[str]) -> Comparison:
    """A comparison from its file.

    Raises:
        InvalidData: there is none, or it is damaged.
    """
    try:
        value: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        if value.pop("schema") != SCHEMA:
            raise ValueError("unknown schema")
        return Comparison(**value | {"networks": tuple(Compared(**network) for network in value["networks"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidData(
            f"{path} is no comparison: {error}.",
            hint="Give the comparison.json that benchmarks/against_hand_designed.py wrote.",
        ) from error


@dataclass(frozen=True)
class Line:
    """The Pareto front of n networks, joined by straight lines over the logarithm of the latency.

    Attributes:
        front: positions of those on it, by rising latency and accuracy.
        latency_ms, accuracy: ``(n,)`` of all of them.
    """

    front: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    def weights(self, latency_ms: float) -> NDArray[np.float64] | None:
        """``(n,)`` shares of the networks in the line's point at a latency, summing to 1. Right of the slowest it is the
        most accurate; left of the fastest there is none."""
        at = np.log(self.latency_ms[self.front])
        where = np.log(latency_ms)
        if where < at[0]:
            return None
        shares = np.zeros(len(self.latency_ms))
        shares[self.front] = [np.interp(where, at, unit) for unit in np.eye(len(at))]
        return shares

    def latency_at(self, accuracy: float) -> float | None:
        """Latency at which the line has an accuracy, or None."""
        of_front = self.accuracy[self.front]
        if not of_front[0] <= accuracy <= of_front[-1]:
            return None
        return float(np.exp(np.interp(accuracy, of_front, np.log(self.latency_ms[self.front]))))


def line(latency_ms: NDArray[np.float64], accuracy: NDArray[np.float64]) -> Line:
    """The line through n networks, at least one: ``(n,)`` each."""
    return Line(front(accuracy, latency_ms), latency_ms, accuracy)


def paired(
    correct: NDArray[np.bool_], baselines: NDArray[np.bool_], shares: NDArray[np.float64]
) -> tuple[float, float]:
    """How much more accurate a network is than a mixture of baselines, with the standard error over the same m images.

    Args:
        correct: ``(m,)`` whether the network gets an image right.
        baselines: ``(n, m)`` whether each baseline does.
        shares: ``(n,)`` of the baselines, see :meth:`Line.weights`.
    """
    difference = correct - shares @ baselines
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))
