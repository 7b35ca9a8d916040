"""What this machine is, as far as it decides how long a model takes."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

# Instruction sets for which runtimes have kernels of their own.
# fmt: off
_FLAGS = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "avx_vnni", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "fphp", "i8mm", "bf16", "sve", "sve2", "sme",
)
# fmt: on


def hardware() -> dict[str, Any]:
    """CPU model, the instruction sets that matter, cores that this process may use, architecture, operating system.

    What a system does not tell is an empty string or list.
    """
    cpu, flags = _linux() if Path("/proc/cpuinfo").exists() else _other()
    return {
        "cpu": cpu or platform.processor(),
        "flags": [f for f in _FLAGS if f in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _linux() -> tuple[str, set[str]]:
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    model = Path("/proc/device-tree/model")
    parts = (fields.get("CPU implementer"), fields.get("CPU part"))
    arm = f"Arm implementer {parts[0]} part {parts[1]}" if all(parts) else ""
    board = model.read_text().strip("\0\n ") if model.exists() else ""
    name = fields.get("model name") or fields.get("Model") or " ".join(filter(None, (board, arm)))
    return name, set((fields.get("flags") or fields.get("Features") or "").split())


def _other() -> tuple[str, set[str]]:
    if platform.system() != "Darwin":
        return "", set()
    asked = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
    return asked.stdout.strip(), set()
