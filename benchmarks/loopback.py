"""A machine elsewhere on this one: an OpenSSH server on the loopback with keys, configuration and a home of its own in a folder.

Needs Debian's ``openssh-server``; anybody may start it. Run by root it has a lock of its own as well, as another machine would.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from devices.ssh import lock

_SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
ForceCommand cd {home} && HOME={home} TMPDIR={temporary} exec sh -c "$SSH_ORIGINAL_COMMAND"
"""
_CLIENT = """
Host *
  IdentityFile {folder}/client
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
"""


class Loopback:
    """A context manager: the server runs while it is open, and the user's ``ssh`` finds its key and host key.

    Attributes:
        address: ``ssh://…`` of it.
        home: the account's home there; processes of it are known by it.
        temporary: the folder for temporary files there.
        bin: holds an ``ssh`` that uses the configuration of this folder; to be put in front of ``PATH``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.temporary, self.bin = (folder / name for name in ("home", "temporary", "bin"))
        for made in (self.home, self.temporary, self.bin):
            made.mkdir(parents=True)
        for key in ("host", "client"):
            make = ["/usr/bin/env", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(make, check=True)  # noqa: S603 - the system's own
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"
        public = (folder / "host.pub").read_text().rpartition(" ")[0]
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n")
        values = {"folder": folder, "port": self.port, "home": self.home, "temporary": self.temporary}
        (folder / "server").write_text(_SERVER.format(**values))
        (folder / "configuration").write_text(_CLIENT.format(**values))
        ssh = self.bin / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/configuration "$@"\n')
        ssh.chmod(0o755)
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        command = [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "server")]
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
            mine = self.folder / "lock"
            for path in (mine, lock.PATH):
                path.touch()
            command = [
                "unshare",
                "--mount",
                "sh",
                "-c",
                'mount --bind "$0" "$1" && shift && exec "$@"',
                str(mine),
                str(lock.PATH),
                *command,
            ]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 - the system's own
                command, stdin=subprocess.DEVNULL, stderr=log
            )
        deadline = time.monotonic() + 10
        while True:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if time.monotonic() > deadline or self._server.poll() is not None:
                raise RuntimeError(f"sshd did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """As if the machine went off: the server ends, then every connection and whatever runs there."""
        if self._server is not None:
            sessions = self.connections()
            self._server.kill()
            self._server.wait()
            for pid in (*sessions, *self.processes()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._server = None

    def connections(self) -> list[int]:
        """Process ids of the server's ends of the connections there are."""
        assert self._server is not None
        return [
            int(pid) for pid in Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        ]

    def processes(self, word: str = "") -> list[int]:
        """Process ids of what runs there with ``word`` in its command line."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended, or is somebody else's
                environment, line = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
                if f"HOME={self.home}\0".encode() in environment and word.encode() in line:
                    found.append(int(process.name))
        return found
