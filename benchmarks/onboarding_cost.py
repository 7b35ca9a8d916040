"""How long must a device be profiled? Error on families that the profile does not contain, against seconds and kernels.

    python benchmarks/onboarding_cost.py --keep FOLDER [--device onnxruntime:threads=1] [--precision float32|int8]
        [--seconds 20 40 80 160 300] [--per-family 10] [--out FILE]

FOLDER is one of ``predictor_accuracy.py``; what it lacks is measured. One profile is made and cut: what was in its file after
so many seconds is all that a predictor learns from, as if the profile had been stopped there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import devices
from benchmarks import truth
from benchmarks.families.members import FAMILIES
from benchmarks.prediction_tables import HEADER, row
from benchmarks.truth import PROFILE, TIMELINE, Measured
from devices import Profile
from devices.profile import load as load_profile
from predictors import Agreement, LatencyPredictor
from predictors.errors import NotFitted


def cut(folder: Path, seconds: float) -> Profile | None:
    """The profile as it was after so many seconds; None if it had no unit yet."""
    timeline: list[tuple[float, int]] = json.loads((folder / TIMELINE).read_text())
    size = max((size for at, size in timeline if at <= seconds), default=0)
    if size == 0:
        return None
    with tempfile.TemporaryDirectory(prefix="hwnas-") as temporary:
        path = Path(temporary, PROFILE)
        path.write_bytes((folder / PROFILE).read_bytes()[:size])
        return load_profile(path)


def cost(measured: Measured, folder: Path, seconds: Sequence[float]) -> tuple[list[str], list[dict[str, Any]]]:
    """A line for each cut, and the same as JSON."""
    latency = measured.latency_ms
    lowerings = [measured.truth.lowerings[n.graph.digest()] for n in measured.networks]
    lines, values = [f"{HEADER} {'networks':>8} {'timed':>6} {'kernels':>8} {'distinct':>8} {'fit s':>6}"], []
    for limit in seconds:
        profile, name = cut(folder, limit), f"{limit:g} s"
        try:
            started = time.perf_counter()
            predictor = None if profile is None else LatencyPredictor().fit(profile)
            fitted = time.perf_counter() - started
        except NotFitted as reason:
            lines.append(f"{name:34} {reason.message}")
            continue
        if predictor is None or profile is None:
            lines.append(f"{name:34} nothing was measured yet")
            continue
        predicted = predictor.predict_lowerings(lowerings).latency_ms
        kernels = [k.kernel for low in profile.lowerings.values() for k in low.kernels]
        distinct = len(set(kernels))
        lines.append(
            f"{row(name, predicted, latency)} {len(profile.lowerings):8} {len(profile.timings):6} {len(kernels):8} {distinct:8} "
            f"{fitted:6.1f}"
        )
        found = Agreement.of(predicted, latency)
        values.append(
            {
                "seconds": limit, "networks": len(profile.lowerings), "timed": len(profile.timings), "kernels": len(kernels),
                "distinct_kernels": distinct, "within_5_percent": found.within_5_percent,
                "within_10_percent": found.within_10_percent, "rmspe": found.rmspe,
            }
        )  # fmt: skip
    return lines, values


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--device", default="onnxruntime:threads=1")
    parser.add_argument("--precision", choices=("float32", "int8"), default="float32")
    parser.add_argument("--seconds", type=float, nargs="+", default=[20, 40, 80, 160, 300])
    parser.add_argument("--per-family", type=int, default=10)
    parser.add_argument("--truth-limit", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    networks = truth.of_families(list(FAMILIES), given.per_family, given.precision, given.keep, given.seed)
    with devices.open(given.device) as device:
        measured = truth.measure(
            device, networks, given.keep, profile_s=max(given.seconds), truth_s=given.truth_limit, seed=given.seed
        )
        print(f"{device.info.spec}, {given.precision}, {len(measured.networks)} networks")
    lines, values = cost(measured, given.keep, given.seconds)
    print("\n".join(lines))
    if given.out:
        given.out.write_text(json.dumps(values, indent=1))


if __name__ == "__main__":
    main()
