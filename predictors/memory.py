"""Memory of a network by liveness: what the runtime's planner would keep, simulated; nothing is learned.

The runtime decides before the first run which buffer each result goes to. Its planner walks over the kernels in the order of
execution; a result is a view of an input (reshapes), or overwrites an input whose last reader it is (where the kernel allows it
and the shapes agree), or takes a buffer of the same shape that is no longer needed, or gets a new one. A buffer taken over stays
allocated in between, so the peak is higher than that of the live values alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from devices import ExecutedKernel, Lowering, Memory, TensorType

_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
# fmt: off
_IN_PLACE = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "Floor", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Log", "Mul", "Neg", "Not", "Or", "Pow", "QuickGelu", "Reciprocal", "Relu",
    "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Sum",
    "Tanh", "ThresholdedRelu", "Xor", "BatchNormalization",
})
# fmt: on
_SUMS_IN_PLACE = frozenset({"com.microsoft.nchwc:Conv", "com.microsoft:FusedConv"})


def peak_memory(lowering: Lowering) -> Memory:
    """Weights and the highest use of activations, estimated from the kernels alone (``source="estimated"``)."""
    weight_bytes = sum(k.kernel.weight_bytes for k in lowering.kernels)
    return Memory(weight_bytes, int(activations_in_use(lowering.kernels).max(initial=0)), "estimated")


def activations_in_use(kernels: Sequence[ExecutedKernel]) -> NDArray[np.int64]:
    """``(n,)`` bytes of activations allocated while each kernel runs. Network inputs belong to the caller and do not count."""
    n = len(kernels)
    root: dict[tuple[int, int], tuple[int, int]] = {}
    uses: dict[tuple[int, int], int] = defaultdict(int)
    inputs = [_produced(kernels, k) for k in kernels]
    for values in inputs:
        for value in values:
            if value is not None:
                uses[value] += 1
    died: dict[tuple[int, int], int] = {}
    free: list[tuple[int, int]] = []
    for i, executed in enumerate(kernels):
        for j, tensor in enumerate(executed.kernel.outputs):
            value = (i, j)
            uses[value] += 1 + executed.is_output
            reused = None if executed.is_output else _reusable(kernels, executed, inputs[i], tensor, root, uses)
            if reused is None and not executed.is_output and tensor.shape:
                reused = next((f for f in free if _same(_type(kernels, f), tensor)), None)
                if reused is not None:
                    free.remove(reused)
            root[value] = value if reused is None else reused
            if reused is not None:
                uses[reused] += uses[value]
        for value in (*inputs[i], *((i, j) for j in range(len(executed.kernel.outputs)))):
            if value is None:
                continue
            owner = root[value]
            uses[owner] -= 1
            if uses[owner] == 0:
                free.insert(0, owner)
                died[owner] = i
    change = np.zeros(n + 1, np.int64)
    for owner in set(root.values()):
        size = _type(kernels, owner).nbytes
        change[owner[0]] += size
        change[died.get(owner, n - 1) + 1] -= size
    return np.cumsum(change)[:n]


def _produced(kernels: Sequence[ExecutedKernel], executed: ExecutedKernel) -> list[tuple[int, int] | None]:
    """For each operand that is not constant, the value (kernel, output) it reads; None for a network input."""
    wanted = [o.type for o in executed.kernel.inputs if not o.constant]
    values: list[tuple[int, int] | None] = []
    for at, tensor in zip(executed.reads, wanted, strict=False):
        outputs = kernels[at].kernel.outputs if at >= 0 else ()
        values.append((at, outputs.index(tensor) if tensor in outputs else 0) if outputs else None)
    return values


def _reusable(
    kernels: Sequence[ExecutedKernel],
    executed: ExecutedKernel,
    inputs: Sequence[tuple[int, int] | None],
    tensor: TensorType,
    root: dict[tuple[int, int], tuple[int, int]],
    uses: dict[tuple[int, int], int],
) -> tuple[int, int] | None:
    """The buffer of an input that the output shares, if any."""
    op = executed.kernel.kind.rsplit(":", 1)[-1]
    if op in _VIEWS:
        return root[inputs[0]] if inputs and inputs[0] is not None else None
    if op in _IN_PLACE:
        candidates = inputs[:2]
    elif executed.kernel.kind in _SUMS_IN_PLACE:
        candidates = inputs[1:]
    else:
        return None
    for value in candidates:
        if value is not None and uses[root[value]] == 1 and _same(_type(kernels, value), tensor):
            return root[value]
    return None


def _type(kernels: Sequence[ExecutedKernel], value: tuple[int, int]) -> TensorType:
    return kernels[value[0]].kernel.outputs[value[1]]


def _same(one: TensorType, other: TensorType) -> bool:
    return one.shape == other.shape and np.dtype(one.dtype).itemsize == np.dtype(other.dtype).itemsize
