"""What a file gets wrong is counted and shown."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hwnas.bundle.mistakes import WORST, of_logits
from hwnas.report.text import class_figures
from hwnas.task import Split

CLASSES = 4


def split(n: int, shape: tuple[int, int, int] = (1, 8, 8)) -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, CLASSES, n))


def logits(labels: NDArray[np.int64], wrong: int) -> NDArray[np.float32]:
    """Sure of the label, but for the first ``wrong``, which are taken for the next class, each more surely."""
    out = 5 * np.eye(CLASSES, dtype=np.float32)[labels]
    for i in range(wrong):
        out[i, (labels[i] + 1) % CLASSES] = 6 + i
    return out


def test_the_surest_mistakes_come_first() -> None:
    test = split(200)
    found = of_logits(logits(test.labels, 50), test)
    counts = np.array(found.confusion)
    assert counts.sum() == 200
    assert np.trace(counts) == 150
    assert [image["index"] for image in found.worst] == list(range(49, 49 - WORST, -1))
    assert found.worst[0]["label"] == test.labels[49]
    assert found.worst[0]["predicted"] == (test.labels[49] + 1) % CLASSES
    assert found.worst[0]["probability"] == pytest.approx(1.0, abs=1e-3)


def test_no_mistakes_no_images() -> None:
    test = split(20)
    assert of_logits(logits(test.labels, 0), test).worst == []


@pytest.mark.parametrize(("shape", "size"), [((1, 8, 8), (8, 8)), ((3, 8, 6), (6, 8)), ((3, 200, 100), (48, 96))])
def test_images_are_shown_as_they_are_or_smaller(shape: tuple[int, int, int], size: tuple[int, int]) -> None:
    test = split(1, shape)
    (shown,) = of_logits(logits(test.labels, 1), test).worst
    made: Any = Image.open(io.BytesIO(base64.b64decode(shown["png"].removeprefix("data:image/png;base64,"))))
    assert made.size == size
    if max(size) <= 96 and shape[1:] == size[::-1]:
        pixels = np.array(made).reshape(*shape[1:], shape[0])
        assert (pixels == test.images[0].transpose(1, 2, 0)).all()


def test_figures_by_class_are_those_of_the_counts() -> None:
    found = class_figures(np.array([[8, 2, 0], [4, 6, 0], [0, 0, 0]]))
    assert found[0] == {"precision": pytest.approx(8 / 12), "recall": 0.8, "f1": pytest.approx(16 / 22)}
    assert found[2] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
