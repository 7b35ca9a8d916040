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
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.linear_model import RidgeCV

import devices
import hwnas.profiles
from benchmarks import space_options
from devices import Kernel, Lowering, Profile, Timing
from devices.profile import load as load_profile
from hwnas.costs import compile_costs
from predictors import LatencyPredictor, load_or_fit
from predictors.features import kernel_table
from profilers import measure_graphs

Floats = NDArray[np.float64]
Describe = Callable[[Lowering], list[float]]


def baselines(profile: Profile, wanted: Sequence[Lowering]) -> dict[str, Floats]:
    """Predictions in ms of what needs no predictor; those with coefficients are fitted to the profile's timed networks."""
    timed = [d for d in profile.timings if d in profile.lowerings]
    latency = np.array([profile.timings[d].latency_ms for d in timed])
    times: dict[Kernel, list[float]] = defaultdict(list)
    for lowering in profile.lowerings.values():
        for k in lowering.kernels:
            times[k.kernel].append(k.seconds or 0.0)
    mean = {kernel: float(np.mean(t)) for kernel, t in times.items()}
    typical = float(np.mean(list(mean.values())))
    kinds = sorted({kernel.kind for kernel in mean})

    def macs(lowering: Lowering) -> list[float]:
        return [1.0, float(kernel_table([k.kernel for k in lowering.kernels]).macs.sum())]

    def counts(lowering: Lowering) -> list[float]:
        found = Counter(k.kernel.kind for k in lowering.kernels)
        return [*macs(lowering), *(float(found[kind]) for kind in kinds)]

    def table(lowering: Lowering) -> list[float]:
        return [1.0, sum(mean.get(k.kernel, typical) for k in lowering.kernels)]

    def fitted(describe: Describe) -> Floats:
        """Ridge regression of relative errors, its strength by leave-one-out."""
        rows, ask = (np.array([describe(x) for x in xs]) for xs in ([profile.lowerings[d] for d in timed], wanted))
        unit = rows.max(axis=0) / latency.mean()
        ridge = RidgeCV(alphas=np.logspace(-8, 1, 19), fit_intercept=False)
        ridge.fit(rows / unit / latency[:, None], np.ones(len(rows)))
        return np.asarray(ask / unit @ ridge.coef_)

    return {
        "FLOPs, linear": fitted(macs),
        "ridge on kernel counts and FLOPs": fitted(counts),
        "lookup table, summed": np.array([table(x)[1] * 1e3 for x in wanted]),
        "lookup table, calibrated": fitted(table),
    }


def row(name: str, predicted: Floats, measured: Floats) -> str:
    """One line of the table."""
    error = predicted / measured - 1
    within = [float(np.mean(np.abs(error) <= limit)) for limit in (0.05, 0.1)]
    tau = kendalltau(predicted, measured).statistic
    return (
        f"{name:34} {within[0]:7.1%} {within[1]:7.1%} {np.sqrt(np.mean(error**2)):7.2%} {np.median(np.abs(error)):7.2%} "
        f"{np.abs(error).max():7.1%} {tau:6.3f}"
    )


def coverage(name: str, inside: NDArray[np.bool_], wanted: float) -> str:
    """One line on an interval."""
    return f"{name:34} covers {inside.mean():.1%} of {len(inside)} (wanted {wanted:.0%})"


def memory_row(name: str, predicted: Floats, measured: Floats) -> str:
    """One line on memory."""
    error = np.abs(predicted / measured - 1)
    tail = np.quantile(error, 0.95)
    return f"{name:34} median {np.median(error):.2%}, 95 % of networks within {tail:.2%}, worst {error.max():.2%}"


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
        lowerings = predictor.lower(graphs, device)

    first, second = (np.array([t.latency_ms for t in visit]) for visit in visits)
    latency = np.sqrt(first * second)
    p50 = np.sqrt(np.prod([[t.p50_ms for t in visit] for visit in visits], axis=0))
    estimates, costs = predictor.predict_lowerings(lowerings), compiled.costs(np.stack(fresh))
    print(f"\n{len(graphs)} networks, {latency.min():.3f} … {latency.max():.3f} ms; noise within a campaign "
          f"{np.median([t.noise or 0 for visit in visits for t in visit]):.2%} (median)")  # fmt: skip
    print(f"{'':34} {'±5 %':>7} {'±10 %':>7} {'RMSPE':>7} {'median':>7} {'worst':>7} {'τ':>6}")
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
    measured_memory = np.array([low.memory.memory_bytes for low in lowerings], np.float64)
    by_liveness = np.array([m.memory_bytes for m in estimates.memory], np.float64)
    print(memory_row("memory by liveness", by_liveness, measured_memory))
    print(memory_row("memory, compiled", costs.memory_bytes, measured_memory))


if __name__ == "__main__":
    main()
