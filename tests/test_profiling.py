"""Profiling on the real ONNX Runtime: what is kept, what is not done twice, and what a failure or a kill costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest

import devices
from devices import Device, DeviceInfo, Graph, Lowering, Memory, Node, Profile, TensorType
from devices.errors import ProvenanceMismatch
from devices.events import Note, Progress
from devices.journal import Journal, read
from devices.profile import ProfileWriter, load
from profilers import Check, check, measure_graphs, profile, sentinels
from profilers.errors import MeasurementError
from profilers.measuring import compare
from profilers.profiling import VISITS


def small(i: int) -> Graph:
    """A small convolutional network; another one for every i."""
    channels = 4 + i
    image, wide = TensorType("float32", (1, 3, 12, 12)), TensorType("float32", (1, channels, 12, 12))
    return Graph(
        f"small{i}",
        (
            Node("conv", "Conv", ("x", "w"), ("c",), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}),
            Node("relu", "Relu", ("c",), ("y",)),
        ),
        {"x": image, "w": TensorType("float32", (channels, 3, 3, 3)), "c": wide, "y": wide},
        ("x",),
        ("y",),
        {"w": None},
    )


def refused() -> Graph:
    """A network that no runtime knows the operator of."""
    good = small(0)
    return replace(good, name="refused", nodes=(good.nodes[0], replace(good.nodes[1], op="NoSuchOperator")))


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with devices.open("onnxruntime:threads=1") as opened:
        yield opened


def units(path: Path) -> list[dict[str, object]]:
    """What the file holds after its header."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def finished(device: Device, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Profile]:
    """A profile of six networks, two of them timed, and one that cannot run."""
    path = tmp_path_factory.mktemp("profile") / "cpu.profile.jsonl"
    graphs = [small(i) for i in range(6)]
    return path, profile(device, [*graphs, refused()], timed=graphs[:2], path=path)


class TestProfile:
    def test_holds_kernels_of_all_and_timings_of_some(self, finished: tuple[Path, Profile]) -> None:
        path, found = finished
        assert set(found.lowerings) == {small(i).digest() for i in range(6)}
        assert set(found.timings) == {small(i).digest() for i in range(2)}
        assert load(path) == found
        for i in range(6):
            lowering = found.lowerings[small(i).digest()]
            assert {n for k in lowering.kernels for n in k.nodes} == {"conv", "relu"}
            assert lowering.slowness > 0.5
            assert lowering.memory is not None
            assert lowering.memory.weight_bytes >= (4 + i) * 27 * 4

    def test_knows_its_noise_and_its_sentinels(self, finished: tuple[Path, Profile]) -> None:
        _, found = finished
        assert found.noise_floor is not None
        assert found.drift is not None
        assert set(found.sentinels) == {g.digest() for g in sentinels.graphs()}
        assert all(t.rounds >= 1 and t.latency_ms > 0 for t in (*found.timings.values(), *found.sentinels.values()))

    def test_a_network_that_fails_is_recorded_with_its_reason(self, finished: tuple[Path, Profile]) -> None:
        _, found = finished
        assert list(found.failed) == [refused().digest()]
        assert "NoSuchOperator" in found.failed[refused().digest()]

    def test_times_of_kernels_are_as_when_the_sentinels_are_fastest(self, device: Device, tmp_path: Path) -> None:
        path, lowering = tmp_path / "p", device.lower(small(0))
        medium = sentinels.graphs()[1]
        (timing,) = measure_graphs(device, [medium])
        with ProfileWriter(path, device.info, {}) as writer:
            writer.lowering(small(0), lowering, {medium.digest(): 2 * timing.latency_ms})
            writer.timings({}, {medium.digest(): timing})
        found = load(path).lowerings[small(0).digest()]
        assert found.slowness == pytest.approx(2)
        assert [k.seconds for k in found.kernels] == [pytest.approx((k.seconds or 0) / 2) for k in lowering.kernels]

    def test_what_the_file_has_is_known_before_it_is_closed(
        self, finished: tuple[Path, Profile], tmp_path: Path
    ) -> None:
        path, found = finished
        copy, timed = tmp_path / "p", next(iter(found.timings))
        copy.write_bytes(path.read_bytes())
        with ProfileWriter(copy, found.info, found.settings) as writer:
            before = writer.profile
            writer.timings({timed: replace(found.timings[timed], p50_ms=1.0)}, found.sentinels)
            writer.failed("another", "made up")
            after = writer.profile
        kept = load(copy)
        assert set(after.failed) - set(before.failed) == {"another"}, "what comes later changes no profile"
        assert before.timings == found.timings != after.timings
        for name in ("lowerings", "timings", "sentinels", "failed", "noise_floor", "drift"):
            assert getattr(after, name) == getattr(kept, name)

    def test_keeps_the_networks_without_their_weights(self, finished: tuple[Path, Profile]) -> None:
        _, found = finished
        assert set(found.graphs) == set(found.lowerings)
        for digest, graph in found.graphs.items():
            names = [node.name for node in graph.nodes]
            assert graph.digest() == digest
            assert all(value is None or value.size <= 64 for value in graph.constants.values())
            assert {n for k in found.lowerings[digest].kernels for n in k.nodes} <= set(names)

    def test_timed_networks_are_visited_again_with_other_work_between(self, finished: tuple[Path, Profile]) -> None:
        kinds = [u["unit"] for u in units(finished[0])]
        alone, *visits = (i for i, kind in enumerate(kinds) if kind == "timings")
        assert alone == 0
        assert kinds[1 : visits[0]] == ["lowering", "lowering"]
        assert len(visits) == VISITS
        assert min(later - sooner for sooner, later in pairwise(visits)) > 1

    def test_the_same_command_again_measures_nothing(self, device: Device, finished: tuple[Path, Profile]) -> None:
        path, found = finished
        before = path.read_bytes()
        graphs = [small(i) for i in range(6)]
        assert profile(device, [*graphs, refused()], timed=graphs[:2], path=path) == found
        assert path.read_bytes() == before

    def test_order_is_a_function_of_the_seed(self, device: Device, tmp_path: Path) -> None:
        def order(name: str, seed: int) -> list[object]:
            profile(device, [small(i) for i in range(6)], path=tmp_path / name, seed=seed)
            return [u["graph"] for u in units(tmp_path / name) if u["unit"] == "lowering"]

        assert order("a", 1) == order("b", 1) != order("c", 2)

    def test_progress_counts_to_the_total(self, device: Device, tmp_path: Path) -> None:
        events: list[Progress | Note] = []
        profile(device, [small(0), refused()], timed=[small(0)], path=tmp_path / "p", on_event=events.append)
        assert [(e.done, e.total) for e in events if isinstance(e, Progress)] == [
            (i, VISITS + 2) for i in range(1, VISITS + 3)
        ]
        assert [e for e in events if isinstance(e, Note) and "refused could not be measured" in e.message]

    def test_nothing_that_runs_is_an_error(self, device: Device, tmp_path: Path) -> None:
        with pytest.raises(MeasurementError, match="NoSuchOperator"):
            profile(device, [refused()], path=tmp_path / "p")

    def test_another_seed_or_device_is_refused(self, device: Device, finished: tuple[Path, Profile]) -> None:
        with pytest.raises(ProvenanceMismatch, match=r"settings\.seed: found 0, wanted 1"):
            profile(device, [small(0)], path=finished[0], seed=1)
        with (
            devices.open("onnxruntime:threads=2") as other,
            pytest.raises(ProvenanceMismatch, match="threads"),
        ):
            profile(other, [small(0)], path=finished[0])


