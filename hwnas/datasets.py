"""Tasks from any torch ``Dataset``, or anything else with a length whose items are an image and a class number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidData
from hwnas.task import Split, Task, make_split, make_task

if TYPE_CHECKING:
    from PIL import Image

_CHANNELS = (1, 3, 4)


class Dataset(Protocol):
    """What is needed of a data set: its length, and an image with its class number at each index from 0.

    Images are PIL images, uint8 arrays or tensors, or floating-point arrays or tensors between 0 and 1; arrays and tensors are
    ``(C, H, W)`` or ``(H, W)``. All are of one shape.
    """

    def __len__(self) -> int:
        """How many examples."""

    def __getitem__(self, index: int) -> Any:
        """``(image, label)``."""


def as_task(
    train: Dataset,
    test: Dataset | None = None,
    *,
    validation: Dataset | None = None,
    classes: Sequence[str] | None = None,
    name: str = "dataset",
    flip: bool = False,
    seed: int = 0,
) -> Task:
    """A task for :func:`hwnas.run.run` from data sets. Each is read once; transforms that draw at random stay as first drawn.

    Args:
        train: to learn from.
        test: read only when the exported files are judged. If None, the same sixth of every class of ``train`` whatever the
            seed.
        validation: if None, a sixth of every class of what is left to train with, drawn by ``seed``.
        classes: names in the order of the labels; the data set's own attribute ``classes`` if None, else the numbers.
        name: what reports and certificates call it.
        flip: whether a mirrored image is still of its class.
        seed: decides which examples validate.

    Raises:
        InvalidData: an item is no image with a class number, or its shape differs; names its index.
    """
    own = getattr(train, "classes", None)
    return make_task(
        name,
        _split(train, f"{name}: train"),
        None if test is None else lambda: _split(test, f"{name}: test"),
        seed=seed,
        flip=flip,
        classes=classes if classes is not None or own is None else [str(c) for c in own],
        validation=None if validation is None else _split(validation, f"{name}: validation"),
    )


def converted(image: Image.Image, *, grayscale: bool) -> Image.Image:
    """A PIL image with one channel or three; transparency is dropped.

    Raises:
        ValueError: it has more than eight bits per channel.
    """
    if image.mode[0] in "IF":
        raise ValueError(f"its pixels are of mode {image.mode}, eight bits per channel are needed")
    return image.convert("L" if grayscale else "RGB")


def channels_first(image: Image.Image) -> NDArray[np.uint8]:
    """``(C, H, W)`` pixels of an image with one channel or three."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _split(data: Dataset, where: str) -> Split:
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise InvalidData(
            f"{where}: {type(data).__name__} has no length or no items by index.",
            hint="Streams have to be collected first, e.g. in a list of (image, label).",
        )
    images, labels = [], []
    for index in range(len(data)):
        here = f"{where}[{index}]"
        item = data[index]
        if not isinstance(item, Sequence) or len(item) != 2:
            raise InvalidData(f"{here} is a {type(item).__name__}, not (image, label).", hint="Each item is a pair.")
        image, label = item
        images.append(_pixels(image, here))
        if images[-1].shape != images[0].shape:
            raise InvalidData(
                f"{here} has shape {images[-1].shape}, {where}[0] has {images[0].shape}.",
                hint="Resize all images to one shape, e.g. with a transform.",
            )
        labels.append(_label(label, here))
    if not images:
        raise InvalidData(f"{where}: there are no images.", hint="The data set is empty.")
    return make_split(np.stack(images), np.array(labels), where)


def _pixels(image: Any, here: str) -> NDArray[np.uint8]:
    """``(C, H, W)``."""
    from PIL import Image

    if isinstance(image, Image.Image):
        try:
            return channels_first(converted(image, grayscale=image.mode in ("1", "L")))
        except ValueError as error:
            raise InvalidData(f"{here}: {error}.", hint="Convert the images to mode L or RGB.") from error
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in _CHANNELS:
        raise InvalidData(
            f"{here} has shape {array.shape}.", hint=f"Images are (C, H, W) with {_CHANNELS} channels, or (H, W)."
        )
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # not a number is neither
            raise InvalidData(
                f"{here} has values from {array.min():.4g} to {array.max():.4g}; floats have to be between 0 and 1.",
                hint="Leave out the transform that normalises: hwnas takes mean and deviation from the training images.",
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InvalidData(f"{here} is of {array.dtype}.", hint="Images are uint8, or floats between 0 and 1.")
    return array


def _label(label: Any, here: str) -> int:
    array = np.asarray(label)
    if array.size != 1 or array.dtype.kind not in "iu":
        raise InvalidData(
            f"{here} has the label {label!r}, which is not a class number.", hint="Number the classes 0 to K-1."
        )
    return int(array.item())
