"""Which kernels a runtime would make of a graph, learnt from a profile."""

from __future__ import annotations

from predictors.lowering.learned import LearnedLowering

__all__ = ["LearnedLowering"]
