"""Devices: a runtime on a hardware with settings, the graphs it runs, the kernels it makes of them, and the profile record.

``devices.open("onnxruntime:threads=1")`` opens one; each runtime is one file in ``devices/runtimes``. All of them run on machines
elsewhere, too (``devices/ssh``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from devices import plugins, runtimes
from devices.device import Device, DeviceInfo, DeviceStatus, Memory, Session
from devices.errors import DeviceUnavailable
from devices.events import OnEvent, ignore
from devices.graph import Graph, Node
from devices.kernels import ExecutedKernel, Kernel, Operand, TensorType
from devices.process import Worker, WorkerProcess, local_command
from devices.profile import Lowering, Profile, Timing
from devices.remote import WorkerDevice
from devices.spec import canonical, resolve, split
from devices.ssh.address import split as elsewhere
from devices.versions import versions

__all__ = [
    "Device",
    "DeviceInfo",
    "DeviceStatus",
    "ExecutedKernel",
    "Graph",
    "Kernel",
    "Lowering",
    "Memory",
    "Node",
    "Operand",
    "Profile",
    "Session",
    "TensorType",
    "Timing",
    "describe",
    "load_onnx",
    "names",
    "open",
    "resident_bytes",
]


# ONNX Runtime reports on its use to its maker, in a thread and with files of its own, unless this is set when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def names() -> list[str]:
    """Names of all runtimes, whether they can run here or not."""
    return plugins.names(runtimes)


def describe() -> list[DeviceStatus]:
    """What can run here, and for the rest why not and what to install."""
    found = []
    for name in names():
        runtime = plugins.load(runtimes, name, kind="device")
        spec = canonical(name, resolve(name, runtime.settings, {}))
        settings = {setting.name: setting.help for setting in runtime.settings}
        found.append(DeviceStatus(name, spec, runtime.unavailable(), settings, versions(runtime.packages)))
    return found


def open(  # noqa: A001 - read as devices.open
    spec: str, *, timeout_s: float = 60.0, wait_s: float = 60.0, on_event: OnEvent = ignore
) -> WorkerDevice:
    """Open a device, e.g. ``onnxruntime:threads=2``, or elsewhere ``ssh://user@host:port/onnxruntime:threads=2``.

    Args:
        spec: the device.
        timeout_s: how long it may stay silent before it counts as hung.
        wait_s: how long to wait for a machine elsewhere that somebody else is measuring on.
        on_event: told when a machine elsewhere is waited for, or was lost and is tried for again.

    Raises:
        ValueError: unknown runtime or setting (with the nearest match), or a bad value.
        DeviceUnavailable: the runtime is not installed; the machine elsewhere cannot be reached, is not set up, or is in use.
    """
    address, local = elsewhere(spec)
    name, given = split(local)
    runtime = plugins.load(runtimes, name, kind="device")
    settings = resolve(name, runtime.settings, given)
    canonical_spec = canonical(name, settings)
    if address is not None:
        from devices.ssh.worker import SshWorker

        worker: Worker = SshWorker(address, name, wait_s=wait_s, on_event=on_event)
        return WorkerDevice(canonical_spec, runtime, settings, worker, timeout_s, f"{address}/")
    if reason := runtime.unavailable():
        raise DeviceUnavailable(f"Device {name!r} is {reason.partition(':')[0]}.", hint=reason.partition(": ")[2])
    return WorkerDevice(canonical_spec, runtime, settings, WorkerProcess(local_command(name)), timeout_s)


def resident_bytes(spec: str, graph: Graph) -> int:
    """Growth of a fresh process by loading a model and running it three times. It varies by 20 to 40 % and is never budgeted."""
    with open(spec) as device:
        return device.resident_bytes(graph)


def load_onnx(
    path: str | os.PathLike[str],
    inputs: Mapping[str, tuple[int, ...] | NDArray[Any]] | None = None,
    *,
    weights: bool = True,
    device: Device | None = None,
) -> Graph:
    """Read an ONNX file as a graph; see :func:`devices.onnx_file.load_onnx`."""
    from devices.onnx_file import load_onnx as load

    return load(path, inputs, weights=weights, device=device)
