"""Predictors: estimate latency and memory of networks from what was measured."""

from __future__ import annotations

from predictors.agreement import Agreement
from predictors.estimates import Estimates, KernelCosts, KernelEstimate
from predictors.few_shot import FewShotPredictor, GraphFeatures, LatencyTable, NetworkLatencies, graph_features
from predictors.latency import LatencyPredictor
from predictors.memory import MemoryRules, memory_rules
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
    "MemoryRules",
    "NetworkLatencies",
    "graph_features",
    "load_or_fit",
    "memory_rules",
    "predictor_path",
]
