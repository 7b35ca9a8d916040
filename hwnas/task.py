"""Image classification tasks: the data apart as training, validation and test, and the one definition of normalisation.

Training and validation images are at hand; test images are read only when :meth:`Task.test` is called, once, at the end.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidData

HELD_OUT = 1 / 6
"""Fraction of each class that is held out for validation (and for the test, where the data does not say which part is)."""

_MOST_CLASSES = 65536
_TEST_SEED = 0


@dataclass(frozen=True, slots=True)
class Split:
    """``images`` uint8 ``(n, C, H, W)`` and ``labels`` int64 ``(n,)``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def crc32(self, before: int = 0) -> int:
        """Of the content; ``before`` is that of what comes before it."""
        return zlib.crc32(self.labels.tobytes(), zlib.crc32(self.images.tobytes(), before))


@dataclass(frozen=True)
class Task:
    """A classification problem.

    Attributes:
        name: of the plug-in that made it.
        classes: names, in the order of the labels.
        input_shape: ``(C, H, W)`` of the images.
        train, validation: apart; the search never sees more.
        mean, std: float32 ``(C,)`` of the training images, on the scale 0–1.
        flip: whether a mirrored image is still of its class.
        read_test: reads the test images.
    """

    name: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    train: Split
    validation: Split
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    flip: bool
    read_test: Callable[[], Split] = field(repr=False)

    def test(self) -> Split:
        """The test split; the only access to it.

        Raises:
            InvalidData: it is damaged or does not fit the training images.
        """
        split = self.read_test()
        _require_alike(self.name, "test", split, self.input_shape, len(self.classes))
        return split


def normalize(images: NDArray[np.uint8], task: Task, size: int) -> NDArray[np.float32]:
    """What a network is fed: ``(n, C, H, W)`` uint8 to ``(n, C, size, size)`` float32.

    Divided by 255, resized if the size differs (bilinear, antialiased when it shrinks), then less the mean, over the
    standard deviation. Each image's result is independent of the batch it came in.
    """
    scaled = images.astype(np.float32) / np.float32(255)
    if scaled.shape[2:] != (size, size):
        rows = _resampling(scaled.shape[2], size)
        columns = _resampling(scaled.shape[3], size)
        scaled = rows @ scaled @ columns.T
    return (scaled - task.mean[:, None, None]) / task.std[:, None, None]


def make_task(
    name: str,
    train: Split,
    read_test: Callable[[], Split] | None,
    *,
    seed: int,
    flip: bool,
    classes: Sequence[str] | None = None,
    validation: Split | None = None,
) -> Task:
    """A task, with mean and deviation of its training images.

    Args:
        name: of the task.
        train: what is there to learn from.
        read_test: reads the test images; None where the data does not say which they are: then they are the same sixth of
            every class of ``train`` whatever the seed.
        seed: decides which of ``train``, a sixth of every class, become the validation images if ``validation`` is None.
        flip: whether a mirrored image is still of its class.
        classes: names; the numbers if None.
        validation: images that the data itself keeps apart for validation.

    Raises:
        InvalidData: fewer than two classes, a class with too few examples, or validation images of another kind.
    """
    counts = np.bincount(train.labels, minlength=len(classes or ()))
    if len(counts) < 2:
        raise InvalidData(
            f"{name}: all {len(train)} training labels are 0; classification needs at least two classes.",
            hint="Check that the labels belong to the images.",
        )
    if classes is not None and len(counts) > len(classes):
        raise InvalidData(
            f"{name}: the training labels go up to {len(counts) - 1}, but there are {len(classes)} classes.",
            hint="Labels count from 0.",
        )
    parts = ["train", *(["validate"] if validation is None else []), *(["test"] if read_test is None else [])]
    needed = len(parts)
    rare = np.flatnonzero(counts < needed)
    if rare.size:
        named = "" if classes is None else f" ({classes[rare[0]]})"
        raise InvalidData(
            f"{name}: class {rare[0]}{named} has {counts[rare[0]]} training examples; "
            f"each class needs {needed} or more, one each to {', to '.join(parts)}.",
            hint=f"Add examples, or number the classes 0 to K-1 without it ({rare.size} of {len(counts)} are too rare).",
        )
    if read_test is None:
        test, train = _apart(train, _TEST_SEED)
        return make_task(name, train, lambda: test, seed=seed, flip=flip, classes=classes, validation=validation)
    if validation is None:
        validation, train = _apart(train, seed)
    channels, height, width = train.images.shape[1:]
    _require_alike(name, "validation", validation, (channels, height, width), len(counts))
    mean, std = _moments(train.images)
    return Task(
        name,
        tuple(classes) if classes is not None else tuple(str(i) for i in range(len(counts))),
        (channels, height, width),
        train,
        validation,
        mean,
        std,
        flip,
        read_test,
    )


