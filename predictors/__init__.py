"""Predictors: estimate latency and memory of networks from what was measured."""

from __future__ import annotations

from predictors.agreement import Agreement
from predictors.estimates import Estimates, KernelCosts, KernelEstimate
from predictors.few_shot import FewShotPredictor, GraphFeatures, LatencyTable, NetworkLatencies, graph_features
from predictors.kept_weights import kept_bytes
from predictors.latency import LatencyPredictor
from predictors.memory import activations_in_use, bytes_in_use, peak_memory
from predictors.store import load_or_fit, predictor_path

__all__ = [
    "Agreement",
    "Estimates",
    "FewShotPredictor",
    "GraphFeatures",
    "KernelCosts",
    "KernelEstimate",
    "LatencyPredictor",
    "LatencyTable",
    "NetworkLatencies",
    "activations_in_use",
    "bytes_in_use",
    "graph_features",
    "kept_bytes",
    "load_or_fit",
    "peak_memory",
    "predictor_path",
]
