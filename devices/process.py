"""The host's side of a worker process: start it, ask it, notice that it died or hangs, end it without leaving orphans."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from devices import errors
from devices.frames import PREFIX, Blob, decode_header, encode, header_length

_CHUNK = 1 << 20


def local_command(runtime: str) -> list[str]:
    """The command that starts a worker on this machine."""
    return [sys.executable, "-P", "-m", "devices.worker", runtime]


class WorkerProcess:
    """A worker that is started when it is first asked, and again when it is asked after its end.

    Attributes:
        starts: how many times it was started; sessions of an earlier start are gone.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.starts = 0
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def ask(
        self, header: Mapping[str, Any], blobs: Sequence[Blob] = (), *, timeout_s: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Send one request and wait for its answer. ``timeout_s`` is how long the worker may stay silent.

        Raises:
            DeviceCrashed: the worker ended. It is started again by the next request.
            DeviceTimedOut: it was silent for too long and was killed; likewise.
            HwnasError: what the worker says about this request, as the class it named.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            self._send(encode(header, blobs), timeout_s)
            reply, answer = self._receive(timeout_s)
        except (BrokenPipeError, EOFError) as error:
            raise self._crashed() from error
        except BaseException:  # an interrupted conversation cannot be taken up again
            self.kill()
            raise
        if "error" in reply:
            failure = reply["error"]
            raise getattr(errors, failure["kind"])(failure["message"], hint=failure["hint"])
        return reply, answer

    @property
    def pid(self) -> int | None:
        """Process id, or None if it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def kill(self) -> None:
        """End the worker and whatever it started. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):  # it is gone already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, self._stderr):
            if pipe is not None:
                pipe.close()

    def _start(self) -> None:
        self.kill()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill
        root = str(Path(__file__).resolve().parent.parent)
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": root},
            bufsize=0,
            start_new_session=True,
        )
        self.starts += 1
        os.set_blocking(self._stdin, False)

    @property
    def _stdin(self) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    @property
    def _stdout(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def _send(self, parts: Sequence[Blob], timeout_s: float) -> None:
        for part in parts:
            rest = memoryview(part)
            while rest:
                _wait(self._stdin, select.POLLOUT, timeout_s)
                rest = rest[os.write(self._stdin, rest[:_CHUNK]) :]

    def _receive(self, timeout_s: float) -> tuple[dict[str, Any], list[bytes]]:
        length = header_length(self._read(PREFIX, timeout_s))
        header, lengths = decode_header(self._read(length, timeout_s))
        return header, [self._read(n, timeout_s) for n in lengths]

    def _read(self, length: int, timeout_s: float) -> bytes:
        parts = []
        while length:
            _wait(self._stdout, select.POLLIN, timeout_s)
            part = os.read(self._stdout, min(length, _CHUNK))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _crashed(self) -> errors.DeviceCrashed:
        assert self._process is not None
        assert self._stderr is not None
        code = self._process.wait()
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 2000))
        said = self._stderr.read().decode(errors="replace").strip()
        self.kill()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        hint = "It may have run out of memory." if code == -signal.SIGKILL else ""
        return errors.DeviceCrashed(f"The worker process {how}." + (f" It said: {said}" if said else ""), hint=hint)


def _wait(descriptor: int, event: int, timeout_s: float) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    if not poller.poll(timeout_s * 1000):
        raise errors.DeviceTimedOut(
            f"The worker process did not answer for {timeout_s:g} s and was killed.",
            hint="If the model is that slow, allow more time.",
        )
