"""Profilers: measure networks on a device, in a way that repeats on a machine that others use too."""

from __future__ import annotations

from profilers.measuring import Check, check, measure_graphs
from profilers.profiling import Proposal, profile
from profilers.timing import measure

__all__ = ["Check", "Proposal", "check", "measure", "measure_graphs", "profile"]
