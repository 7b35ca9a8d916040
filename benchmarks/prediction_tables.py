"""Tables on predictions: errors, intervals and memory in one line each, the baselines that need no predictor, and which kinds of
kernels err."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from devices import Kernel, Lowering, Profile
from predictors import Agreement, KernelEstimate
from predictors.features import kernel_table

Floats = NDArray[np.float64]
Describe = Callable[[Lowering], list[float]]

HEADER = f"{'':34} {'±5 %':>7} {'±10 %':>7} {'RMSPE':>7} {'median':>7} {'worst':>7} {'τ':>6}"


def baselines(profile: Profile, wanted: Sequence[Lowering]) -> dict[str, Floats]:
    """Predictions in ms of what needs no predictor; those with coefficients are fitted to the profile's timed networks."""
    timed = [d for d in profile.timings if d in profile.lowerings]
    latency = np.array([profile.timings[d].latency_ms for d in timed])
    times: dict[Kernel, list[float]] = defaultdict(list)
    for lowering in profile.lowerings.values():
        for k in lowering.kernels:
            times[k.kernel].append(k.seconds or 0.0)
    mean = {kernel: float(np.mean(t)) for kernel, t in times.items()}
    of_kind: dict[str, list[float]] = defaultdict(list)
    for kernel, seconds in mean.items():
        of_kind[kernel.kind].append(seconds)
    typical, kinds = float(np.mean(list(mean.values()))), sorted(of_kind)

    def macs(lowering: Lowering) -> list[float]:
        return [1.0, float(kernel_table([k.kernel for k in lowering.kernels]).macs.sum())]

    def counts(lowering: Lowering) -> list[float]:
        found = Counter(k.kernel.kind for k in lowering.kernels)
        return [*macs(lowering), *(float(found[kind]) for kind in kinds)]

    def table(lowering: Lowering) -> list[float]:
        return [1.0, sum(entry(k.kernel) for k in lowering.kernels)]

    def entry(kernel: Kernel) -> float:
        """Of a kernel that the table lacks, the mean of its kind."""
        return mean[kernel] if kernel in mean else float(np.mean(of_kind.get(kernel.kind, [typical])))

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
    found = Agreement.of(predicted, measured)
    return (
        f"{name:34} {found.within_5_percent:7.1%} {found.within_10_percent:7.1%} {found.rmspe:7.2%} {found.median:7.2%} "
        f"{found.worst:7.1%} {found.tau:6.3f}"
    )


README_HEADER = """\
| device | kernels measured | seconds | ±5 % | ±10 % | RMSPE | Kendall's τ | noise floor |
|---|---|---|---|---|---|---|---|"""


def readme_row(device: str, kernels: int, seconds: float, predicted: Floats, measured: Floats, again: Floats) -> str:
    """A line for the table of all devices in the README: how many different kernels a profile of so many seconds has, the errors,
    and beside them the RMSPE of measuring the same networks again."""
    found, twice = Agreement.of(predicted, measured), np.isfinite(again)
    cells = (
        f"`{device}`",
        f"{kernels:,}",
        f"{seconds:.0f}",
        f"{found.within_5_percent:.0%}".replace("%", " %"),
        f"{found.within_10_percent:.0%}".replace("%", " %"),
        f"{found.rmspe:.1%}".replace("%", " %"),
        f"{found.tau:.3f}".lstrip("0"),
        f"{Agreement.of(again[twice], measured[twice]).rmspe:.1%}".replace("%", " %") if twice.any() else "–",
    )
    return f"| {' | '.join(cells)} |"


def coverage(name: str, inside: NDArray[np.bool_], wanted: float) -> str:
    """One line on an interval."""
    return f"{name:34} covers {inside.mean():.1%} of {len(inside)} (wanted {wanted:.0%})"


def memory_row(name: str, predicted: Floats, measured: Floats) -> str:
    """One line on memory."""
    error = np.abs(predicted / measured - 1)
    tail = np.quantile(error, 0.95)
    return f"{name:34} median {np.median(error):.2%}, 95 % of networks within {tail:.2%}, worst {error.max():.2%}"


def kernel_kinds(
    lowerings: Sequence[Lowering], predicted: Sequence[Sequence[KernelEstimate]], latency_ms: Floats, most: int = 15
) -> list[str]:
    """One line for each kind of kernel that networks lose or gain most by: predicted against measured milliseconds of all kernels
    of the kind, and by how much of their network's latency they are off, added up without regard to sign within a network.

    What the runtime's profiler added to each kernel, the same to all of a network, is taken off the measured time first.
    """
    shares: dict[str, list[tuple[int, float, float, float]]] = defaultdict(list)
    for lowering, kernels, ms in zip(lowerings, predicted, latency_ms, strict=True):
        measured = 1e3 * np.array([k.seconds or 0.0 for k in lowering.kernels])
        own = np.maximum(measured - max(0.0, float(measured.sum()) - ms) / len(measured), 0)
        own *= ms / own.sum()
        kinds = np.array([k.kind for k in kernels])
        said = np.array([k.latency_ms for k in kernels])
        for kind in np.unique(kinds):
            of = kinds == kind
            off = float((said[of] - own[of]).sum() / ms)
            shares[str(kind)].append((int(of.sum()), float(said[of].sum()), float(own[of].sum()), off))
    rows = []
    for kind, found in shares.items():
        count, said_ms, own_ms, _ = np.maximum(np.sum(found, axis=0), 1e-9)
        off = float(np.sum(np.abs([f[3] for f in found]))) / len(lowerings)
        rows.append(
            (off, f"{kind:44} {len(found):8} {count:8.0f} {own_ms:10.2f} {said_ms / own_ms - 1:+8.1%} {off:8.2%}")
        )
    rows.sort(reverse=True)
    return [
        f"{'kind':44} {'networks':>8} {'kernels':>8} {'ms':>10} {'bias':>8} {'off':>8}",
        *(text for _, text in rows[:most]),
    ]
