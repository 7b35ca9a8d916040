"""The far end of a connection: ``python -P -m devices.ssh.supervisor RUNTIME serve|describe``, run by what was set up there.

It takes the machine's lock, starts the worker, and hands it the requests that come in, with models out of the store where the
host need not send them. Answers go from the worker to the host directly. It stays responsive whatever the worker does, and ends
it when the connection ends, when the host is silent for too long, and when another connection takes this one's place.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, BinaryIO, NoReturn, final

import devices
from devices import plugins, runtimes
from devices.errors import DeviceUnavailable, HwnasError
from devices.frames import PREFIX, Blob, decode_header, encode, header_length, inflate
from devices.hardware import hardware
from devices.ssh import lock, source
from devices.ssh.store import ModelStore
from devices.worker import claim_pipes, end_with_host, failure

MARKER = b"\0hwnas\n"  # login shells may print something before
SILENT = 250  # status of an end because of silence
OPENING_S = 30.0
FORWARDING_S = 300.0
ASKED_S, REPLACED_S = 1.0, 5.0
FOLDER = source.PACKAGE.parent.parent  # of this runtime: beside the source are the models


def main(runtime: str, task: str) -> None:
    """Do what the first argument of the line that was set up says."""
    if task == "describe":
        (status,) = (s for s in devices.describe() if s.name == runtime)
        sys.stdout.write(json.dumps({"status": asdict(status), "hardware": hardware(), "source": source.digest()}))
    elif task == "serve":
        serve(runtime)
    else:
        raise ValueError(f"unknown task {task!r}")


def serve(runtime: str) -> NoReturn:
    """Answer one host until it goes away."""
    pipe, sink = claim_pipes()
    _write(sink, [MARKER])
    host = _Host(pipe.fileno())
    life = _Life(host)
    signal.signal(signal.SIGTERM, lambda *_: life.end(SILENT))
    end_with_host(pipe, life.end)
    opening, _ = host.read()
    host.patience_s += opening["wait_s"]
    host.silence_s = opening["silence_s"]
    try:
        present = _replace(opening["connection"])
        held = _admitted(runtime, opening, sink)
    except HwnasError as error:
        _write(sink, encode(failure(error)))
        life.end(0)
    except OSError as error:
        _write(sink, encode(failure(DeviceUnavailable(f"The machine cannot do its part: {error}"))))
        life.end(0)
    with present:
        store = ModelStore(FOLDER / "models")
        _write(sink, encode({"machine": _machine(), "models": store.digests()}))
        worker = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-P", "-m", "devices.worker", runtime],
            stdin=subprocess.PIPE,
            stdout=sink,
            pass_fds=[held],  # so that the lock is held as long as any of the two is there
            process_group=0,
        )
        life.guards(worker)
        assert worker.stdin is not None
        _forward(host, worker.stdin, sink, store)


def _forward(host: _Host, worker: IO[bytes], sink: BinaryIO, store: ModelStore) -> NoReturn:
    """Hand requests to the worker, with their models."""
    while True:
        header, blobs = host.read()
        if header["ask"] == "alive":
            continue
        if "model" in header and not _complete(header, blobs, store):
            _write(sink, encode({"missing": header["model"]}))
            continue
        host.patience_s = FORWARDING_S
        with suppress(BrokenPipeError):  # the worker ended, and its status tells
            _write(worker, encode({**header, "compressed": True}, blobs))


@final
class _Host:
    """Reads what the host sends.

    Attributes:
        silence_s: how long nothing may come, as a rule, before the host counts as gone.
        patience_s: the same just now.
        heard: when something came last.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.silence_s = self.patience_s = OPENING_S
        self.heard = time.monotonic()

    def read(self) -> tuple[dict[str, Any], list[Blob]]:
        """One frame."""
        self.heard, self.patience_s = time.monotonic(), self.silence_s
        header, lengths = decode_header(self._take(header_length(self._take(PREFIX))))
        inflated, blobs = inflate(header, [self._take(n) for n in lengths])
        return inflated, list[Blob](blobs)

    def _take(self, length: int) -> bytearray:
        taken = bytearray(length)
        rest = memoryview(taken)
        while rest:
            got = os.readv(self._descriptor, [rest])
            if not got:
                time.sleep(OPENING_S)  # the host is gone, and the watch ends this process
            self.heard = time.monotonic()
            rest = rest[got:]
        return taken


@final
class _Life:
    """Ends this process, and its worker before it."""

    def __init__(self, host: _Host) -> None:
        self._host = host
        self._worker: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._watch_host, daemon=True).start()

    def guards(self, worker: subprocess.Popen[bytes]) -> None:
        """From now on the worker's end is this process's end, and the reverse."""
        self._worker = worker
        threading.Thread(target=self._watch_worker, args=(worker,), daemon=True).start()

    def end(self, status: int) -> NoReturn:
        """Leave nothing behind."""
        if self._worker is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)
            self._worker.wait()
        os._exit(status)

    def _watch_host(self) -> None:
        while time.monotonic() - self._host.heard < self._host.patience_s:
            time.sleep(1)
        self.end(SILENT)

    def _watch_worker(self, worker: subprocess.Popen[bytes]) -> None:
        code = worker.wait()
        self.end(code if code >= 0 else 128 - code)


def _admitted(runtime: str, opening: dict[str, Any], sink: BinaryIO) -> int:
    """The descriptor of the machine's lock.

    Raises:
        DeviceUnavailable: this is another version than the host's, the runtime cannot run here, or somebody else has the machine.
    """
    if opening["source"] != source.digest():
        raise DeviceUnavailable("What is set up there is of another version of hwnas.", hint=opening["setup"])
    if reason := plugins.load(runtimes, runtime, kind="device").unavailable():
        raise DeviceUnavailable(f"Device {runtime!r} is {reason.partition(':')[0]} there.", hint=opening["setup"])

    def tell(holder: lock.Holder | None) -> None:
        _write(sink, encode({"held": str(holder or "somebody else")}))

    return lock.take(opening["token"], opening["who"], wait_s=opening["wait_s"], on_wait=tell)


def _complete(header: dict[str, Any], blobs: list[Blob], store: ModelStore) -> bool:
    """Put the model where the host left it out, or keep it; false if it is not there."""
    if header.pop("stored"):
        model = store.get(header["model"])
        if model is None:
            return False
        blobs.insert(0, model)
    else:
        store.put(header["model"], blobs[0])
    return True


def _replace(connection: str) -> BinaryIO:
    """End what is left of an earlier connection for the same device: a link can be dead at one end only. The file that is
    returned says, as long as it is open, that this one is there."""
    folder = FOLDER / "connections"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        with suppress(FileNotFoundError), path.open("rb") as file:
            start = time.monotonic()
            while not (free := _locked(file)) and path.name == connection and time.monotonic() < start + REPLACED_S:
                pid, asked = os.pread(file.fileno(), 20, 0), time.monotonic() > start + ASKED_S
                if pid.isdigit():
                    os.kill(int(pid), signal.SIGKILL if asked else signal.SIGTERM)
                time.sleep(0.05)
            if free:
                path.unlink()
    mine = (folder / connection).open("wb", buffering=0)
    _locked(mine)
    mine.write(str(os.getpid()).encode())
    return mine


def _locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _machine() -> str:
    """Which machine this is, until it starts again."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else os.uname().nodename


def _write(sink: IO[bytes], parts: list[Any]) -> None:
    for part in parts:
        sink.write(part)
    sink.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
