"""The worker process: nothing that a runtime does to it harms more than one answer, and it never outlives its host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import devices
from devices import Graph, Node, TensorType, frames
from devices.errors import DeviceCrashed, DeviceOutOfMemory, DeviceTimedOut, UnsupportedOp
from devices.frames import Blob
from devices.process import WorkerProcess
from devices.remote import WorkerDevice
from devices.runtimes._server import Server

ROOT = Path(devices.__file__).parent.parent

# The real worker around a runtime that does, when it is asked for its versions, what it is told to do.
BADLY_BEHAVED = """
import os, signal, subprocess, sys, time, types
from devices import worker

class Runtime:
    def versions(self):
        {does}
        return {{"modules": " ".join(sys.modules)}}

module = types.ModuleType("devices.runtimes.badly_behaved")
module.PLUGIN = Runtime()
sys.modules[module.__name__] = module
worker.main("badly_behaved")
"""


def worker(does: str = "pass") -> WorkerProcess:
    return WorkerProcess([sys.executable, "-P", "-c", BADLY_BEHAVED.format(does=does)])


def hello(process: WorkerProcess, *, timeout_s: float = 20) -> dict[str, Any]:
    reply, _ = process.ask({"ask": "hello"}, timeout_s=timeout_s)
    return reply


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def device() -> Iterator[WorkerDevice]:
    with devices.open("onnxruntime") as opened:
        yield opened


def identity(size: int = 4) -> Graph:
    kind = TensorType("float32", (1, size))
    return Graph("identity", (Node("n", "Relu", ("x",), ("y",)),), {"x": kind, "y": kind}, ("x",), ("y",), {})


arrays = hnp.arrays(
    st.sampled_from([np.float32, np.int64, np.bool_, np.uint8, np.float16]), hnp.array_shapes(min_dims=0, min_side=0)
)


@given(st.dictionaries(st.text(max_size=5), arrays, max_size=4))
def test_arrays_survive_the_way(values: dict[str, NDArray[Any]]) -> None:
    described, blobs = frames.pack(values)
    raw = b"".join(frames.encode({"arrays": described}, blobs))
    start = frames.PREFIX + frames.header_length(raw[: frames.PREFIX])
    header, lengths = frames.decode_header(raw[frames.PREFIX : start])
    parts = [raw[start + sum(lengths[:i]) : start + sum(lengths[: i + 1])] for i in range(len(lengths))]
    found = frames.unpack(header["arrays"], parts)
    assert list(found) == list(values)
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


def test_what_a_runtime_prints_does_not_get_into_answers() -> None:
    process = worker(
        "print('noise'); os.write(1, b'x' * 100_000); subprocess.run(['echo', 'more']); sys.stdout.flush()"
    )
    for _ in range(3):
        assert "hardware" in hello(process)
    process.kill()


def test_a_worker_needs_the_standard_library_and_numpy_only() -> None:
    process = worker()
    modules = {name.partition(".")[0] for name in hello(process)["versions"]["modules"].split()}
    process.kill()
    allowed = {*sys.stdlib_module_names, "devices", "numpy"}
    assert {m for m in modules - allowed if not m.startswith(("_", "sitecustomize", "usercustomize"))} == set()


@pytest.mark.parametrize(
    ("does", "error", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", DeviceCrashed, "ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", DeviceCrashed, "ended by SIGKILL"),
        ("os.write(2, b'lost my marbles'); os._exit(3)", DeviceCrashed, "status 3. It said: lost my marbles"),
        ("time.sleep(60)", DeviceTimedOut, "did not answer for 1 s"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", DeviceTimedOut, "did not answer for 1 s"),
        ("raise MemoryError('no room')", DeviceOutOfMemory, "no room"),
        ("raise RuntimeError('no such kernel')", UnsupportedOp, "no such kernel"),
    ],
)
def test_whatever_happens_is_an_error_with_its_reason(does: str, error: type[Exception], message: str) -> None:
    process = worker(does)
    with pytest.raises(error, match=message):
        hello(process, timeout_s=1)
    if error in (DeviceCrashed, DeviceTimedOut):
        assert process.pid is None
        with pytest.raises(error, match=message):  # started again, and asked again
            hello(process, timeout_s=1)
        assert process.starts == 2
    process.kill()


def test_what_the_runtime_started_ends_with_the_worker(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    process = worker(f"open({str(told)!r}, 'w').write(str(subprocess.Popen(['sleep', '300']).pid))")
    hello(process)
    child = int(told.read_text())
    assert is_running(child)
    process.kill()
    wait_until_gone(child)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_ends_with_its_host(busy: bool) -> None:
    """Even if the host is killed while the worker is in the middle of an answer."""
    does = "time.sleep(300)" if busy else "pass"
    code = f"""
import sys, threading
from devices.process import WorkerProcess
process = WorkerProcess([sys.executable, "-P", "-c", {BADLY_BEHAVED.format(does=does)!r}])
threading.Thread(target=lambda: process.ask({{"ask": "hello"}}, timeout_s=600), daemon=True).start()
while process.pid is None or ({not busy} and process.starts == 0):
    pass
