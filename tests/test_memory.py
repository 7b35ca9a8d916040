"""Memory as it is predicted from kernels, beside what each runtime itself counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import devices
import hwnas.spaces
from benchmarks.families.members import members
from devices import ExecutedKernel, Graph, Kernel, Operand, TensorType
from devices.kernels import SHARES
from devices.liveness import live_bytes
from predictors import memory_rules


@dataclass(frozen=True)
class Case:
    """How far, as a fraction, what is predicted may be off for a device."""

    device: str
    source: str
    tolerance: float
    families: tuple[str, ...] = ("ResNet", "text transformer")


CASES = (
    Case("onnxruntime:threads=1", "runtime", 1e-4),
    Case("openvino:threads=1", "estimated", 1e-3),
    Case("mnn:threads=1", "runtime", 0.3),
    Case("torch:cpu", "estimated", 1e-3, ()),  # it runs spaces' networks alone
)


def networks(families: tuple[str, ...]) -> list[Graph]:
    """Networks of spaces, with residuals and gates, and the smallest members of families."""
    graphs = []
    for name, size in (("mobile", 28), ("mobile", 32), ("nasbench201", 32), ("fbnet", 64)):
        space = hwnas.spaces.open(name, (3, size, size), 10)
        graphs += [space.graph(space.smallest()), space.graph(space.largest())] if name == "mobile" else []
        graphs += [space.graph(genotype) for genotype in space.sample(np.random.default_rng(size), 1)]
    return [*graphs, *(members(family, 2)[0] for family in families)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.device)
def test_what_is_predicted_is_what_the_device_reports(case: Case) -> None:
    with devices.open(case.device) as device:
        for graph in networks(case.families):
            with device.load(graph) as session:
                reported, kernels = session.memory(), session.kernels()
            assert reported.source == case.source
            predicted = memory_rules(device.spec).peak(kernels)
            assert predicted.memory_bytes == pytest.approx(reported.memory_bytes, rel=case.tolerance), graph.name
            if case.tolerance < 0.01:
                assert predicted.activation_bytes == pytest.approx(reported.activation_bytes, rel=0.01), graph.name


def test_rules_are_the_runtimes_wherever_it_is() -> None:
    assert memory_rules("ssh://user@host/mnn:threads=4") is memory_rules("mnn")
    assert memory_rules("mnn") != memory_rules("torch:cpu") == memory_rules("made-up") != memory_rules("onnxruntime")


def test_results_that_lie_in_an_operand_take_nothing_and_keep_it() -> None:
    size = TensorType("float32", (1, 8))

    def kernel(*, shares: int | None = None, weight: bool = False) -> Kernel:
        inputs = (Operand(size, constant=True), Operand(size)) if weight else (Operand(size),)
        return Kernel("any", inputs, (size,), () if shares is None else ((SHARES, shares),))

    def live(*kernels: tuple[Kernel, tuple[int, ...]]) -> list[int]:
        last = len(kernels) - 1
        executed = [ExecutedKernel(k, (), reads, i == last, None) for i, (k, reads) in enumerate(kernels)]
        return [int(n) // size.nbytes for n in live_bytes(executed)]

    own, view = kernel(), kernel(shares=0)
    assert live((own, (-1,)), (own, (0,)), (own, (1,))) == [1, 2, 2]
    assert live((view, (-1,)), (view, (0,)), (own, (1,))) == [0, 0, 1]
    assert live((own, (-1,)), (view, (0,)), (own, (-1,)), (own, (1,))) == [1, 1, 2, 2]
    assert live((own, (-1,)), (kernel(shares=1, weight=True), (0,)), (own, (1,))) == [1, 1, 2]
    assert live((own, (-1,)), (kernel(shares=0, weight=True), (0,)), (own, (1,))) == [1, 1, 1]
    assert live((own, (-1,)), (own, (-1,)), (view, (0,))) == [1, 2, 1]
