"""Devices elsewhere, with a real OpenSSH server on the loopback; faults are real ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from torch import nn

import devices
import profilers
from benchmarks.loopback import Loopback
from devices import Graph, Node, TensorType
from devices.errors import ConnectionLost, DeviceCrashed, DeviceTimedOut, DeviceUnavailable
from devices.events import Note, Progress
from devices.process import Conversation
from devices.profile import Profile
from devices.ssh import client, target, worker
from devices.ssh.address import Address, split
from hwnas.cli import execute

ROOT = Path(devices.__file__).parent.parent


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A machine elsewhere, on which ONNX Runtime is set up with the Python of these tests."""
    with pytest.MonkeyPatch.context() as patch, Loopback(tmp_path_factory.mktemp("machine")) as loopback:
        patch.setenv("PATH", str(loopback.bin), prepend=os.pathsep)
        address, runtime = split(f"{loopback.address}/onnxruntime")
        assert address is not None
        status = target.setup(address, runtime, python=sys.executable)
        assert status.unavailable == ""
        yield loopback


@pytest.fixture
def spec(machine: Loopback) -> Iterator[str]:
    """A device on it. Whatever a test does, nothing may run there when it is over."""
    yield f"{machine.address}/onnxruntime:threads=1"
    wait_until(lambda: not machine.processes(), "something still runs there")


def wait_until(true: Callable[[], bool], otherwise: str, seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def network(width: int = 8, size: int = 8, noise: bool = False) -> Graph:
    image, weight = TensorType("float32", (1, width, size, size)), TensorType("float32", (width, width, 3, 3))
    nodes = (
        Node("conv", "Conv", ("x", "w"), ("c",), {"pads": (1, 1, 1, 1)}),
        Node("relu", "Relu", ("c",), ("y",)),
    )
    tensors = {"x": image, "w": weight, "c": image, "y": image}
    value = np.random.default_rng(0).standard_normal(weight.shape, np.float32) if noise else None
    return Graph(f"width {width}", nodes, tensors, ("x",), ("y",), {"w": value})


@pytest.mark.parametrize(
    ("text", "address", "local"),
    [
        ("ssh://board/onnxruntime", Address("board"), "onnxruntime"),
        ("ssh://me@board.local:2222/x:threads=2", Address("board.local", "me", 2222), "x:threads=2"),
        ("ssh://[fe80::1%eth0]:22/x", Address("fe80::1%eth0", None, 22), "x"),
        ("ssh://board", Address("board"), ""),
        ("onnxruntime:threads=1", None, "onnxruntime:threads=1"),
    ],
)
def test_addresses(text: str, address: Address | None, local: str) -> None:
    assert split(text) == (address, local)
    if address is not None:
        assert split(f"{address}/{local}") == (address, local)


@pytest.mark.parametrize(
    "text",
    [
        "ssh:///x",
        "ssh://me:secret@board/x",
        "ssh://-oProxyCommand=ls/x",
        "ssh://-l@board/x",
        "ssh://a b/x",
        "ssh://b:0/x",
        "ssh://b:99999/x",
    ],
)
def test_wrong_addresses_are_refused_before_anything_is_started(text: str) -> None:
    with pytest.raises(ValueError, match="a machine elsewhere is written ssh://USER@HOST:PORT/RUNTIME"):
        devices.open(text)


def test_the_same_device_wherever_it_is(spec: str) -> None:
    graph = network(16)
    with devices.open("onnxruntime") as here, devices.open(spec) as there:
        there.info.require_same(here.info, what="that")
        assert there.spec == spec
        with here.load(graph) as one, there.load(graph) as other:
            np.testing.assert_array_equal(one.outputs()[0], other.outputs()[0])
            assert [k.kernel for k in one.kernels()] == [k.kernel for k in other.kernels()]
            assert one.memory() == other.memory()
            assert other.run(7).shape == (7,)
        assert devices.resident_bytes(there.spec, graph) > 0  # in a process of its own, while the other has the machine


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_other_runtimes_run_there_too(machine: Loopback, spec: str, runtime: str) -> None:
    at, _ = split(machine.address)
    assert at is not None
    elsewhere = f"{machine.address}/{runtime}"
    with pytest.raises(DeviceUnavailable, match=f"{runtime} is not set up on") as caught:
        devices.open(elsewhere)
    assert caught.value.hint == f"Set it up: hwnas devices setup {elsewhere}"
    try:
        assert target.setup(at, runtime, python=sys.executable).unavailable == ""
        graph = replace(network(), make_module=made_up_module)
        with devices.open(runtime) as here, devices.open(elsewhere) as there:
            there.info.require_same(here.info, what="that")
            native = there.native(graph)
            shipped = replace(graph, native=native)
            with here.load(shipped) as one, there.load(shipped) as other, there.load(graph) as original:
                np.testing.assert_array_equal(one.outputs()[0], other.outputs()[0])
                np.testing.assert_allclose(original.outputs()[0], other.outputs()[0], rtol=1e-5, atol=1e-6)
                assert [k.kernel for k in one.kernels()] == [k.kernel for k in other.kernels()]
                assert one.memory() == other.memory()
                assert other.run(7).shape == (7,)
    finally:
        target.remove(at, runtime)


def made_up_module() -> nn.Module:
    """The torch module of the network."""
    return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.ReLU())


