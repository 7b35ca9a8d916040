"""Batches of training images. What is drawn depends on the seed and on the step alone, so that training resumes exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hwnas.task import Split

_ORDER, _AUGMENT = 0, 1  # streams of random numbers


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Full batches in an epoch; what is left over waits for another epoch's order. At least one."""
    return max(1, examples // batch_size)


def batches(
    split: Split, *, batch_size: int, epochs: int, shift: int, flip: bool, seed: int, first_step: int = 0
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Augmented images ``(b, C, H, W)`` and labels ``(b,)`` of steps ``first_step`` … the last of ``epochs``."""
    per_epoch = steps_per_epoch(len(split), batch_size)
    order: NDArray[np.int64] | None = None
    for step in range(first_step, epochs * per_epoch):
        epoch, batch = divmod(step, per_epoch)
        if order is None or batch == 0:
            order = np.random.default_rng([seed, _ORDER, epoch]).permutation(len(split))
        chosen = order[batch * batch_size : (batch + 1) * batch_size]
        rng = np.random.default_rng([seed, _AUGMENT, step])
        yield augment(split.images[chosen], rng, shift=shift, flip=flip), split.labels[chosen]


def augment(images: NDArray[np.uint8], rng: np.random.Generator, *, shift: int, flip: bool) -> NDArray[np.uint8]:
    """Each image ``(C, H, W)`` moved by up to ``shift`` pixels in each direction, and mirrored with probability ½ if ``flip``."""
    count, _, height, width = images.shape
    if shift:
        padded = np.pad(images, ((0, 0), (0, 0), (shift, shift), (shift, shift)))
        down, right = rng.integers(0, 2 * shift + 1, (2, count, 1))
        rows, columns = down + np.arange(height), right + np.arange(width)
        picked = padded[np.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        images = picked.transpose(0, 3, 1, 2)
    if flip:
        mirrored = rng.random((count, 1, 1, 1)) < 0.5
        images = np.where(mirrored, images[..., ::-1], images)
    return np.ascontiguousarray(images)
