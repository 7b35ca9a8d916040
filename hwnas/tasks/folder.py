"""A folder of images: ``train/CLASS/*.png``, and beside it ``validation/`` and ``test/`` if the data keeps them apart.

Every image is turned as its EXIF data says and resized to one square size (bilinear with antialiasing; the aspect ratio is not
kept), which is also how a deployed network is to be fed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent, Progress
from hwnas.datasets import channels_first, converted
from hwnas.errors import InvalidData
from hwnas.task import Split, Task, make_split, make_task

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_EVENT_EVERY = 100


def open_folder(
    *,
    path: Path | None,
    seed: int,
    flip: bool | None,
    on_event: OnEvent,
    size: int | None = None,
    grayscale: bool = False,
) -> Task:
    """The images of one folder; classes are the folders in ``train``, in alphabetical order.

    Args:
        size: side in pixels to which images are resized.
        grayscale: one channel instead of three.
    """
    if path is None:
        raise ValueError("the task 'folder' needs a path: the folder that holds train/CLASS/*.png")
    if size is None or size < 1:
        raise ValueError(
            f"the task 'folder' needs size, the side in pixels to which images are resized, e.g. 64; got {size!r}"
        )
    train = path / "train"
    classes = _classes(train)
    if not classes:
        raise InvalidData(
            f"{train} holds no folder.", hint="Each class needs a folder with its images: train/CLASS/*.png"
        )

    def read(part: str) -> Split:
        return _read(path / part, classes, size, grayscale, on_event)

    for part in ("validation", "test"):
        if (path / part).exists():
            _listed(path / part, classes)
    return make_task(
        "folder",
        read("train"),
        (lambda: read("test")) if (path / "test").exists() else None,
        seed=seed,
        flip=bool(flip),
        classes=classes,
        validation=read("validation") if (path / "validation").exists() else None,
    )


def _classes(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise InvalidData(
            f"{folder} cannot be read: {error.strerror}.", hint="The images are expected as train/CLASS/*.png."
        ) from error


def _listed(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Every image file below ``folder`` with its label, in a fixed order."""
    strange = sorted(set(_classes(folder)) - set(classes))
    if strange:
        raise InvalidData(
            f"{folder} has the class {strange[0]!r}, which is not in train.",
            hint=f"The classes are {', '.join(classes)}.",
        )
    return [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).rglob("*"))
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]


def _read(folder: Path, classes: Sequence[str], size: int, grayscale: bool, on_event: OnEvent) -> Split:
    files = _listed(folder, classes)
    images = np.empty((len(files), 1 if grayscale else 3, size, size), np.uint8)
    for i, (file, _) in enumerate(files):
        images[i] = _pixels(file, size, grayscale)
        if (i + 1) % _EVENT_EVERY == 0 or i + 1 == len(files):
            on_event(Progress(f"{folder.name} images", i + 1, len(files)))
    return make_split(images, np.array([label for _, label in files], np.int64), str(folder))


def _pixels(file: Path, size: int, grayscale: bool) -> NDArray[np.uint8]:
    """``(C, size, size)``."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which is not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                upright = converted(ImageOps.exif_transpose(image), grayscale=grayscale)
                return channels_first(upright.resize((size, size), Image.Resampling.BILINEAR))
    except UnidentifiedImageError:
        raise _damaged(file, "it is not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: Path, why: str) -> InvalidData:
    return InvalidData(f"{file} cannot be read: {why}.", hint="Remove it, or put a whole image in its place.")


PLUGIN = open_folder
