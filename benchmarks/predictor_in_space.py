"""How well are networks of a search space predicted that the profile does not contain? Prints a table beside simple baselines.

    python benchmarks/predictor_in_space.py [--device onnxruntime:threads=1] [--shape 1x28x28] [--classes 10] [--networks 200]

End to end: profile what the space is made of (at most ``--profile-seconds``), then time random other networks of the space in
interleaved rounds, twice; the truth is the mean of the two, and how far the two differ is the first line of the table. What the
machine drifted between profile and truth counts against the predictor; a line tells what is left without that one factor. All
baselines learn from the same profile. ``--keep FOLDER`` keeps the profile and the truth there, and goes on with what it finds.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

import devices
import hwnas.profiles
from benchmarks import space_options
from benchmarks.prediction_tables import HEADER, baselines, coverage, memory_row, row
from devices import Timing
from devices.profile import load as load_profile
from hwnas.costs import compile_costs
from predictors import LatencyPredictor, load_or_fit
from profilers import measure_graphs


def campaign(path: Path, measure: Callable[[], list[Timing]]) -> list[Timing]:
    """Timings from a file, else measured and kept there."""
    if path.exists():
        return [Timing(**t) for t in json.loads(path.read_text())]
    timings = measure()
    path.write_text(json.dumps([asdict(t) for t in timings]))
    return timings


def main() -> None:
    """Run it."""
    parser = space_options.parser(__doc__)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--profile-seconds", type=float, default=110)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    space = space_options.opened(options)

    with tempfile.TemporaryDirectory() as temporary, devices.open(options.device) as device:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "space.profile.jsonl"
        started = time.perf_counter()
        if not path.exists():
            hwnas.profiles.make(device, path, space=space, seed=options.seed, time_limit_s=options.profile_seconds)
        profile = load_profile(path)
        print(
            f"profile: {time.perf_counter() - started:.0f} s, kernels of {len(profile.lowerings)} networks, "
            f"{len(profile.timings)} timed, {space.piece_count} pieces"
        )
        drawn = space.sample(np.random.default_rng(options.seed + 1), 2 * options.networks)
        fresh = [g for g in drawn if space.graph(g).digest() not in profile.lowerings][: options.networks]
        graphs = [space.graph(g) for g in fresh]
        visits = [
            campaign(folder / f"truth{i}.json", partial(measure_graphs, device, graphs, seed=i)) for i in range(2)
        ]

        started = time.perf_counter()
        predictor: LatencyPredictor = load_or_fit(path)
        print(f"predictor: {time.perf_counter() - started:.1f} s to fit or read")
        started = time.perf_counter()
        compiled = compile_costs(space, predictor, device)
        print(f"compile: {time.perf_counter() - started:.1f} s")
        lowerings = [device.lower(graph) for graph in graphs]

    first, second = (np.array([t.latency_ms for t in visit]) for visit in visits)
    latency = np.sqrt(first * second)
    p50 = np.sqrt(np.prod([[t.p50_ms for t in visit] for visit in visits], axis=0))
    estimates, costs = predictor.predict_lowerings(lowerings), compiled.costs(np.stack(fresh))
    print(f"\n{len(graphs)} networks, {latency.min():.3f} … {latency.max():.3f} ms; noise within a campaign "
          f"{np.median([t.noise or 0 for visit in visits for t in visit]):.2%} (median)")  # fmt: skip
    print(HEADER)
    print(row("measured again", second, first))
    print(row("predictor", estimates.latency_ms, latency))
    drift = float(np.median(latency / estimates.latency_ms))
    print(row(f"predictor, times {drift:.3f}", estimates.latency_ms * drift, latency))
    print(row("predictor, compiled over the space", costs.latency_ms, latency))
    for name, predicted in baselines(profile, lowerings).items():
        print(row(name, predicted, latency))
    print(row("p50: measured again", *(np.array([t.p50_ms for t in visit]) for visit in visits)))
    print(row("p50: predictor", estimates.p50_ms, p50))
    print()
    inside = (estimates.lower_ms <= latency) & (latency <= estimates.upper_ms)
    print(
        coverage("90 % interval", inside, 0.9),
        f"half width {np.median((estimates.upper_ms / estimates.lower_ms - 1) / 2):.1%}",
    )
    print(coverage("upper bound of p50", p50 <= estimates.p50_upper_ms, 0.95))
    print(coverage("upper bound of p50, compiled", p50 <= costs.upper_ms, 0.95))
    measured_memory = np.array([low.memory.memory_bytes for low in lowerings if low.memory is not None], np.float64)
    from_kernels = np.array([m.memory_bytes for m in estimates.memory], np.float64)
    print(memory_row("memory", from_kernels, measured_memory))
    print(memory_row("memory, compiled", costs.memory_bytes, measured_memory))


if __name__ == "__main__":
    main()
