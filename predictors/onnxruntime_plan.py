"""What ONNX Runtime's planner would keep of a network's activations, simulated; nothing is learned.

It decides before the first run which buffer each result goes to. The planner walks over the kernels in the order of
execution; a result is a view of an input (reshapes), or overwrites an input whose last reader it is (where the kernel allows it
and the shapes agree), or takes a buffer of the same shape that is no longer needed, or gets a new one. A buffer taken over stays
allocated in between, so the peak is higher than that of the live values alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from devices import ExecutedKernel, TensorType
from predictors.onnxruntime_workspace import workspace_bytes

_Value = tuple[int, int]  # (position of the kernel, number of its output)
_CALLERS: _Value = (-1, 0)  # stands for all network inputs
_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
# fmt: off
_IN_PLACE = frozenset({  # as measured, one by one, on ONNX Runtime 1.31; arithmetic, and unary functions of numbers, are not
    "Cast", "Clip", "Elu", "HardSigmoid", "LeakyRelu", "LogSoftmax", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus",
    "Softsign", "Tanh", "ThresholdedRelu",
})
# fmt: on
_SUMS_IN_PLACE = frozenset({"com.microsoft.nchwc:Conv", "com.microsoft:FusedConv"})


def bytes_in_use(kernels: Sequence[ExecutedKernel]) -> NDArray[np.int64]:
    """``(n,)`` bytes of activations and workspace allocated while each kernel runs."""
    return activations_in_use(kernels) + np.array([workspace_bytes(k) for k in kernels], np.int64)


def activations_in_use(kernels: Sequence[ExecutedKernel]) -> NDArray[np.int64]:
    """``(n,)`` bytes of activations allocated while each kernel runs. Network inputs belong to the caller and do not count."""
    n = len(kernels)
    inputs = [_read(kernels, k) for k in kernels]
    uses = Counter(value for values in inputs for value in values)
    uses[_CALLERS] += 1  # never the last
    owner = {_CALLERS: _CALLERS}
    died: dict[_Value, int] = {}
    free: list[_Value] = []
    for i, executed in enumerate(kernels):
        outputs = [(i, j) for j in range(len(executed.kernel.outputs))]
        for value, tensor in zip(outputs, executed.kernel.outputs, strict=True):
            uses[value] += 1 + executed.is_output
            reused = None
            if not executed.is_output:
                shared = _shared(kernels, executed, inputs[i], tensor, owner, uses)
                idle = (f for f in free if tensor.shape and _same(_type(kernels, f), tensor))
                reused = next(idle, None) if shared is None else shared
            if reused is None:
                owner[value] = value
            else:
                owner[value] = reused
                uses[reused] += uses[value]
                free = [f for f in free if f != reused]
        for value in (*inputs[i], *outputs):
            uses[owner[value]] -= 1
            if uses[owner[value]] == 0:
                free.insert(0, owner[value])
                died[owner[value]] = i
    change = np.zeros(n + 1, np.int64)
    for buffer in set(owner.values()) - {_CALLERS}:
        size = _type(kernels, buffer).nbytes
        change[buffer[0]] += size
        change[died.get(buffer, n - 1) + 1] -= size
    return np.cumsum(change)[:n]


def _read(kernels: Sequence[ExecutedKernel], executed: ExecutedKernel) -> list[_Value]:
    """The value that each operand that is not constant stands for."""
    wanted = [o.type for o in executed.kernel.inputs if not o.constant]
    values: list[_Value] = []
    for at, tensor in zip(executed.reads, wanted, strict=False):
        outputs = kernels[at].kernel.outputs if at >= 0 else ()
        values.append((at, outputs.index(tensor) if tensor in outputs else 0) if outputs else _CALLERS)
    return values


def _shared(
    kernels: Sequence[ExecutedKernel],
    executed: ExecutedKernel,
    inputs: Sequence[_Value],
    tensor: TensorType,
    owner: Mapping[_Value, _Value],
    uses: Mapping[_Value, int],
) -> _Value | None:
    """The buffer of an input that the output shares, if any: as a view, or because nobody else will read it."""
    op = executed.kernel.op
    if op in _VIEWS:
        return owner[inputs[0]] if inputs else None
    candidates: Sequence[_Value] = ()
    if op in _IN_PLACE:
        candidates = inputs[:1]
    elif executed.kernel.kind in _SUMS_IN_PLACE:
        candidates = inputs[1:]
    for value in candidates:
        if uses[owner[value]] == 1 and _same(_type(kernels, value), tensor):
            return owner[value]
    return None


def _type(kernels: Sequence[ExecutedKernel], value: _Value) -> TensorType:
    return kernels[value[0]].kernel.outputs[value[1]]


def _same(one: TensorType, other: TensorType) -> bool:
    return one.shape == other.shape and one.item_bytes == other.item_bytes
