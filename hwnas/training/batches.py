"""Batches of training images. What is drawn depends on the seed and on the step alone, so that training resumes exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hwnas.task import Split
from hwnas.training.streams import Stream

_ERASED_AREA, _ERASED_ASPECT = (0.02, 0.4), 0.3  # Zhong et al. 2020, section 4.2


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Full batches in an epoch; what is left over waits for another epoch's order. At least one."""
    return max(1, examples // batch_size)


def batches(
    split: Split,
    *,
    batch_size: int,
    epochs: int,
    shift: int,
    flip: bool,
    erase: float = 0.0,
    seed: int,
    first_step: int = 0,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Augmented images ``(b, C, H, W)`` and labels ``(b,)`` of steps ``first_step`` … the last of ``epochs``."""
    per_epoch = steps_per_epoch(len(split), batch_size)
    order: NDArray[np.int64] | None = None
    for step in range(first_step, epochs * per_epoch):
        epoch, batch = divmod(step, per_epoch)
        if order is None or batch == 0:
            order = Stream.ORDER.rng(seed, epoch).permutation(len(split))
        chosen = order[batch * batch_size : (batch + 1) * batch_size]
        rng = Stream.AUGMENTATION.rng(seed, step)
        yield augment(split.images[chosen], rng, shift=shift, flip=flip, erase=erase), split.labels[chosen]


def augment(
    images: NDArray[np.uint8], rng: np.random.Generator, *, shift: int, flip: bool, erase: float = 0.0
) -> NDArray[np.uint8]:
    """Each image ``(C, H, W)`` moved by up to ``shift`` pixels in each direction, mirrored with probability ½ if ``flip``, and
    with probability ``erase`` in part replaced by noise."""
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
    if erase:
        noise = rng.integers(0, 256, images.shape, np.uint8)
        images = np.where(_rectangles(count, height, width, rng, erase), noise, images)
    return np.ascontiguousarray(images)


def mix(
    images: NDArray[np.uint8], labels: NDArray[np.int64], *, classes: int, alpha: float, seed: int, step: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Mixup (Zhang et al. 2018): each image and its label blended with another of the batch, in shares drawn from
    Beta(``alpha``, ``alpha``); nothing is blended if that is 0.

    Returns:
        Images ``(b, C, H, W)`` and the probability of each class ``(b, classes)``.
    """
    targets = np.eye(classes, dtype=np.float32)[labels]
    if not alpha:
        return images, targets
    rng = Stream.MIXING.rng(seed, step)
    share = rng.beta(alpha, alpha, len(labels)).astype(np.float32)
    others = rng.permutation(len(labels))
    wide = share[:, None, None, None]
    mixed = np.rint(images * wide + images[others] * (1 - wide)).astype(np.uint8)
    return mixed, targets * share[:, None] + targets[others] * (1 - share[:, None])


def _rectangles(count: int, height: int, width: int, rng: np.random.Generator, probability: float) -> NDArray[np.bool_]:
    """``(count, 1, height, width)``: a rectangle of random area, shape and place, in a random ``probability`` of the images.
    One that is longer than the image is cut to it."""
    area = rng.uniform(*_ERASED_AREA, count) * height * width
    aspect = _ERASED_ASPECT ** rng.uniform(-1, 1, count)
    tall = np.clip(np.rint(np.sqrt(area * aspect)), 1, height).astype(np.int64)
    wide = np.clip(np.rint(np.sqrt(area / aspect)), 1, width).astype(np.int64)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    rows, columns = np.arange(height) - top[:, None], np.arange(width) - left[:, None]
    vertical = (rows >= 0) & (rows < tall[:, None])
    horizontal = (columns >= 0) & (columns < wide[:, None])
    drawn = rng.random((count, 1, 1, 1)) < probability
    mask: NDArray[np.bool_] = drawn & vertical[:, None, :, None] & horizontal[:, None, None, :]
    return mask
