"""The system's ``ssh``, with the user's own configuration, keys and known hosts. It never asks anything."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from typing import IO

from devices.errors import ConnectionLost, DeviceUnavailable
from devices.ssh.address import Address

FAILED = 255  # the status with which ssh says that it failed itself
CONNECT_S = 15
ALIVE_S, ALIVE_TIMES = 5, 3

_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": CONNECT_S,
    "ServerAliveInterval": ALIVE_S,
    "ServerAliveCountMax": ALIVE_TIMES,
    "ClearAllForwardings": "yes",
    "RemoteCommand": "none",
    "PermitLocalCommand": "no",
}


def command(address: Address, remote: str) -> list[str]:
    """The command line that runs ``remote``, a line for the login shell there.

    Raises:
        DeviceUnavailable: there is no ``ssh`` here.
    """
    program = shutil.which("ssh")
    if program is None:
        raise DeviceUnavailable(
            "There is no ssh on this machine.", hint="Install OpenSSH's client, e.g. apt-get install openssh-client."
        )
    options = [part for name, value in _OPTIONS.items() for part in ("-o", f"{name}={value}")]
    return [program, "-Tax", *options, *address.arguments, remote]


def run(address: Address, remote: str, *, stdin: IO[bytes] | None = None) -> tuple[int, str, str]:
    """Run a command there: its status, and what it wrote to standard output and standard error.

    Raises:
        DeviceUnavailable: the machine cannot be reached; see :func:`failure`.
    """
    done = subprocess.run(  # noqa: S603 - the system's ssh, arguments as a list
        command(address, remote), stdin=stdin or subprocess.DEVNULL, capture_output=True, check=False
    )
    out, said = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace").strip()
    if done.returncode == FAILED or done.returncode < 0:
        raise failure(address, said)
    return done.returncode, out, said


def failure(address: Address, said: str) -> DeviceUnavailable:
    """Why ``ssh`` failed, from what it wrote; :class:`ConnectionLost` if trying again may help."""
    login = _line("ssh", address.arguments)
    if "Host key verification failed" in said:
        if "IDENTIFICATION HAS CHANGED" in said:
            forget = re.search(r"^\s*(ssh-keygen .*-R .*)$", said, re.MULTILINE)
            line = forget[1].strip() if forget else _line("ssh-keygen", ["-R", _known_as(address)])
            return DeviceUnavailable(
                f"The host key of {address} is not the one that is known: somebody may be listening in, or the machine was "
                "set up anew.",
                hint=f"Only if you know that it was: {line}\nand then, to see and accept its new key: {login} true",
            )
        return DeviceUnavailable(
            f"The host key of {address} is not known.", hint=f"See the key's fingerprint and accept it: {login} true"
        )
    if "Permission denied" in said or "Too many authentication failures" in said:
        return DeviceUnavailable(
            f"{address} does not let us in: {_last(said)}",
            hint=f"A key is needed, without a password being asked. Put yours there: {_line('ssh-copy-id', address.arguments)}\n"
            f"(one with a passphrase is unlocked by ssh-add), and try: {login} true",
        )
    return ConnectionLost(
        f"{address} cannot be reached: {_last(said) or 'the connection ended'}",
        hint=f"See whether this works: {login} true",
    )


def _known_as(address: Address) -> str:
    return f"[{address.host}]:{address.port}" if address.port else address.host


def _line(program: str, arguments: Sequence[str]) -> str:
    return shlex.join([program, *arguments])


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
