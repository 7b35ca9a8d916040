"""The 1,797 handwritten digits of 8×8 pixels that scikit-learn carries (UCI, Alpaydin and Kaynak 1998)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from devices.events import OnEvent
from hwnas.task import Task, make_split, make_task


def open_digits(*, path: Path | None, seed: int, flip: bool | None, on_event: OnEvent) -> Task:
    """The digits; the same sixth is the test whatever the seed."""
    if path is not None:
        raise ValueError(f"the task 'digits' is embedded and takes no path, got {str(path)!r}")
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images[:, None] * (255 / 16)).astype(np.uint8)
    return make_task("digits", make_split(images, data.target, "digits"), None, seed=seed, flip=bool(flip))


PLUGIN = open_digits
