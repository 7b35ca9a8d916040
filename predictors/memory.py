"""Memory of a network as its runtime will count it, from the kernels alone; nothing is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from devices import ExecutedKernel, Kernel, Memory
from devices.liveness import live_bytes
from devices.spec import runtime_of
from predictors import mnn_weights, onnxruntime_plan


@dataclass(frozen=True)
class MemoryRules:
    """How a runtime's memory follows from its kernels; without rules of its own, as devices estimate it themselves.

    Attributes:
        bytes_in_use: ``(n,)`` bytes of activations and workspace allocated while each of n kernels runs.
        kept_bytes: bytes that stay allocated for a kernel's constants.
    """

    bytes_in_use: Callable[[Sequence[ExecutedKernel]], NDArray[np.int64]] = live_bytes
    kept_bytes: Callable[[Kernel], int] = attrgetter("weight_bytes")

    def peak(self, kernels: Sequence[ExecutedKernel]) -> Memory:
        """Weights and the highest use of activations (``source="estimated"``)."""
        weight_bytes = sum(self.kept_bytes(k.kernel) for k in kernels)
        return Memory(weight_bytes, int(self.bytes_in_use(kernels).max(initial=0)), "estimated")


_RULES: Mapping[str, MemoryRules] = {
    "mnn": MemoryRules(kept_bytes=mnn_weights.kept_bytes),
    "onnxruntime": MemoryRules(onnxruntime_plan.bytes_in_use),
}


def memory_rules(device: str) -> MemoryRules:
    """Those of a device, told by its specification."""
    return _RULES.get(runtime_of(device), MemoryRules())