def make_split(images: NDArray[Any], labels: NDArray[Any], where: str) -> Split:
    """Checked images ``(n, C, H, W)`` and labels ``(n,)``; ``where`` names them in the error.

    Raises:
        InvalidData: anything that is not 8-bit images with one class number each.
    """
    if images.dtype != np.uint8:
        raise InvalidData(
            f"{where}: images must be uint8 (0–255), got {images.dtype}.",
            hint="Scale them to 0–255 and save (images * scale).round().astype('uint8').",
        )
    if labels.dtype.kind not in "iu":
        raise InvalidData(
            f"{where}: labels must be whole numbers, got {labels.dtype}.",
            hint="Number the classes 0 to K-1 and save the labels as integers.",
        )
    if images.ndim != 4 or labels.ndim != 1:
        raise InvalidData(
            f"{where}: need images (n, C, H, W) and labels (n,), got {images.shape} and {labels.shape}.",
            hint="One-hot labels: save labels.argmax(1). A column of labels: save labels.reshape(-1).",
        )
    if images.size == 0:
        raise InvalidData(f"{where}: there are no images (shape {images.shape}).", hint="The data set is empty.")
    if len(images) != len(labels):
        raise InvalidData(
            f"{where}: {len(images)} images but {len(labels)} labels.", hint="The two files do not belong together."
        )
    if labels.min() < 0 or labels.max() >= _MOST_CLASSES:
        raise InvalidData(
            f"{where}: labels run from {labels.min()} to {labels.max()}; class numbers are 0 to K-1.",
            hint="Number the classes 0 to K-1 without gaps.",
        )
    return Split(np.array(images), labels.astype(np.int64))


def stratified(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """``(n,)`` mask of ``fraction`` of every class, at least one of each, drawn by ``seed``."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held[members[: max(1, round(fraction * len(members)))]] = True
    return held


def some(split: Split, images: int, seed: int) -> Split:
    """``images`` of a split, drawn by ``seed``; all if there are not so many."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:images])
    return Split(split.images[chosen], split.labels[chosen])


def ranking_split(task: Task, images: int, seed: int) -> Split:
    """``images`` of the validation split, drawn by ``seed``; all if there are not so many."""
    return some(task.validation, images, seed)


def calibration_images(task: Task, images: int, seed: int) -> NDArray[np.uint8]:
    """``(n, C, H, W)`` training images, drawn by ``seed``, to take batch norm statistics from."""
    return some(task.train, images, seed).images


def _apart(split: Split, seed: int) -> tuple[Split, Split]:
    """What is held out of every class, and the rest."""
    held = stratified(split.labels, HELD_OUT, seed)
    return Split(split.images[held], split.labels[held]), Split(split.images[~held], split.labels[~held])


def _require_alike(name: str, part: str, split: Split, shape: tuple[int, int, int], classes: int) -> None:
    if split.images.shape[1:] != shape:
        raise InvalidData(
            f"{name}: {part} images have shape {split.images.shape[1:]}, training images {shape}.",
            hint="Prepare both in the same way.",
        )
    if split.labels.max() >= classes:
        raise InvalidData(
            f"{name}: the {part} has label {split.labels.max()}, but the training labels end at {classes - 1}.",
            hint=f"Remove the {part} examples of classes that cannot be learned.",
        )


def _moments(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel on the scale 0–1; a constant channel gets deviation 1."""
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        share = np.bincount(images[:, channel].ravel(), minlength=256) / images[:, channel].size
        mean.append(float(share @ values))
        std.append(float(np.sqrt(share @ (values - mean[-1]) ** 2)) or 1.0)
    return np.array(mean, np.float32), np.array(std, np.float32)


def _resampling(old: int, new: int) -> NDArray[np.float32]:
    """``(new, old)`` weights of bilinear resampling, pixel centres aligned; the triangle is widened when it shrinks."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(old)[None, :] - centres[:, None])
    weights = np.maximum(0, 1 - distance / max(scale, 1.0))
    normalized: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return normalized
