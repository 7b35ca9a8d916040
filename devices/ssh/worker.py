"""This end of a connection to a machine elsewhere: a :class:`devices.process.Worker` behind ``ssh``."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, final
from uuid import uuid4

from devices.errors import ConnectionLost, DeviceCrashed, DeviceError, DeviceUnavailable, HwnasError, ProvenanceMismatch
from devices.events import Note, OnEvent
from devices.frames import WITH_MODEL, Blob, deflate, encode
from devices.journal import differences
from devices.process import Conversation, Reply, crashed, raise_failure
from devices.ssh import client, source
from devices.ssh.address import Address
from devices.ssh.supervisor import MARKER, SILENT
from devices.ssh.target import run_line, setup_line

BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Before each attempt to connect again; in all enough for a machine to start again."""
IDLE_S = 60.0
"""After which a connection that nobody asks anything is given up, so that others can have the machine meanwhile."""
WAIT_AGAIN_S = 3600.0
"""How long to wait for a machine that was given up, or lost, and that somebody else has taken."""
SILENCE_S = 30.0
"""After which the far end takes this process for gone; it is told several times in between that it is not."""
_GREETING_S = 60.0
_CRASHES = 2
_NOISE_BYTES = 1 << 16
_NOT_FOUND = 127  # a shell's status
_TOKEN = uuid4().hex  # of this process
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by machine, of the devices of this process


