"""What a prediction says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices import Memory


@dataclass(frozen=True, slots=True)
class KernelEstimate:
    """What one kernel adds to its network's latency.

    Attributes:
        kind: as the runtime names it.
        nodes: the graph's nodes that it computes; empty if the runtime inserted it.
        latency_ms: its share.
        bound: what most of its time goes to: ``compute``, ``bytes`` or ``overhead``.
        profiled: false if the profile has no kernel of that family: then this is physics, not measurement.
        reads: positions of the kernels that it reads; -1 for the network's inputs.
    """

    kind: str
    nodes: tuple[str, ...]
    latency_ms: float
    bound: str
    profiled: bool
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Estimates:
    """Predictions for n networks.

    Attributes:
        latency_ms: ``(n,)`` comparable with :attr:`devices.Timing.latency_ms`.
        p50_ms: ``(n,)`` comparable with :attr:`devices.Timing.p50_ms`.
        lower_ms, upper_ms: ``(n,)`` 90 % interval of ``latency_ms``; without an upper end where a network branches or loops.
        p50_upper_ms: ``(n,)`` one-sided 95 % upper bound of ``p50_ms``; infinite likewise.
        memory: what each network needs to run.
        kernels: each network's kernels in the order of execution.
        lowering: how each network's kernels were found: ``"exact"``, the runtime was asked; ``"learned"``, from what it did in
            the profile.
    """

    latency_ms: NDArray[np.float64]
    p50_ms: NDArray[np.float64]
    lower_ms: NDArray[np.float64]
    upper_ms: NDArray[np.float64]
    p50_upper_ms: NDArray[np.float64]
    memory: tuple[Memory, ...]
    kernels: tuple[tuple[KernelEstimate, ...], ...]
    lowering: tuple[str, ...]


@dataclass(frozen=True)
class KernelCosts:
    """What each kernel of a network adds to its latency, in milliseconds, all ``(n_kernels,)``.

    Attributes:
        latency_ms: its share.
        over_ms, under_ms: how much more, or less, it may be because the profile has nothing like it.
    """

    latency_ms: NDArray[np.float64]
    over_ms: NDArray[np.float64]
    under_ms: NDArray[np.float64]
