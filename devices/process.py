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
from typing import Any, Protocol, final

from devices import errors
from devices.frames import PREFIX, Blob, decode_header, encode, header_length, inflate

_CHUNK = 1 << 20
_WORDS_BYTES, _WORDS_S = 2000, 5.0
Reply = tuple[dict[str, Any], list[bytes]]


def local_command(runtime: str) -> list[str]:
    """The command that starts a worker on this machine."""
    return [sys.executable, "-P", "-m", "devices.worker", runtime]


class Worker(Protocol):
    """A worker that is started when it is first asked, and again when it is asked after its end.

    Attributes:
        starts: how many times it was started; sessions of an earlier start are gone.
    """

    starts: int

    @property
    def pid(self) -> int | None:
        """Id of the process on this machine, or None if it is not running."""

    def ask(self, header: Mapping[str, Any], blobs: Sequence[Blob] = (), *, timeout_s: float) -> Reply:
        """Send one request and wait for its answer. ``timeout_s`` is how long the worker may stay silent.

        Raises:
            DeviceCrashed: the worker ended. It is started again by the next request.
            DeviceTimedOut: it was silent for too long and was killed; likewise.
            ConnectionLost: the machine that it runs on cannot be reached any more; likewise.
            HwnasError: what the worker says about this request, as the class it named.
        """

    def kill(self) -> None:
        """End the worker and whatever it started. Idempotent."""


@final
class WorkerProcess:
    """A :class:`Worker` on this machine."""

    def __init__(self, command: Sequence[str]) -> None:
        self.starts = 0
        self._command = list(command)
        self._process: Conversation | None = None

    @property
    def pid(self) -> int | None:
        """See :class:`Worker`."""
        return self._process.pid if self._process is not None else None

    def ask(self, header: Mapping[str, Any], blobs: Sequence[Blob] = (), *, timeout_s: float) -> Reply:
        """See :class:`Worker`."""
        if self._process is None or self._process.pid is None:
            self.kill()
            self._process = Conversation(self._command, {**os.environ, "PYTHONPATH": source_root()})
            self.starts += 1
        try:
            self._process.send(encode(header, blobs), timeout_s)
            reply, answer = self._process.receive(timeout_s)
        except (BrokenPipeError, EOFError) as error:
            code, said = self._process.last_words()
            self.kill()
            raise crashed(code, said) from error
        except BaseException:  # an interrupted conversation cannot be taken up again
            self.kill()
            raise
        raise_failure(reply)
        return reply, answer

    def kill(self) -> None:
        """See :class:`Worker`."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()


@final
class Conversation:
    """A process that is talked to in frames (:mod:`devices.frames`)."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)

    @property
    def pid(self) -> int | None:
        """Process id, or None if it has ended."""
        return self._process.pid if self._process.poll() is None else None

    def send(self, parts: Sequence[Blob], timeout_s: float) -> None:
        """Write a frame.

        Raises:
            BrokenPipeError: the process ended.
            DeviceTimedOut: it took nothing for ``timeout_s``.
        """
        for part in parts:
            rest = memoryview(part)
            while rest:
                _wait(self._stdin.fileno(), select.POLLOUT, timeout_s)
                rest = rest[os.write(self._stdin.fileno(), rest[:_CHUNK]) :]

    def receive(self, timeout_s: float) -> Reply:
        """Read a frame.

        Raises:
            EOFError: the process ended.
            DeviceTimedOut: it said nothing for ``timeout_s``.
        """
        length = header_length(self._read(PREFIX, timeout_s))
        header, lengths = decode_header(self._read(length, timeout_s))
        return inflate(header, [self._read(n, timeout_s) for n in lengths])

    def skip_to(self, marker: bytes, limit: int, timeout_s: float) -> None:
        """Read up to the end of ``marker``; what is before it is not ours.

        Raises:
            EOFError: the process ended, or wrote more than ``limit`` bytes before.
            DeviceTimedOut: it said nothing for ``timeout_s``.
        """
        seen = b""
        while not seen.endswith(marker):
            if len(seen) > limit:
                self._process.kill()
                raise EOFError
            seen += self._read(1, timeout_s)

    def send_if_room(self, frame: Blob) -> None:
        """Write a frame of less than 512 bytes, whole, if the pipe has room for it just now and somebody reads it."""
        poller = select.poll()
        poller.register(self._stdin.fileno(), select.POLLOUT)
        if poller.poll(0):
            with suppress(BrokenPipeError, BlockingIOError):
                os.write(self._stdin.fileno(), frame)

    def last_words(self) -> tuple[int, str]:
        """Wait for its end, which is near. Its status, negative if by a signal, and what it last wrote to standard error."""
        try:
            code = self._process.wait(_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _WORDS_BYTES))
        return code, self._stderr.read().decode(errors="replace").strip()

    def kill(self) -> None:
        """End the process and whatever it started. Idempotent."""
        with suppress(ProcessLookupError):  # it is gone already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()

    def _read(self, length: int, timeout_s: float) -> bytes:
        parts = []
        while length:
            _wait(self._stdout.fileno(), select.POLLIN, timeout_s)
            part = os.read(self._stdout.fileno(), min(length, _CHUNK))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def source_root() -> str:
    """The folder that holds this package."""
    return str(Path(__file__).resolve().parent.parent)


def raise_failure(reply: Mapping[str, Any]) -> None:
    """Raise what a worker answered instead of an answer, if it did."""
    if "error" in reply:
        failure = reply["error"]
        raise getattr(errors, failure["kind"])(failure["message"], hint=failure["hint"])


def crashed(code: int, said: str, where: str = "") -> errors.DeviceCrashed:
    """The error for a worker that ended, from its status and what it wrote."""
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    hint = "It may have run out of memory." if code == -signal.SIGKILL else ""
    return errors.DeviceCrashed(f"The worker process{where} {how}." + (f" It said: {said}" if said else ""), hint=hint)


def _wait(descriptor: int, event: int, timeout_s: float) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    if not poller.poll(timeout_s * 1000):
        raise errors.DeviceTimedOut(
            f"The worker process did not answer for {timeout_s:g} s and was killed.",
            hint="If the model is that slow, allow more time.",
        )