def test_a_profile_in_another_form_is_refused(finished: tuple[Path, Profile], tmp_path: Path) -> None:
    header, _ = read(finished[0])
    old = tmp_path / "old"
    with Journal(old, {**header, "schema": 1}):
        pass
    with pytest.raises(ProvenanceMismatch, match="schema: found 1, wanted 4"):
        load(old)


class TestResume:
    def test_goes_on_after_the_last_whole_unit(
        self, device: Device, finished: tuple[Path, Profile], tmp_path: Path
    ) -> None:
        """Cut the file in the middle of a unit: what is left is kept, the rest is measured."""
        whole = finished[0].read_bytes().splitlines(keepends=True)
        graphs = [small(i) for i in range(6)]
        for cut in range(1, len(whole), 3):
            path = tmp_path / f"{cut}"
            path.write_bytes(b"".join(whole[:cut]) + whole[cut][: len(whole[cut]) // 2])
            found = profile(device, [*graphs, refused()], timed=graphs[:2], path=path)
            lines = path.read_bytes().splitlines(keepends=True)
            assert lines[:cut] == whole[:cut]
            assert [(u["unit"], u.get("graph")) for u in units(path)] == [
                (u["unit"], u.get("graph")) for u in units(finished[0])
            ]
            assert set(found.lowerings) == set(finished[1].lowerings)

    def test_no_unit_is_begun_after_the_time_limit_and_the_rest_comes_later(
        self, device: Device, tmp_path: Path
    ) -> None:
        path, graphs = tmp_path / "p", [small(i) for i in range(8)]
        events: list[Progress | Note] = []
        nothing = profile(device, graphs, timed=graphs[:2], path=path, time_limit_s=1e-9, on_event=events.append)
        assert not nothing.lowerings
        assert [e for e in events if isinstance(e, Note) and "time limit" in e.message]
        some = profile(device, graphs, timed=graphs[:2], path=path, time_limit_s=0.1)
        before = path.read_bytes()
        assert len(some.lowerings) < len(graphs) or not some.timings or some.drift is None
        found = profile(device, graphs, timed=graphs[:2], path=path)
        assert path.read_bytes().startswith(before)
        assert found.lowerings.keys() == {g.digest() for g in graphs}
        assert found.drift is not None

    def test_kill_9_loses_at_most_the_unit_in_flight(self, device: Device, tmp_path: Path) -> None:
        path = tmp_path / "p"
        program = """
            import sys
            import devices
            sys.path.insert(0, sys.argv[2])
            from test_profiling import small
            from profilers import profile
            graphs = [small(i) for i in range(12)]
            with devices.open("onnxruntime:threads=1") as device:
                profile(device, graphs, timed=graphs[:3], path=sys.argv[1])
        """
        root = Path(__file__).parent.parent
        killed = 0
        for wanted in (2, 6, 11):  # units in the file when the kill comes
            process = subprocess.Popen(
                [sys.executable, "-c", dedent(program), str(path), str(root / "tests")],
                env={**os.environ, "PYTHONPATH": str(root)},
            )
            while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") <= wanted):
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            before = path.read_bytes()
            kept = before[: before.rfind(b"\n") + 1]
        graphs = [small(i) for i in range(12)]
        found = profile(device, graphs, timed=graphs[:3], path=path)
        assert killed == 3
        assert path.read_bytes().startswith(kept)
        lowered = [u["graph"] for u in units(path) if u["unit"] == "lowering"]
        assert len(lowered) == len(set(lowered)) == 12
        assert sum(u["unit"] == "timings" for u in units(path)) == 1 + VISITS
        assert len(found.timings) == 3


class TestFailuresInABatch:
    def test_only_the_network_to_blame_is_lost(self, device: Device, tmp_path: Path) -> None:
        """A network whose kernels are in the file, but which cannot be loaded now, costs itself and not its batch."""
        path, graphs = tmp_path / "p", [small(i) for i in range(4)]
        with ProfileWriter(path, device.info, {"seed": 0}) as writer:
            writer.lowering(refused(), Lowering((), Memory(0, 0, "runtime")), {})
        found = profile(device, graphs, timed=[*graphs, refused()], path=path)
        assert set(found.timings) == {g.digest() for g in graphs}
        assert list(found.failed) == [refused().digest()]


class TestCheck:
    def test_measures_every_sentinel_again(self, device: Device, finished: tuple[Path, Profile]) -> None:
        result = check(device, finished[1])
        assert isinstance(result, Check)
        assert set(result.drift) == {g.digest() for g in sentinels.graphs()}

    @pytest.mark.parametrize(
        ("slower", "holds"), [(0.0, True), (0.04, True), (-0.04, True), (0.06, False), (-0.06, False)]
    )
    def test_a_profile_holds_while_no_sentinel_is_more_than_5_percent_off(
        self, finished: tuple[Path, Profile], slower: float, holds: bool
    ) -> None:
        """Of one alone; the others are as they were."""
        now = [finished[1].sentinels[g.digest()] for g in sentinels.graphs()]
        now[-1] = replace(now[-1], latency_ms=now[-1].latency_ms * (1 + slower))
        result = compare(now, finished[1])
        assert result.holds == holds
        assert list(result.drift.values()) == pytest.approx([*[0] * (len(now) - 1), slower])

    def test_a_slower_machine_is_noticed(self, device: Device, finished: tuple[Path, Profile]) -> None:
        found = finished[1]
        past = {d: replace(t, latency_ms=t.latency_ms / 2) for d, t in found.sentinels.items()}
        result = check(device, replace(found, sentinels=past))
        assert not result.holds
        assert min(result.drift.values()) > 0.5

    def test_a_profile_without_sentinels_says_nothing(self, device: Device, finished: tuple[Path, Profile]) -> None:
        with pytest.raises(MeasurementError, match="nothing to compare"):
            check(device, replace(finished[1], sentinels={}))

    def test_another_device_is_refused(self, device: Device, finished: tuple[Path, Profile]) -> None:
        info = finished[1].info
        other = DeviceInfo(info.spec, {**info.hardware, "cpu": "another"}, info.versions, info.settings)
        with pytest.raises(ProvenanceMismatch, match="cpu"):
            check(device, replace(finished[1], info=other))


class TestMeasureGraphs:
    def test_times_networks_beside_the_sentinels(self, device: Device) -> None:
        timings = measure_graphs(device, [small(0), sentinels.graphs()[1]])
        assert timings[0].latency_ms < timings[1].latency_ms
        assert all(t.p50_low_ms <= t.p50_ms <= t.p50_high_ms for t in timings)

    def test_is_not_stable_when_the_machine_is_not_as_it_was_profiled(
        self, device: Device, finished: tuple[Path, Profile]
    ) -> None:
        found = finished[1]
        past = {d: replace(t, latency_ms=t.latency_ms / 2) for d, t in found.sentinels.items()}
        events: list[Progress | Note] = []
        (timing,) = measure_graphs(device, [small(0)], profile=replace(found, sentinels=past), on_event=events.append)
        assert not timing.stable
        assert [e for e in events if isinstance(e, Note) and "measuring again" in e.message]
