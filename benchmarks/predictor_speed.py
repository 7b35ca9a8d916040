"""How long does an answer take? Of a file never seen before, of many networks at once, of a compiled space; beside measuring one.

    python benchmarks/predictor_speed.py [--profile FILE] [--device onnxruntime:threads=1] [--files 3] [--rows 300000]

Files are members of every family; *exact* asks the runtime for its kernels, and is given beside what the runtime takes to
load the same file. Without a profile one of the space is made for the purpose: speed hardly depends on how good it is.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import xgboost

import devices
import hwnas.profiles
from benchmarks import space_options
from benchmarks.families.members import FAMILIES, members
from devices import Device
from hwnas.costs import compile_costs
from predictors import LatencyPredictor, load_or_fit
from profilers import measure_graphs

REPEATS = 3


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Shortest of several times."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def load(device: Device, path: Path) -> None:
    """What the runtime takes to be ready with a file."""
    with device.load(devices.load_onnx(path)):
        pass


def row(name: str, values_ms: list[float]) -> str:
    """One line on milliseconds a file."""
    return f"{name:44} {np.median(values_ms):9.1f} {np.quantile(values_ms, 0.9):9.1f} {max(values_ms):9.1f}"


def files(device: Device, predictor: LatencyPredictor, each: int, folder: Path) -> list[str]:
    """Of files read anew each time."""
    paths = []
    for family in FAMILIES:
        for graph in members(family, each):
            paths.append(folder / f"{graph.digest()}.onnx")
            paths[-1].write_bytes(graph.to_onnx().SerializeToString())
    ways: dict[str, Callable[[Path], object]] = {
        "read and shapes inferred": devices.load_onnx,
        "loaded by the runtime": lambda path: load(device, path),
        "predicted, learned lowering": lambda path: predictor.predict(
            [devices.load_onnx(path, weights=False)], learned=True
        ),
        "predicted, exact lowering": lambda path: predictor.predict([devices.load_onnx(path)], device),
    }
    lines = [f"{f'{len(paths)} files, milliseconds':44} {'median':>9} {'p90':>9} {'worst':>9}"]
    taken = {name: [1e3 * seconds(partial(way, path)) for path in paths] for name, way in ways.items()}
    lines += [row(name, values) for name, values in taken.items()]
    ratio = np.array(taken["predicted, exact lowering"]) / np.array(taken["loaded by the runtime"])
    multiples = f"{np.median(ratio):9.1f} {np.quantile(ratio, 0.9):9.1f} {ratio.max():9.1f}"
    return [*lines, f"{'exact, as a multiple of loading':44} {multiples}"]


def rows_through_trees(predictor: LatencyPredictor, rows: int) -> str:
    """One row of features for each architecture, through the trees of the predictor."""
    booster = predictor.kernel_model_.booster
    features = np.random.default_rng(0).random((rows, booster.num_features()), np.float32)
    taken = seconds(lambda: booster.predict(xgboost.DMatrix(features)))
    return f"{f'{rows:,} rows through XGBoost':44} {rows / taken:12,.0f} a second"


def main() -> None:
    """Run it."""
    parser = space_options.parser(__doc__)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--files", type=int, default=3, help="of each family")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--networks", type=int, default=1_000_000, help="of the compiled space")
    given = parser.parse_args()
    space = space_options.opened(given)
    with tempfile.TemporaryDirectory(prefix="hwnas-") as temporary, devices.open(given.device) as device:
        path = given.profile or Path(temporary, "space.profile.jsonl")
        if given.profile is None:
            hwnas.profiles.make(device, path, space=space, time_limit_s=20)
        predictor = load_or_fit(path)
        print("\n".join(files(device, predictor, given.files, Path(temporary))))
        network = space.graph(space.largest())
        print(f"{'one network, measured':44} {1e3 * seconds(lambda: measure_graphs(device, [network]), 1):9.0f} ms")
        print(rows_through_trees(predictor, given.rows))
        compiled = compile_costs(space, predictor, device)
    genotypes = space.sample(np.random.default_rng(0), given.networks)
    taken = seconds(lambda: compiled.costs(genotypes))
    print(f"{'compiled space: latency, bound, memory, size':44} {given.networks / taken:12,.0f} a second")


if __name__ == "__main__":
    main()