@final
class SshWorker:
    """A :class:`devices.process.Worker` elsewhere.

    Attributes:
        starts: how many times it was started.
    """

    def __init__(self, address: Address, runtime: str, *, wait_s: float, on_event: OnEvent) -> None:
        self.starts = 0
        self._address = address
        self._runtime = runtime
        self._wait_s = wait_s
        self._on_event = on_event
        self._id = uuid4().hex
        self._line: Conversation | None = None
        self._sending = threading.Lock()
        self._asked = 0.0
        self._stored: set[str] = set()
        self._machine = ""
        self._identity: dict[str, Any] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of ``ssh``."""
        return self._line.pid if self._line is not None else None

    def ask(self, header: Mapping[str, Any], blobs: Sequence[Blob] = (), *, timeout_s: float) -> Reply:
        """See :class:`devices.process.Worker`."""
        if self.pid is None:
            self._connect(timeout_s)
        with _turns[self._machine]:
            reply, answer = self._exchange(header, blobs, timeout_s)
        raise_failure(reply)
        return reply, answer

    def kill(self) -> None:
        """See :class:`devices.process.Worker`. The far end ends the worker as soon as the connection is closed."""
        with self._sending:
            line, self._line = self._line, None
            if line is not None:
                line.kill()

    def _connect(self, timeout_s: float) -> None:
        """Connect; a connection that was there before is tried for again and again, for some minutes. A worker may die meanwhile,
        for it holds no model yet, but not every time."""
        if not self.starts:
            self._connect_once(timeout_s)
            return
        crashes = 0
        for wait_s in BACKOFF_S:
            time.sleep(wait_s)
            try:
                self._connect_once(timeout_s)
            except (ConnectionLost, DeviceCrashed) as error:
                crashes += isinstance(error, DeviceCrashed)
                if crashes > _CRASHES:
                    raise
                lost: DeviceError = error
                self._on_event(Note(f"{error.message.rstrip('.')}. Trying again."))
            else:
                return
        raise DeviceUnavailable(
            f"{lost.message.rstrip('.')}; it was tried {len(BACKOFF_S)} times in {sum(BACKOFF_S):.0f} s.",
            hint="Repeat the same command when the machine is back: what it finished is kept.",
        )

    def _connect_once(self, timeout_s: float) -> None:
        self.kill()
        line = self._line = Conversation(client.command(self._address, run_line(self._runtime, "serve")))
        try:
            greeting = self._greeted(line)
        except (BrokenPipeError, EOFError) as error:
            raise self._refused() from error
        except BaseException:
            self.kill()
            raise
        self._machine, self._stored = greeting["machine"], set(greeting["models"])
        self.starts += 1
        threading.Thread(target=self._show_life, args=(line,), daemon=True).start()
        with _turns[self._machine]:
            reply, _ = self._exchange({"ask": "hello"}, (), max(timeout_s, _GREETING_S))
        raise_failure(reply)
        self._identity = self._identity or reply
        if fields := differences(reply, self._identity):
            self.kill()
            raise ProvenanceMismatch(
                f"After the connection broke, {self._address}", fields, hint="Begin anew: it is another device now."
            )

    def _greeted(self, line: Conversation) -> dict[str, Any]:
        """Ask for the machine. Returns what the far end says when it is ours."""
        line.skip_to(MARKER, _NOISE_BYTES, _GREETING_S)
        wait_s = max(self._wait_s, WAIT_AGAIN_S) if self.starts else self._wait_s
        opening = {
            "token": _TOKEN,
            "who": f"{_account()} on {platform.node()}, process {os.getpid()}",
            "connection": self._id,
            "wait_s": wait_s,
            "silence_s": SILENCE_S,
            "source": source.digest(),
            "setup": f"Set it up again: {setup_line(self._address, self._runtime)}",
        }
        line.send(encode(opening), _GREETING_S)
        told = ""
        while True:
            reply, _ = line.receive(_GREETING_S)
            raise_failure(reply)
            if "held" not in reply:
                return reply
            if told != (told := reply["held"]):
                self._on_event(Note(f"{self._address} is measured on by {told}; waiting up to {wait_s:g} s."))
            line.send(encode({"ask": "alive"}), _GREETING_S)

    def _exchange(self, header: Mapping[str, Any], blobs: Sequence[Blob], timeout_s: float) -> Reply:
        """One request and its answer. A model that is there already stays here."""
        line = self._line
        if line is None:
            raise ConnectionLost(f"The connection to {self._address} is closed.")
        self._asked = time.monotonic()
        digest = hashlib.sha256(blobs[0]).hexdigest() if header["ask"] in WITH_MODEL else None
        try:
            while True:
                known = digest in self._stored
                marked = header if digest is None else {**header, "model": digest, "stored": known}
                parts = encode(*deflate(marked, blobs[1:] if known else blobs))
                with self._sending:
                    line.send(parts, timeout_s)
                reply, answer = line.receive(timeout_s)
                if "missing" not in reply:
                    break
                self._stored.discard(reply["missing"])
        except (BrokenPipeError, EOFError) as error:
            raise self._ended() from error
        except BaseException:  # an interrupted conversation cannot be taken up again
            self.kill()
            raise
        self._asked = time.monotonic()
        if digest is not None:
            self._stored.add(digest)
        return reply, answer

    def _show_life(self, line: Conversation) -> None:
        """Tell the far end from time to time that this process is there, until nobody has asked anything for long."""
        (alive,) = encode({"ask": "alive"})
        turn = _turns[self._machine]
        while True:
            time.sleep(min(SILENCE_S, IDLE_S) / 6)
            if time.monotonic() - self._asked > IDLE_S and turn.acquire(blocking=False):
                if self._line is line:
                    self.kill()
                turn.release()
            with self._sending:
                if self._line is not line or line.pid is None:
                    return
                line.send_if_room(alive)

    def _refused(self) -> HwnasError:
        """Why there is no worker."""
        code, said = self._last_words()
        if code in (client.FAILED, SILENT) or code < 0:
            return client.failure(self._address, said)
        return DeviceUnavailable(
            f"{self._runtime} is not set up on {self._address}." + (f" It said: {said}" if code != _NOT_FOUND else ""),
            hint=f"Set it up: {setup_line(self._address, self._runtime)}",
        )

    def _ended(self) -> HwnasError:
        """Why there is no worker any more."""
        code, said = self._last_words()
        if code in (client.FAILED, SILENT) or code < 0:
            return ConnectionLost(f"The connection to {self._address} broke" + (f": {said}" if said else ""))
        return crashed(128 - code if code > 128 else code, said, f" on {self._address}")

    def _last_words(self) -> tuple[int, str]:
        assert self._line is not None
        words = self._line.last_words()
        self.kill()
        return words


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run accounts that have no name
        return f"account {os.getuid()}"
