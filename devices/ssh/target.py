"""What hwnas puts on a machine elsewhere, takes away again, and finds there: ``~/.hwnas/VERSION/RUNTIME``, nothing else.

The folder holds ``source`` (this package), ``venv`` (unless a Python was named that has the runtime), ``run`` (starts the one
with the other), and later ``models`` and ``connections``.
"""

from __future__ import annotations

import io
import json
import shlex
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from devices import plugins, runtimes
from devices.device import DeviceStatus
from devices.errors import DeviceUnavailable
from devices.events import Note, OnEvent, ignore
from devices.ssh import client, source
from devices.ssh.address import Address
from devices.versions import versions

PYTHON = "python3"


def folder(runtime: str) -> str:
    """From the account's home, where ssh starts."""
    return f".hwnas/{versions(['hwnas']).get('hwnas', 'source')}/{runtime}"


def run_line(runtime: str, task: str) -> str:
    """The line for the login shell there; every shell understands it."""
    return f"exec {folder(runtime)}/run {task}"


def setup_line(address: Address, runtime: str) -> str:
    """The command that sets a runtime up, for people."""
    return f"hwnas devices setup {address}/{runtime}"


def setup(
    address: Address,
    runtime: str,
    *,
    python: str | None = None,
    wheels: Path | None = None,
    on_event: OnEvent = ignore,
) -> DeviceStatus:
    """Put a runtime and the worker on a machine; what is there of the same version is replaced.

    Args:
        address: the machine.
        runtime: e.g. ``onnxruntime``.
        python: an interpreter there that has numpy and the runtime, e.g. one that came with the board; without it a virtual
            environment is made, and its pip fetches them.
        wheels: a folder here with the wheels of both, for a machine that fetches nothing itself.
        on_event: told of each step.

    Returns:
        What can run there now.

    Raises:
        ValueError: no such runtime, or no wheels in the folder.
        DeviceUnavailable: the machine cannot be reached, or refuses a step, with its own words.
    """
    packages = plugins.load(runtimes, runtime, kind="device").packages
    if wheels is not None and not list(wheels.glob("*.whl")):
        raise ValueError(
            f"{wheels} holds no wheels; fetch them with pip download --dest {wheels} numpy {' '.join(packages)}"
        )
    on_event(Note(f"Sending hwnas to {address}."))
    arriving = f"{folder(runtime)}.arriving"
    with tempfile.TemporaryFile() as archive:
        _pack(archive, wheels)
        archive.seek(0)
        unpack = f"rm -rf {arriving} && mkdir -p {arriving} && chmod 700 .hwnas && tar -xzf - -C {arriving}"
        _done(address, f"sh -c {shlex.quote(unpack)}", "Nothing could be put there", stdin=archive)
    on_event(Note("Installing there." if python else f"Installing {', '.join(packages)} and numpy there."))
    script = f"{arriving}/source/devices/ssh/install.py"
    wanted = [] if python else ["numpy", *packages]
    install = [python or PYTHON, script, folder(runtime), source.digest(), runtime, *wanted]
    _done(address, shlex.join(install), "The installation failed")
    return describe(address, runtime)[0]


def remove(address: Address, runtime: str) -> None:
    """Take away what :func:`setup` put there, and the models that came since.

    Raises:
        ValueError: no such runtime.
        DeviceUnavailable: the machine cannot be reached, or it is not allowed.
    """
    plugins.load(runtimes, runtime, kind="device")
    where = folder(runtime)
    parents = " ".join(str(p) for p in PurePosixPath(where).parents if p.name)
    line = f"rm -rf {where} {where}.arriving && {{ rmdir {parents} 2>/dev/null; true; }}"
    _done(address, f"sh -c {shlex.quote(line)}", f"{where} could not be removed")


def describe(address: Address, runtime: str) -> tuple[DeviceStatus, dict[str, Any]]:
    """Whether a runtime can run there, and the machine's hardware; nothing is known of that where nothing is set up."""
    status, out, _ = client.run(address, run_line(runtime, "describe"))
    if status:
        settings = {s.name: s.help for s in plugins.load(runtimes, runtime, kind="device").settings}
        reason = f"not set up: {setup_line(address, runtime)}"
        return DeviceStatus(runtime, f"{address}/{runtime}", reason, settings, {}), {}
    told = json.loads(out[out.index("{") :])
    found = DeviceStatus(**told["status"])
    spec = f"{address}/{found.spec}"
    if told["source"] != source.digest():
        reason = f"set up by another version of hwnas: {setup_line(address, runtime)}"
        return DeviceStatus(runtime, spec, reason, found.settings, found.versions), told["hardware"]
    return DeviceStatus(runtime, spec, found.unavailable, found.settings, found.versions), told["hardware"]


def _pack(archive: Any, wheels: Path | None) -> None:
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        for name, content in source.files().items():
            entry = tarfile.TarInfo(f"source/{name}")
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
        for wheel in sorted(wheels.glob("*.whl")) if wheels is not None else ():
            packed.add(wheel, f"wheels/{wheel.name}")


def _done(address: Address, line: str, what: str, stdin: Any = None) -> None:
    status, out, said = client.run(address, line, stdin=stdin)
    if status:
        last = "\n".join((said or out).splitlines()[-8:])
        raise DeviceUnavailable(f"{what} ({address}, status {status}): {last}", hint=_hint(last))


def _hint(said: str) -> str:
    for sign, hint in _HINTS.items():
        if sign in said:
            return hint
    return ""


_HINTS = {
    "No space left": "Free some space there and repeat the same command.",
    "ensurepip": "On Debian and its kin: apt-get install python3-venv, there. Or name a Python there that has the runtime: "
    "--python PATH",
    "No matching distribution": "Where pip finds nothing for that machine, name a Python there that has the runtime: --python "
    "PATH; or send wheels: --wheels FOLDER",
    "not found": "Python 3.11 or newer is needed there; name it with --python PATH, then with the runtime in it.",
}
