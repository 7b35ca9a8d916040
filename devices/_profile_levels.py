"""Measurements as if the machine had been as fast as at its best throughout: what its changing speed made of them, taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import geometric_mean
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from devices.profile import Lowering, Timing

_PASSES = 20
_LOOKS_AROUND = 2


def evened(visits: list[dict[str, float]]) -> dict[str, float]:
    """One latency for each network that was in one or more visits, on the level of the best visit: a two-way fit by medians
    (Tukey 1977, chapter 11) of logarithms, a network's own time and how slow the machine was in a visit."""
    if not visits:
        return {}
    ids = {digest: i for i, digest in enumerate(dict.fromkeys(d for visit in visits for d in visit))}
    logs = np.full((len(ids), len(visits)), np.nan)
    for v, visit in enumerate(visits):
        logs[[ids[d] for d in visit], v] = np.log(list(visit.values()))
    own = np.nanmedian(logs, axis=1)
    for _ in range(_PASSES):
        slow = np.nanmedian(logs - own[:, None], axis=0)
        own = np.nanmedian(logs - slow, axis=1)
    best = np.median(np.nanmin(logs, axis=1) - own)
    return dict(zip(ids, np.exp(own + best).tolist(), strict=True))


def typical(visits: list[Timing], latency_ms: float) -> Timing:
    """The visit with the median of the medians, of the stable ones if there are any."""
    by_p50 = sorted([t for t in visits if t.stable] or visits, key=lambda t: t.p50_ms)
    return replace(by_p50[len(by_p50) // 2], latency_ms=latency_ms)


def undisturbed(
    lowerings: Mapping[str, tuple[Lowering, Mapping[str, float]]], best_ms: Mapping[str, float]
) -> dict[str, Lowering]:
    """With the seconds that the kernels would have taken had the sentinels been as fast as in their best time. How fast they were
    is the best of some looks in a row: what disturbs one look is over sooner than the runs that tell kernels' times."""
    looks = []
    for _, taken_ms in lowerings.values():
        ratios = [ms / best_ms[d] for d, ms in taken_ms.items() if d in best_ms]
        looks.append(geometric_mean(ratios) if ratios else 1.0)
    found = {}
    for i, (digest, (lowering, _)) in enumerate(lowerings.items()):
        slowness = min(looks[max(0, i - _LOOKS_AROUND) : i + _LOOKS_AROUND + 1])
        kernels = (k if k.seconds is None else replace(k, seconds=k.seconds / slowness) for k in lowering.kernels)
        found[digest] = replace(lowering, kernels=tuple(kernels), slowness=slowness)
    return found
