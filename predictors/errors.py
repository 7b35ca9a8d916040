"""Errors of the predictors; the whole tree is in ``hwnas.errors``."""

from __future__ import annotations

from devices.errors import HwnasError


class NotFitted(HwnasError):
    """The predictor has learnt nothing yet, or the profile holds too little to learn from."""
