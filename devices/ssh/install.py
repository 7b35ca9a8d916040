"""Runs on the machine elsewhere while it is being set up, with the standard library alone:
``python3 install.py FOLDER DIGEST RUNTIME [PACKAGE …]``. Without packages, the Python that runs it has the runtime.

Any Python from 3.7 on can read it, to say that it is too old. It checks what has arrived in ``FOLDER.arriving``, makes the
virtual environment, and puts everything in its place at the end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys

NEEDS = (3, 11)


def main(folder: str, digest: str, runtime: str, *packages: str) -> None:
    """Set up the folder."""
    if sys.version_info < NEEDS:
        found = ".".join(str(part) for part in sys.version_info[:2])
        sys.exit(f"{sys.executable} is Python {found}; 3.11 or newer is needed. Name another with --python.")
    arriving = folder + ".arriving"
    if _digest(os.path.join(arriving, "source")) != digest:
        sys.exit("What arrived is not what was sent. Repeat the same command.")
    python = sys.executable
    if packages:
        _make_environment(arriving, packages)
        python = os.path.abspath(os.path.join(folder, "venv", "bin", "python"))
    source = os.path.abspath(os.path.join(folder, "source"))
    run = os.path.join(arriving, "run")
    with open(run, "w") as file:
        file.write(f'#!/bin/sh\nPYTHONPATH="{source}" exec "{python}" -P -m devices.ssh.supervisor {runtime} "$@"\n')
    os.chmod(run, 0o755)  # noqa: S103 - the folder around it is the account's own
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(arriving, folder)


def _make_environment(arriving: str, packages: tuple[str, ...]) -> None:
    """Its scripts are tied to this path, but its Python, the only one that is used, can be moved."""
    environment, wheels = os.path.join(arriving, "venv"), os.path.join(arriving, "wheels")
    _run([sys.executable, "-m", "venv", environment])
    sent = ["--no-index", "--find-links", wheels] if os.path.isdir(wheels) else []
    pip = [os.path.join(environment, "bin", "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    _run([*pip, *sent, *packages])
    shutil.rmtree(wheels, ignore_errors=True)


def _run(command: list[str]) -> None:
    status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: S603 - our own command
    if status:
        sys.exit(status)


def _digest(root: str) -> str:
    """As :func:`devices.ssh.source.digest`."""
    names = []
    for where, _, found in os.walk(root):
        names += [
            os.path.relpath(os.path.join(where, n), root).replace(os.sep, "/") for n in found if n.endswith(".py")
        ]
    sha = hashlib.sha256()
    for name in sorted(names):
        with open(os.path.join(root, name), "rb") as file:
            content = file.read()
        sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
