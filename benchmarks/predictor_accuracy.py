"""How well is latency predicted of networks of families that the profile does not contain? A table beside baselines and peers.

    python benchmarks/predictor_accuracy.py --keep FOLDER [--device onnxruntime:threads=1] [--precision float32|int8]
        [--profile FILE | --time-limit 300] [--per-family 10]
        [--families NAME …] [--models FILE[:NAME=1x3x320x320] …] [--published ARCHIVES] [--out FILE]

The generic profile is made as any user makes it; nothing that samples it imports the families. Random members of every
family, and ONNX files named with ``--models``, are measured before and after it, in the same interleaved rounds beside the
same sentinels. How far their two measurements differ is the first line of the table: no predictor is better. Baselines learn
from the truth itself, of all families but the one they are asked for. The last line is one of the README's table of devices. The
same command goes on from what FOLDER holds; a folder is for one device and precision.

torch runs search spaces' networks alone: there the profile is of one space and the families are the others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import devices
from benchmarks import published, truth
from benchmarks.families.members import FAMILIES
from benchmarks.prediction_tables import (
    HEADER,
    README_HEADER,
    baselines,
    coverage,
    kernel_kinds,
    memory_row,
    readme_row,
    row,
)
from benchmarks.truth import PROFILE, TIMELINE, Measured, Network
from devices import Graph, Profile
from devices.profile import load as load_profile
from devices.spec import runtime_of
from hwnas.commands.answer import inputs as inputs_of
from predictors import Estimates, LatencyPredictor, load_or_fit

Floats = NDArray[np.float64]

FILES = "model files"
SPACES = ("fbnet", "nasbench201", "nasbench_macro")
PEERS = (
    f"{'nn-Meter, phone CPU (its paper)':34} {'74 %':>7} {'99.0 %':>7} {'4.2 %':>7}",
    f"{'LitePred, 85 platforms (its paper)':34} {'79–98 %':>7}",
)


@dataclass(frozen=True)
class Rows:
    """Which networks a line of the table is on."""

    name: str
    of: NDArray[np.bool_]


def groups(networks: Sequence[Network]) -> list[Rows]:
    """Each family, and all families together; model files apart."""
    family = np.array([n.family for n in networks])
    found = [Rows(name, family == name) for name in dict.fromkeys(family.tolist())]
    return [*found, *([Rows("all families", family != FILES)] if (family != FILES).any() else [])]


def held_out(measured: Measured) -> dict[str, Floats]:
    """What baselines say of each family that learn from the others."""
    family = [n.family for n in measured.networks]
    digests = [n.graph.digest() for n in measured.networks]
    lowerings = [measured.truth.lowerings[d] for d in digests]
    found: dict[str, Floats] = {}
    for name in dict.fromkeys(family):
        known = {d for d, f in zip(digests, family, strict=True) if f not in (name, FILES)}
        if not known:
            continue
        mask = np.array([f == name for f in family])
        wanted = [low for low, asked in zip(lowerings, mask, strict=True) if asked]
        for baseline, predicted in baselines(only(measured.truth, known), wanted).items():
            found.setdefault(baseline, np.full(len(family), np.nan))[mask] = predicted
    return found


def only(profile: Profile, digests: set[str]) -> Profile:
    """The profile as if it had no other networks."""
    return replace(
        profile,
        lowerings={d: low for d, low in profile.lowerings.items() if d in digests},
        timings={d: t for d, t in profile.timings.items() if d in digests},
    )


def table(title: str, estimates: Estimates, latency_ms: Floats, rows: Sequence[Rows]) -> list[str]:
    """One line for each group, with its interval."""
    inside = (estimates.lower_ms <= latency_ms) & (latency_ms <= estimates.upper_ms)
    half = (estimates.upper_ms - estimates.lower_ms) / estimates.latency_ms / 2
    lines = [f"\n{title}", f"{HEADER} {'n':>4} {'covers':>7} {'±':>6}"]
    for group in rows:
        of = group.of
        text = row(group.name, estimates.latency_ms[of], latency_ms[of])
        lines.append(f"{text} {of.sum():4} {inside[of].mean():7.1%} {np.median(half[of]):6.1%}")
    return lines


def sentinel_ratios(truth_profile: Profile, profile: Profile) -> Floats:
    """How many times as long as in the profile the sentinels took beside the truth."""
    both = [d for d in truth_profile.sentinels if d in profile.sentinels]
    return np.array([truth_profile.sentinels[d].latency_ms / profile.sentinels[d].latency_ms for d in both])


def drifted(truth_profile: Profile, profile: Profile) -> float:
    """The same, of all sentinels together."""
    return float(np.exp(np.log(sentinel_ratios(truth_profile, profile)).mean()))


def report(measured: Measured, predictor: LatencyPredictor, profile: Profile) -> tuple[list[str], dict[str, Any]]:
    """The lines to print, and the same as JSON."""
    networks, latency = measured.networks, measured.latency_ms
    lowerings = [measured.truth.lowerings[n.graph.digest()] for n in networks]
    rows, of_families = groups(networks), np.array([n.family != FILES for n in networks])
    exact = predictor.predict_lowerings(lowerings)
    found = {"exact": exact, "learned": predictor.predict([n.graph for n in networks], learned=True)}
    ratios = sentinel_ratios(measured.truth, profile)
    lines = ["sentinels, truth against profile: " + ", ".join(f"{r - 1:+.1%}" for r in ratios)]
    for way, estimates in found.items():
        lines += table(f"{way} lowering", estimates, latency, rows)
        factors = {
            "at the sentinels' level": drifted(measured.truth, profile),
            "at their own": float(np.median(latency / estimates.latency_ms)),
        }
        for name, factor in factors.items():
            predicted = estimates.latency_ms[of_families] * factor
            lines.append(row(f"{name}: × {factor:.3f}", predicted, latency[of_families]))
        inside = measured_p50(measured) <= estimates.p50_upper_ms
        lines.append(coverage("upper bound of p50", inside[of_families], 0.95))
    twice = np.isfinite(measured.first) & of_families
    lines += ["\nbeside it, on all families", HEADER]
    if twice.any():
        lines.append(row("measured again", measured.second[twice], measured.first[twice]))
    for name, predicted in held_out(measured).items():
        known = np.isfinite(predicted) & of_families
        lines.append(row(name, predicted[known], latency[known]))
    lines += PEERS
    told = np.array([low.memory.memory_bytes if low.memory is not None else np.nan for low in lowerings])
    said = np.array([m.memory_bytes for m in exact.memory], np.float64)
    lines += ["", *(memory_row(f"memory: {g.name}", said[g.of], told[g.of]) for g in rows)]
    if any(k.seconds is not None for low in lowerings for k in low.kernels):
        lines += ["\nkinds of kernels by what they add to the error", *kernel_kinds(lowerings, exact.kernels, latency)]
    value = {
        "networks": [
            {
                "family": n.family, "name": n.graph.name, "digest": n.graph.digest(), "latency_ms": latency[i],
                "first_ms": measured.first[i], "second_ms": measured.second[i], "memory_bytes": told[i],
                "predicted_memory_bytes": said[i],
                **{way: [e.latency_ms[i], e.lower_ms[i], e.upper_ms[i]] for way, e in found.items()},
            }
            for i, n in enumerate(networks)
        ]
    }  # fmt: skip
    return lines, value


def measured_p50(measured: Measured) -> Floats:
    """``(n,)`` median latency in ms."""
    return np.array([measured.truth.timings[n.graph.digest()].p50_ms for n in measured.networks])


def summary(measured: Measured, predictor: LatencyPredictor, profile: Profile, seconds: float) -> str:
    """The device in one line."""
    of = np.array([n.family != FILES for n in measured.networks])
    lowerings = [measured.truth.lowerings[n.graph.digest()] for n in measured.networks]
    kernels = {k.kernel for low in profile.lowerings.values() for k in low.kernels}
    predicted = predictor.predict_lowerings(lowerings).latency_ms
    again = measured.second / measured.first * measured.latency_ms
    return readme_row(profile.info.spec, len(kernels), seconds, predicted[of], measured.latency_ms[of], again[of])


def model_file(text: str) -> Graph:
    """An ONNX file with the shapes that it leaves open, as told on the command line."""
    path, _, inputs = text.partition(":")
    graph = devices.load_onnx(path, inputs_of([i for i in inputs.split(",") if i]))
    return replace(graph, name=Path(path).stem)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--device", default="onnxruntime:threads=1")
    parser.add_argument("--precision", choices=("float32", "int8"), default="float32")
    parser.add_argument("--profile", type=Path, help="one that is there already, of this device")
    parser.add_argument("--time-limit", type=float, default=300, help="of the profile, in seconds")
    parser.add_argument("--truth-limit", type=float, default=300, help="of measuring what is predicted, in seconds")
    parser.add_argument("--per-family", type=int, default=10)
    parser.add_argument("--families", nargs="*", choices=[*FAMILIES, *SPACES], metavar="NAME")
    parser.add_argument("--models", nargs="*", default=[], metavar="FILE[:NAME=1x3x320x320,…]")
    parser.add_argument("--published", type=Path, metavar="ARCHIVES", help="instead of the families; see published.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    if runtime_of(given.device) == "torch":
        networks = truth.of_spaces(given.families or SPACES, given.per_family, given.seed)
    elif given.published:
        with devices.open(given.device) as device:
            networks = list(published.networks(given.published, given.keep / "published", device))
    else:
        families = given.families or list(FAMILIES)
        networks = truth.of_families(families, given.per_family, given.precision, given.keep, given.seed)
    networks += [Network(FILES, model_file(text)) for text in given.models]
    with devices.open(given.device) as device:
        print(f"{device.info.spec}, {given.precision}, {len(networks)} networks")
        seconds = None if given.profile else given.time_limit
        measured = truth.measure(
            device, networks, given.keep, profile_s=seconds, truth_s=given.truth_limit, seed=given.seed
        )
    path = given.profile or given.keep / PROFILE
    profile, predictor = load_profile(path), load_or_fit(path)
    latency = measured.latency_ms
    print(
        f"{len(measured.networks)} of {len(networks)} measured, {latency.min():.3f} … {latency.max():.0f} ms; the profile has "
        f"kernels of {len(profile.lowerings)} networks, {len(profile.timings)} timed"
    )
    lines, value = report(measured, predictor, profile)
    print("\n".join(lines))
    if not given.profile:
        seconds, _ = json.loads((given.keep / TIMELINE).read_text())[-1]
        print(f"\n{README_HEADER}\n{summary(measured, predictor, profile, seconds)}")
    if given.out:
        given.out.write_text(json.dumps(value, indent=1))


if __name__ == "__main__":
    main()