print(process.pid, flush=True)
sys.stdin.read()
"""
    host = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    time.sleep(0.5)
    assert is_running(pid)
    host.kill()
    host.communicate()
    wait_until_gone(pid)


def test_an_interrupted_question_is_not_answered_to_the_next_one(device: WorkerDevice) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    with device.load(identity(2_000_000)) as slow, device.load(identity()) as session:
        old = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Interrupted):
                slow.run(10_000_000)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert session.outputs()[0].shape == (1, 4)
        assert slow.outputs()[0].shape == (1, 2_000_000)  # a frame much larger than a pipe


def test_the_runtimes_own_package_is_not_shadowed(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.chdir(ROOT / "devices" / "runtimes")
    with devices.open("onnxruntime") as device:
        assert device.info.versions["onnxruntime"] == onnxruntime.__version__


def test_a_model_that_kills_every_worker_is_lost_alone(device: WorkerDevice) -> None:
    """The kernel's out-of-memory killer, say: the suspect runs alone once more, then it is given up."""
    import threading

    over = threading.Event()

    def killer() -> None:
        while not over.is_set():
            if device.process.pid is not None:
                os.kill(device.process.pid, signal.SIGKILL)
            time.sleep(0.05)

    with device.load(identity()) as good, device.load(identity(500_000)) as suspect:
        thread = threading.Thread(target=killer)
        thread.start()
        with pytest.raises(DeviceCrashed, match="SIGKILL"):
            suspect.run(1_000_000)
        over.set()
        thread.join()
        with pytest.raises(DeviceCrashed):  # it is not tried for ever
            suspect.run(1)
        assert good.run(1).shape == (1,)


def test_a_model_that_does_not_fit_into_memory_costs_one_answer(device: WorkerDevice) -> None:
    import resource

    pid = device.process.pid
    assert pid is not None
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    with device.load(identity()) as good:
        resource.prlimit(pid, resource.RLIMIT_AS, (used + (1 << 29),) * 2)
        with pytest.raises(DeviceOutOfMemory), device.load(outer_product(20_000)):
            pass
        assert good.run(1).shape == (1,)
        assert device.process.pid == pid


def outer_product(size: int) -> Graph:
    """Its inputs are small, its result has ``size²`` numbers."""
    kinds = {"x": (size, 1), "y": (1, size), "z": (size, size), "s": (1, 1)}
    nodes = (
        Node("product", "MatMul", ("x", "y"), ("z",)),
        Node("sum", "ReduceSum", ("z",), ("s",), {"keepdims": 1}),
    )
    return Graph("outer", nodes, {k: TensorType("float32", v) for k, v in kinds.items()}, ("x", "y"), ("s",), {})


def test_a_request_costs_little(device: WorkerDevice) -> None:
    """A block of runs is one request; what it costs beside the runs is noise against a block of 20 ms."""
    with device.load(identity()) as session:
        session.run(100)
        overheads = []
        for _ in range(50):
            start = time.perf_counter()
            seconds = session.run(1)
            overheads.append(time.perf_counter() - start - seconds.sum())
    assert np.median(overheads) < 2e-3


def test_runs_beyond_the_budget_of_one_request_are_asked_for_again() -> None:
    with devices.open("onnxruntime", timeout_s=3) as device, device.load(identity(2_000_000)) as session:
        seconds = session.run(3_000)
    assert seconds.shape == (3_000,)
    assert seconds.sum() > 0.75  # which is what one request may take at most


@pytest.mark.parametrize("compressed", [True, False])
def test_answers_are_compressed_where_that_is_asked_for(compressed: bool) -> None:
    command = [sys.executable, "-P", "-c", BADLY_BEHAVED.format(does="pass")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        (request,) = frames.encode({"ask": "hello", "compressed": compressed})
        process.stdin.write(request)
        process.stdin.flush()
        length = frames.header_length(process.stdout.read(frames.PREFIX))
        header, _ = frames.decode_header(process.stdout.read(length))
    assert header["versions"]
    assert ("deflated" in header) == compressed


class ClockOfItsOwn:
    """A loaded model, simulated: its accelerator says what an execution took."""

    def __init__(self) -> None:
        self.executed = 0

    def execute(self) -> None:
        self.executed += 1

    def timed(self) -> float:
        self.execute()
        return 0.25 * self.executed

    def outputs(self) -> list[NDArray[Any]]:
        return []

    def bind(self, name: str, value: NDArray[Any]) -> None:
        raise NotImplementedError


class AcceleratorInSimulation:
    """A runtime whose models are all :class:`ClockOfItsOwn`."""

    def versions(self) -> dict[str, str]:
        return {}

    def load(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> ClockOfItsOwn:
        return ClockOfItsOwn()

    def trace(
        self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, timed: bool
    ) -> list[Blob]:
        raise NotImplementedError


def test_a_model_with_a_clock_of_its_own_is_timed_by_it() -> None:
    server = Server(AcceleratorInSimulation())
    server.answer({"ask": "load", "session": 1, "inputs": [], "settings": {}}, [b""])
    _, (seconds,) = server.answer({"ask": "run", "session": 1, "n": 3, "budget_s": 60}, [])
    np.testing.assert_array_equal(np.frombuffer(seconds), [0.25, 0.5, 0.75])
