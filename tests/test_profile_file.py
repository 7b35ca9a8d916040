"""Profile files that were changed and still carry right checksums: refused, with the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices import DeviceInfo, ExecutedKernel, Graph, Kernel, Lowering, Memory, Node, Operand, TensorType, Timing
from devices.errors import JournalDamaged
from devices.journal import Journal
from devices.profile import ProfileWriter, load

TENSOR = TensorType("float32", (1, 8))
GRAPH = Graph("g", (Node("relu", "Relu", ("x",), ("y",)),), {"x": TENSOR, "y": TENSOR}, ("x",), ("y",), {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A header, a network's kernels, and its timings."""
    kernel = ExecutedKernel(Kernel("Relu", (Operand(TENSOR),), (TENSOR,), ()), ("relu",), (-1,), True, 1e-6)
    timing = Timing(0.1, 0.11, 0.12, 0.1, 0.12, 8, 80, True, 0.01)
    with ProfileWriter(tmp_path / "p.jsonl", DeviceInfo("fake", {}, {}, {}), {}) as writer:
        writer.lowering(GRAPH, Lowering((kernel,), Memory(0, 64, "estimated")), {"sentinel": 0.5})
        writer.timings({GRAPH.digest(): timing}, {"sentinel": timing})
    return tmp_path / "p.jsonl"


def changed(path: Path, line: int, change: Callable[[Any], object]) -> Path:
    """The file with one line changed, checksums included."""
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    for value in lines:
        del value["crc32"]
    change(lines[line - 1])
    path.unlink()
    with Journal(path, lines[0]) as journal:
        for unit in lines[1:]:
            journal.append(unit)
    return path


def timing(unit: Any) -> Any:
    return unit["timings"][GRAPH.digest()]


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (1, lambda u: u["device"].pop("versions")),
        (2, lambda u: u.update(unit="other")),
        (2, lambda u: u.pop("memory")),
        (2, lambda u: u["memory"].update(weight_bytes=-1)),
        (2, lambda u: u["memory"].update(weight_bytes="1")),
        (2, lambda u: u["sentinels_ms"].update(sentinel=0)),
        (2, lambda u: u["kernels"][0].__setitem__(4, -1e-6)),
        (2, lambda u: u["kernels"][0].__setitem__(0, 99)),
        (2, lambda u: u["new"][0][2][0].__setitem__(0, "float99")),
        (2, lambda u: u["new"][0][2][0].__setitem__(1, [-1, 8])),
        (2, lambda u: u["new"][0][2][0].__setitem__(1, [2**62, 8])),
        (3, lambda u: timing(u).update(latency_ms=-1.0)),
        (3, lambda u: timing(u).update(p50_ms="fast")),
        (3, lambda u: timing(u).update(p95_ms=None)),
        (3, lambda u: timing(u).update(unheard_of=1)),
        (3, lambda u: u.update(timings=[])),
    ],
)
def test_what_no_profile_holds_is_refused_with_its_line(path: Path, line: int, change: Callable[[Any], object]) -> None:
    assert load(path).timings[GRAPH.digest()].latency_ms == pytest.approx(0.1)
    with pytest.raises(JournalDamaged, match=f"line {line} does not hold") as caught:
        load(changed(path, line, change))
    assert caught.value.hint
