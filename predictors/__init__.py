"""Predictors: estimate latency and memory of networks from what was measured."""

from __future__ import annotations

from predictors.estimates import Estimates, KernelEstimate
from predictors.latency import KernelCosts, LatencyPredictor
from predictors.memory import activations_in_use, bytes_in_use, peak_memory
from predictors.store import load_or_fit, predictor_path

__all__ = [
    "Estimates",
    "KernelCosts",
    "KernelEstimate",
    "LatencyPredictor",
    "activations_in_use",
    "bytes_in_use",
    "load_or_fit",
    "peak_memory",
    "predictor_path",
]
