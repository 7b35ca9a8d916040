"""The lock of a machine elsewhere: who times on it does so alone. All accounts of the machine share it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from devices.errors import DeviceUnavailable

PATH = Path("/tmp", "hwnas.lock")  # noqa: S108 - one place for all accounts; nothing that is read there is trusted
_RETRY_S = 0.5
_CONTENT_BYTES = 1 << 12


@dataclass(frozen=True)
class Holder:
    """Who has the machine.

    Attributes:
        token: of the process at the other end; all its connections share the lock, because it asks one thing at a time.
        who: account, machine and process there, for people.
        since: seconds since the epoch, by the clock of the machine with the lock.
    """

    token: str
    who: str
    since: float

    def __str__(self) -> str:
        return f"{self.who}, since {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(self.since))}"


def take(token: str, who: str, *, wait_s: float, on_wait: Callable[[Holder | None], None], path: Path = PATH) -> int:
    """A descriptor that holds the lock until it, and every copy of it, is closed. ``on_wait`` hears again and again who has it.

    Raises:
        DeviceUnavailable: somebody else still has it after ``wait_s``, or the file cannot be used.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            descriptor = _open(path)
        except OSError as error:
            raise DeviceUnavailable(f"The machine's lock {path} cannot be used: {error.strerror}.") from error
        if _took(descriptor, token, who, path):
            return descriptor
        holder = _holder(descriptor)
        os.close(descriptor)
        if time.monotonic() >= end:
            raise DeviceUnavailable(
                f"The machine is measured on by {holder or 'somebody else'}.",
                hint="Two would disturb each other. Repeat the same command when that has ended.",
            )
        on_wait(holder)
        time.sleep(min(_RETRY_S, max(0.0, end - time.monotonic())))


def _open(path: Path) -> int:
    """Of whoever made it: creating is tried only where there is none, as systems forbid it on files of others."""
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL):
        try:
            descriptor = os.open(path, flags | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        except FileExistsError:  # made by somebody in between
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        if flags & os.O_CREAT:
            os.fchmod(descriptor, 0o666)
        return descriptor
    raise FileNotFoundError(path)


def _took(descriptor: int, token: str, who: str, path: Path) -> bool:
    """The first of a token takes the lock alone, to write down whose it is; then its connections share it."""
    if _flocked(descriptor, fcntl.LOCK_EX):
        if not _still_there(descriptor, path):
            return False
        content = json.dumps(asdict(Holder(token, who, time.time()))).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content[:_CONTENT_BYTES], 0)
    if not _flocked(descriptor, fcntl.LOCK_SH):
        return False
    holder = _holder(descriptor)
    return holder is not None and holder.token == token and _still_there(descriptor, path)


def _flocked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_there(descriptor: int, path: Path) -> bool:
    """Whether the file that is locked is the one that others find."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> Holder | None:
    try:
        value = json.loads(os.pread(descriptor, _CONTENT_BYTES, 0))
        return Holder(str(value["token"]), str(value["who"])[:200], float(value["since"]))
    except (ValueError, KeyError, TypeError):
        return None