def test_a_python_without_the_runtime_is_said(machine: Loopback, spec: str) -> None:
    at, _ = split(machine.address)
    assert at is not None
    folder = machine.folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "numpy.pth").write_text(f"import sys; sys.path.append({str(only_numpy(machine.folder))!r})\n")
    try:
        told = target.setup(at, "openvino", python=str(folder / "bin" / "python"))
        assert told.unavailable == "not installed: pip install openvino"
        with pytest.raises(DeviceUnavailable, match="'openvino' is not installed there") as caught:
            devices.open(f"{machine.address}/openvino")
        assert f"hwnas devices setup {machine.address}/openvino" in caught.value.hint
    finally:
        target.remove(at, "openvino")


def only_numpy(folder: Path) -> Path:
    """A folder of packages that has numpy and nothing else."""
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    for found in Path(sysconfig.get_path("purelib")).glob("numpy*"):
        (packages / found.name).symlink_to(found)
    return packages


def test_models_travel_compressed_and_once(machine: Loopback, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0
    send = Conversation.send

    def counting(self: Conversation, parts: Any, timeout_s: float) -> None:
        nonlocal sent
        sent += sum(len(part) for part in parts)
        send(self, parts, timeout_s)

    def bytes_sent(graph: Graph) -> int:
        nonlocal sent
        sent = 0
        with device.load(graph, {"x": inputs}) as session:
            session.run(1)
        return sent

    monkeypatch.setattr(Conversation, "send", counting)
    inputs = np.zeros((1, 256, 2, 2), np.float32)
    weight_bytes = 256 * 256 * 9 * 4
    with devices.open(spec) as device:
        assert 0 < bytes_sent(network(256, 2)) < 0.05 * weight_bytes  # made up
        assert bytes_sent(network(256, 2, noise=True)) > 0.8 * weight_bytes
        assert bytes_sent(network(256, 2, noise=True)) < 0.01 * weight_bytes
    with devices.open(spec) as device:
        assert bytes_sent(network(256, 2, noise=True)) < 0.01 * weight_bytes
        (store,) = machine.home.glob(".hwnas/*/onnxruntime/models")
        for path in store.iterdir():
            path.write_bytes(b"damaged")
        assert bytes_sent(network(256, 2, noise=True)) > 0.8 * weight_bytes
        shutil.rmtree(store)  # what is lost comes again; where nothing can be kept it comes every time
        for _ in range(2):
            assert bytes_sent(network(256, 2, noise=True)) > 0.8 * weight_bytes


def configured(machine: Loopback, folder: Path, replace: str, by: str) -> Path:
    """An ``ssh`` with another configuration."""
    changed = folder / "configuration"
    changed.write_text((machine.folder / "configuration").read_text().replace(replace, by))
    ssh = folder / "ssh"
    ssh.write_text((machine.bin / "ssh").read_text().replace(str(machine.folder / "configuration"), str(changed)))
    ssh.chmod(0o755)
    return folder


def test_an_unknown_host_key_is_refused_with_the_line_that_accepts_it(
    machine: Loopback, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "known").touch()
    bin_ = configured(machine, tmp_path, f"{machine.folder}/known_hosts", f"{tmp_path}/known")
    monkeypatch.setenv("PATH", str(bin_), prepend=os.pathsep)
    with pytest.raises(DeviceUnavailable, match=r"host key of .* is not known") as caught:
        devices.open(spec)
    line = f"ssh -p {machine.port} {spec.partition('@')[0].removeprefix('ssh://')}@127.0.0.1 true"
    assert caught.value.hint.endswith(line)
    assert (tmp_path / "known").read_text() == ""
    other = (machine.folder / "client.pub").read_text().rpartition(" ")[0]
    (tmp_path / "known").write_text(f"[127.0.0.1]:{machine.port} {other}\n")
    with pytest.raises(DeviceUnavailable, match="is not the one that is known") as caught:
        devices.open(spec)
    forget = caught.value.hint.splitlines()[0].partition(": ")[2]
    subprocess.run(forget, shell=True, check=True, capture_output=True)
    with pytest.raises(DeviceUnavailable, match="is not known"):
        devices.open(spec)


def test_without_a_key_the_way_to_give_one_is_said(
    machine: Loopback, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = configured(machine, tmp_path, f"{machine.folder}/client", f"{machine.folder}/host")
    monkeypatch.setenv("PATH", str(bin_), prepend=os.pathsep)
    with pytest.raises(DeviceUnavailable, match=r"does not let us in: .*Permission denied") as caught:
        devices.open(spec)
    assert "ssh-copy-id -p" in caught.value.hint


def test_what_cannot_be_reached_is_the_devices_fault(
    machine: Loopback, spec: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    closed = spec.replace(str(machine.port), "1")
    with pytest.raises(ConnectionLost, match=r"cannot be reached: .*Connection refused"):
        devices.open(closed)
    assert execute(["measure", str(ROOT / "README.md"), "--device", closed, "--json"]) == 4
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "ConnectionLost"
    monkeypatch.setenv("PATH", str(machine.home))
    with pytest.raises(DeviceUnavailable, match="no ssh on this machine"):
        devices.open(spec)


def test_what_is_not_set_up_comes_with_its_line(
    machine: Loopback, spec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder,) = machine.home.glob(".hwnas/*")
    (folder / "onnxruntime").rename(folder / "away")
    try:
        with pytest.raises(DeviceUnavailable, match="not set up on") as caught:
            devices.open(spec)
        line = caught.value.hint.partition(": hwnas ")[2].split()
        assert execute(["devices", machine.address, "--json"]) == 0
        told = {d["name"]: d for d in json.loads(capfd.readouterr().out)["devices"]}
        assert told["onnxruntime"]["unavailable"] == "not set up: hwnas " + " ".join(line)
        assert set(told) == set(devices.names())
        assert execute([*line, "--python", sys.executable, "--json"]) == 0
        told = json.loads(capfd.readouterr().out)
        assert told["hardware"]["cpu"]
        assert told["devices"][0]["spec"] == spec
        assert told["devices"][0]["available"]
        source = folder / "onnxruntime" / "source" / "devices" / "clock.py"
        source.write_text("")  # not ours
        with pytest.raises(DeviceUnavailable, match="another version") as caught:
            devices.open(spec)
        assert "hwnas devices setup ssh://" in caught.value.hint
        assert execute([*line, "--remove", "--json"]) == 0
        assert sorted(folder.iterdir()) == [folder / "away"]
    finally:
        (folder / "away").rename(folder / "onnxruntime")


def stand_in_wheel(folder: Path, name: str) -> None:
    """A wheel that makes what is installed for these tests importable under a name that pip is asked for."""
    site = sysconfig.get_path("purelib")
    record, version = f"{name}-{metadata.version(name)}.dist-info", metadata.version(name)
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.pth", f"{site}\n")
        wheel.writestr(f"{record}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{record}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{record}/RECORD", "")


def test_set_up_with_wheels_used_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a virtual environment and pip there, and nothing fetched; when it is taken away nothing of it is left."""
    with Loopback(tmp_path / "other") as other:
        monkeypatch.setenv("PATH", str(other.bin), prepend=os.pathsep)
        spec = f"{other.address}/onnxruntime"
        line = ["devices", "setup", spec, "--json"]
        assert execute([*line, "--python", "/usr/bin/false"]) == 4
        assert "The installation failed" in json.loads(capfd.readouterr().out)["error"]["message"]
        assert execute([*line, "--wheels", str(tmp_path)]) == 2
        capfd.readouterr()
        for name in ("numpy", "onnxruntime"):
            stand_in_wheel(tmp_path, name)
        assert execute([*line, "--wheels", str(tmp_path)]) == 0
        (told,) = json.loads(capfd.readouterr().out)["devices"]
        assert told["versions"] == {"onnxruntime": metadata.version("onnxruntime")}
        with devices.open(spec) as device, device.load(network()) as session:
            assert session.run(1).shape == (1,)
        assert list(other.home.glob(".hwnas/*/onnxruntime/venv/pyvenv.cfg"))
        assert execute([*line, "--remove"]) == 0
        assert not (other.home / ".hwnas").exists()


def killed(machine: Loopback, word: str = "devices.worker", how: signal.Signals = signal.SIGKILL) -> int:
    (pid,) = machine.processes(word)
    os.kill(pid, how)
    return pid


def test_a_worker_that_dies_there_is_started_again(machine: Loopback, spec: str) -> None:
    with devices.open(spec) as device, device.load(network()) as session:
        killed(machine)
        assert session.run(3).shape == (3,)
        assert device.process.starts == 2
        killed(machine, "devices.ssh.supervisor")
        assert session.run(3).shape == (3,)
        killer = threading.Thread(target=kill_every_worker, args=(machine, over := threading.Event()))
        killer.start()
        with pytest.raises(DeviceCrashed, match=r"on ssh://.* was ended by SIGSEGV"):
            session.run(10_000_000)
        over.set()
        killer.join()


def kill_every_worker(machine: Loopback, over: threading.Event) -> None:
    while not over.wait(0.05):
        for pid in machine.processes("devices.worker"):
            os.kill(pid, signal.SIGSEGV)


def test_a_worker_that_hangs_there_is_replaced(machine: Loopback, spec: str) -> None:
    with devices.open(spec, timeout_s=1.5) as device, device.load(network()) as session:
        stopped = killed(machine, how=signal.SIGSTOP)
        assert session.run(3).shape == (3,)
        assert stopped not in machine.processes()
        hung = {killed(machine, how=signal.SIGSTOP), killed(machine, "devices.ssh.supervisor", how=signal.SIGSTOP)}
        with pytest.raises(DeviceTimedOut):
            device.process.ask({"ask": "free", "session": 0}, timeout_s=0.3)
        assert session.run(3).shape == (3,)
        assert not hung & set(machine.processes())


def test_a_connection_that_breaks_is_made_again(machine: Loopback, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []

    def note(event: Note | Progress) -> None:
        assert isinstance(event, Note)
        notes.append(event.message)

    with devices.open(spec, on_event=note) as device, device.load(network()) as session:
        for cut in (machine.connections, lambda: [device.process.pid]):
            for pid in cut():
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            assert session.run(3).shape == (3,)
        monkeypatch.setattr(worker, "BACKOFF_S", (0.0, 0.1, 0.2, 1.0, 2.0))
        machine.stop()
        threading.Timer(0.6, machine.start).start()  # it starts again
        assert session.run(3).shape == (3,)
        assert any("Trying again" in note for note in notes)
        monkeypatch.setattr(worker, "BACKOFF_S", (0.0, 0.1))
        machine.stop()
        try:
            with pytest.raises(DeviceUnavailable, match="tried 2 times in 0 s"):
                session.run(1)
        finally:
            machine.start()


def test_a_link_that_died_unnoticed_leaves_nothing_behind(
    machine: Loopback, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ssh`` stopped is a cable pulled out: neither end is told."""
    monkeypatch.setattr(worker, "SILENCE_S", 1.5)
    with devices.open(spec, timeout_s=5) as device, device.load(network()) as session:
        time.sleep(2.2)
        assert len(machine.processes("devices.worker")) == 1  # an idle host is no dead one
        pid = device.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: not machine.processes(), "the far end did not notice")
        os.kill(pid, signal.SIGCONT)
        assert session.run(3).shape == (3,)


HOST = """
import sys, devices
from devices.events import Note
def tell(event): print(event.message, flush=True)
with devices.open(sys.argv[1], wait_s=float(sys.argv[2]), on_event=tell) as device:
    print("in", flush=True)
    sys.stdin.read()
"""


def host(spec: str, wait_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", HOST, spec, str(wait_s)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_two_never_time_on_a_machine_together(machine: Loopback, spec: str) -> None:
    first = host(spec, 0)
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    with pytest.raises(DeviceUnavailable, match=rf"is measured on by \w+ on .*, process {first.pid}, since 20"):
        devices.open(spec, wait_s=0)
    second = host(spec, 30)
    assert second.stdout is not None
    assert f"process {first.pid}" in second.stdout.readline()
    assert len(machine.processes("devices.worker")) == 1
    first.kill()  # with -9: what it had there ends with it
    first.communicate()
    assert second.stdout.readline() == "in\n"
    assert len(machine.processes("devices.worker")) == 1
    second.communicate("")
    assert second.returncode == 0


def test_a_device_that_is_not_used_leaves_the_machine_to_others(
    machine: Loopback, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that trains for hours keeps its device open."""
    monkeypatch.setattr(worker, "IDLE_S", 0.6)
    with devices.open(spec) as device, device.load(network()) as session:
        wait_until(lambda: not machine.processes(), "the machine is still taken")
        assert session.run(3).shape == (3,)
        assert device.process.starts > 1


def test_devices_of_one_process_take_turns(machine: Loopback, spec: str) -> None:
    """Several devices may be profiled at the same time; on one machine their runs never overlap."""
    with devices.open(spec) as one, devices.open(spec.replace("=1", "=2")) as two:
        taken: list[tuple[float, float]] = []

        def use(device: devices.Device) -> None:
            with device.load(network(32, 32)) as session:
                for _ in range(10):
                    seconds = session.run(50).sum()
                    end = time.perf_counter()
                    taken.append((end - seconds, end))

        threads = [threading.Thread(target=use, args=(device,)) for device in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(taken) == 20
    taken.sort()
    slack_s = 2e-3
    assert all(before[1] < after[0] + slack_s for before, after in pairwise(taken))


def test_a_profile_survives_what_happens_to_its_connection(machine: Loopback, spec: str, tmp_path: Path) -> None:
    """Connections and workers are killed again and again; nothing is lost and nothing is measured twice."""
    graphs = [network(8 + i) for i in range(14)]
    cuts = [0, 0]
    timers: list[threading.Timer] = []

    def cut(which: int) -> None:
        for pid in (machine.connections(), machine.processes("devices.worker"))[which]:
            os.kill(pid, signal.SIGKILL)
            cuts[which] += 1

    def on_event(event: Note | Progress) -> None:
        """Some time into every fifth unit."""
        if isinstance(event, Progress) and event.done % 5 == 1:
            timers.append(threading.Timer(0.03 * len(timers), cut, [len(timers) % 2]))
            timers[-1].start()

    with devices.open(spec) as device:
        found = profilers.profile(device, graphs, timed=graphs[:2], path=tmp_path / "there.jsonl", on_event=on_event)
        for timer in timers:
            timer.join()
    assert min(cuts) >= 2
    units = [json.loads(line) for line in (tmp_path / "there.jsonl").read_text().splitlines()]
    lowered = [unit["graph"] for unit in units if unit.get("unit") == "lowering"]
    assert sorted(lowered) == sorted(graph.digest() for graph in graphs)
    assert isinstance(found, Profile)
    assert found.failed == {}
    assert set(found.timings) == {graph.digest() for graph in graphs[:2]}
    with devices.open("onnxruntime") as here:  # the same machine by another name goes on with the same profile
        before = (tmp_path / "there.jsonl").read_bytes()
        profilers.profile(here, graphs, timed=graphs[:2], path=tmp_path / "there.jsonl")
    assert (tmp_path / "there.jsonl").read_bytes() == before


@pytest.fixture
def full(machine: Loopback) -> Iterator[Path]:
    """The folder for temporary files there, on a disk that is full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", machine.temporary], check=True)
    try:
        (machine.temporary / "filling").write_bytes(bytes((1 << 20) - (64 << 10)))
        yield machine.temporary
    finally:
        subprocess.run(["umount", "-l", machine.temporary], check=True)


def test_a_full_disk_there_is_said_and_the_profile_goes_on_later(machine: Loopback, full: Path, tmp_path: Path) -> None:
    machine.stop()  # a server that starts now sees the disk
    machine.start()
    spec = f"{machine.address}/onnxruntime:threads=1"
    graphs = [network(64 + i) for i in range(3)]
    with devices.open(spec) as device:
        with pytest.raises(DeviceUnavailable, match=r"cannot write to|could not write"):
            profilers.profile(device, graphs, path=tmp_path / "p.jsonl")
        (full / "filling").unlink()
        assert profilers.profile(device, graphs, path=tmp_path / "p.jsonl").failed == {}


def test_an_own_ssh_configuration_is_used(
    machine: Loopback, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = ("HostName 127.0.0.1", f"Port {machine.port}", "RemoteCommand true", "LocalForward 1 localhost:1")
    alias = "\n  ".join(("Host board", *board)) + "\nHost *\n"
    bin_ = configured(machine, tmp_path, "Host *\n", alias)
    monkeypatch.setenv("PATH", str(bin_), prepend=os.pathsep)
    with devices.open("ssh://board/onnxruntime") as device:
        assert device.spec == "ssh://board/onnxruntime:threads=1"


def test_what_a_login_prints_does_not_disturb(machine: Loopback, spec: str) -> None:
    line = "ForceCommand cd"
    config = machine.folder / "server"
    was = config.read_text()
    config.write_text(was.replace(line, "ForceCommand echo Welcome; cd"))
    machine.stop()
    machine.start()
    try:
        with devices.open(spec) as device, device.load(network()) as session:
            assert session.run(1).shape == (1,)
        assert client.run(Address("127.0.0.1", None, machine.port), "true")[1] == "Welcome\n"
    finally:
        config.write_text(was)
        machine.stop()
        machine.start()
