"""How far do two measurements of the same network differ on this machine? Prints the noise floor of three statistics.

    python benchmarks/noise.py [--device onnxruntime:threads=1] [--networks 40] [--minutes 3]

Random small convolutional networks are timed in interleaved rounds, and once more after a pause. Compared are the two halves
(odd and even rounds) of a campaign, and the two campaigns, for the figure that predictors learn, for the same without evening
out the machine's clock (the lowest 10th percentile of a round), and for the median of all runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import devices
from devices import Graph, Node, TensorType
from profilers import sentinels
from profilers.measuring import loaded
from profilers.timing import Rounds, collect, round_lows, summarise

Figures = list[float]

BATCH = 20


def latency(found: Rounds) -> Figures:
    """What predictors learn."""
    return [t.latency_ms for t in summarise(found)[: len(found.sessions)]]


def lowest(found: Rounds) -> Figures:
    """Without the clock evened out."""
    return [1e3 * float(round_lows(s).min()) for s in found.sessions]


def median(found: Rounds) -> Figures:
    """Over all runs of the rounds kept."""
    return [t.p50_ms for t in summarise(found)[: len(found.sessions)]]


STATISTICS = {"latency_ms": latency, "lowest 10th percentile of a round": lowest, "median of all runs": median}


def some(found: Rounds, rounds: slice) -> Rounds:
    """Some of the rounds."""
    sessions, beside = ([s[rounds] for s in part] for part in (found.sessions, found.sentinels))
    return Rounds(tuple(sessions), tuple(beside), found.order[rounds], found.kept[rounds], found.stable)


def random_network(rng: np.random.Generator, name: str) -> Graph:
    """Three to eight 3×3 or 1×1 convolutions with ReLU at one resolution."""
    size, depth = int(rng.integers(8, 33)), int(rng.integers(3, 9))
    widths = [3, *(8 * int(c) for c in rng.integers(1, 9, depth))]
    nodes: list[Node] = []
    tensors = {"x0": TensorType("float32", (1, 3, size, size))}
    for i in range(depth):
        kernel = int(rng.choice([1, 3]))
        tensors[f"w{i}"] = TensorType("float32", (widths[i + 1], widths[i], kernel, kernel))
        tensors[f"c{i}"] = tensors[f"x{i + 1}"] = TensorType("float32", (1, widths[i + 1], size, size))
        attributes = {"kernel_shape": (kernel, kernel), "pads": (kernel // 2,) * 4}
        nodes.append(Node(f"conv{i}", "Conv", (f"x{i}", f"w{i}"), (f"c{i}",), attributes))
        nodes.append(Node(f"relu{i}", "Relu", (f"c{i}",), (f"x{i + 1}",)))
    return Graph(name, tuple(nodes), tensors, ("x0",), (f"x{depth}",), {f"w{i}": None for i in range(depth)})


def campaign(device: devices.Device, graphs: Sequence[Graph], seed: int) -> list[Rounds]:
    """All networks once, in batches."""
    found = []
    for start in range(0, len(graphs), BATCH):
        batch = graphs[start : start + BATCH]
        with loaded(device, batch) as sessions, loaded(device, sentinels.graphs()) as beside:
            found.append(collect(sessions, sentinels=beside, precision=None, seed=seed + start))
    return found


def difference(a: Sequence[float], b: Sequence[float]) -> NDArray[np.float64]:
    """Relative differences, in percent."""
    first, second = np.array(a), np.array(b)
    percent: NDArray[np.float64] = 100 * np.abs(first - second) / np.minimum(first, second)
    return percent


def row(name: str, percent: NDArray[np.float64]) -> None:
    """One line of the table."""
    print(f"  {name:36}{np.median(percent):8.2f} %{np.quantile(percent, 0.9):8.2f} %{percent.max():8.2f} %")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="onnxruntime:threads=1")
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=3.0, help="pause between the two campaigns")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    graphs = [random_network(rng, f"network{i}") for i in range(options.networks)]
    with devices.open(options.device) as device:
        first = campaign(device, graphs, options.seed)
        time.sleep(60 * options.minutes)
        second = campaign(device, graphs, options.seed + 1)
        print(f"{device.info.spec}, {len(graphs)} networks")

    disturbed = sum(int((~rounds.kept).sum()) for rounds in first + second)
    total = sum(len(rounds.kept) for rounds in first + second)
    lows = [ms for rounds in first for ms in latency(rounds)]
    print(f"{min(lows):.3f} to {max(lows):.3f} ms, {disturbed} of {total} rounds were disturbed")
    for title, pairs in (
        ("two halves of one campaign", [(some(r, slice(0, None, 2)), some(r, slice(1, None, 2))) for r in first]),
        (f"two campaigns {options.minutes:g} minutes apart", list(zip(first, second, strict=True))),
    ):
        print(f"{title:38}{'median':>10}{'p90':>10}{'worst':>10}")
        for name, statistic in STATISTICS.items():
            ours, theirs = ([ms for pair in pairs for ms in statistic(pair[i])] for i in (0, 1))
            row(name, difference(ours, theirs))


if __name__ == "__main__":
    main()
