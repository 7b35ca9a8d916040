"""Devices: a runtime on a hardware with settings, the graphs it runs, the kernels it makes of them, and the profile record.

``devices.open("onnxruntime:threads=1")`` opens one; each runtime is one file in ``devices/runtimes``.
"""

from __future__ import annotations

from devices.device import Device, DeviceInfo, Memory, Session
from devices.graph import Graph, Node
from devices.kernels import ExecutedKernel, Kernel, Operand, TensorType
from devices.profile import Lowering, Profile, Timing

__all__ = [
    "Device",
    "DeviceInfo",
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
]
