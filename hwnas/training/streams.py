"""Streams of random numbers in a training."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What is drawn. Each has numbers of its own, so that none depends on what else is drawn; the values decide which, and stay
    as they are for the same seed to give the same result."""

    ORDER = 0
    AUGMENTATION = 1
    NETWORKS = 2
    MIXING = 3
    GATES = 4

    def rng(self, seed: int, step: int) -> np.random.Generator:
        """For one step, or epoch, of the training with ``seed``."""
        return np.random.default_rng([seed, self.value, step])
