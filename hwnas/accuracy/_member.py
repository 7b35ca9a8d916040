"""Accuracy models that others are made of."""

from __future__ import annotations

from pydantic import model_validator

from hwnas import accuracy
from hwnas.settings import PluginSection


class Member(PluginSection):
    """An accuracy model with its settings, that gives every network a number by itself."""

    model: str

    @model_validator(mode="after")
    def _check(self) -> Member:
        if self.model == "halving":
            raise ValueError("'halving' compares the networks of a generation; take 'short_training'")
        accuracy.check(self.model, self.settings)
        return self
