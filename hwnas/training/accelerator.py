"""Where networks are trained, and in which precision."""

from __future__ import annotations

import torch


def accelerator() -> torch.device:
    """The GPU, if there is one that torch can use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast() -> torch.autocast:
    """A scope in which a GPU computes in bfloat16 what bears it (Micikevicius et al. 2018); a CPU is no faster for it."""
    device = accelerator()
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
