"""The predictor that belongs to a profile, kept beside it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from devices.errors import HwnasError
from devices.profile import load as load_profile
from predictors.errors import NotFitted
from predictors.latency import LatencyPredictor


def predictor_path(profile_path: str | os.PathLike[str]) -> Path:
    """``NAME.predictor.json`` beside ``NAME.profile.jsonl``."""
    path = Path(profile_path)
    return path.with_name(path.name.removesuffix(".jsonl").removesuffix(".profile") + ".predictor.json")


def load_or_fit(profile_path: str | os.PathLike[str], *, seed: int = 0) -> LatencyPredictor:
    """The predictor that belongs to a profile: read if there is one that was learnt from the profile as it is now, else learnt
    and, where the folder can be written to, kept."""
    path = predictor_path(profile_path)
    if path.exists():
        try:
            predictor = LatencyPredictor.load(path, profile_path)
            if predictor.seed == seed:
                return predictor
        except NotFitted:
            pass
    predictor = LatencyPredictor(seed=seed).fit(load_profile(profile_path))
    with contextlib.suppress(HwnasError):  # a read-only folder costs the time to learn, not the answer
        predictor.save(path, profile_path)
    return predictor
