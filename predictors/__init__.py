"""Predictors: estimate latency and memory of networks from what was measured."""
