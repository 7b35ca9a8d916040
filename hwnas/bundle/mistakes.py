"""What an exported file gets wrong on the test images: how often which class is taken for which, and the worst single images."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import devices
from devices import Graph
from hwnas.bundle.certificate import NetworkInput
from hwnas.task import Split, Task, normalize

WORST = 24
"""How many images are shown."""

_SIDE = 96  # pixels; larger images are shrunk, so that a report of photographs stays light


@dataclass(frozen=True)
class Mistakes:
    """JSON-able.

    Attributes:
        confusion: ``classes × classes`` counts of test images, true class by predicted class.
        worst: of the images that are wrong, those whose true class was given the least probability: ``index`` in the test
            split, ``label``, ``predicted``, ``probability`` (of the prediction) and ``png``, the image as a data URI.
    """

    confusion: list[list[int]]
    worst: list[dict[str, Any]]


def find(graph: Graph, given: NetworkInput, task: Task, device: str) -> Mistakes:
    """Let the file classify the test images on a device, opened afresh.

    Args:
        graph: of logits.
        given: what it is fed.
        task: whose test images.
        device: specification.

    Raises:
        DeviceError: the device is not there, or cannot run the file.
    """
    test = task.test()
    with devices.open(device) as opened, opened.load(graph) as session:
        return of_logits(infer(session.infer, test, task, given), test)


def infer(
    run: Callable[[NDArray[np.float32]], NDArray[Any]], split: Split, task: Task, given: NetworkInput
) -> NDArray[np.float32]:
    """``(n, classes)`` outputs of ``run`` for a split's images, normalised as the network was trained."""
    as_trained = replace(task, mean=np.array(given.mean, np.float32), std=np.array(given.std, np.float32))
    outputs: NDArray[np.float32] = run(normalize(split.images, as_trained, given.shape[2]))
    return outputs


def of_logits(logits: NDArray[np.float32], test: Split) -> Mistakes:
    """The mistakes that ``(n, classes)`` logits make on a split."""
    from scipy.special import log_softmax

    n, classes = logits.shape
    predicted = logits.argmax(1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (test.labels, predicted), 1)
    log_probability = log_softmax(logits.astype(np.float64), axis=1)
    of_truth = np.where(predicted == test.labels, np.inf, log_probability[np.arange(n), test.labels])
    wrong = int((predicted != test.labels).sum())
    worst = [
        {
            "index": i,
            "label": int(test.labels[i]),
            "predicted": int(predicted[i]),
            "probability": float(np.exp(log_probability[i, predicted[i]])),
            "png": _png(test.images[i]),
        }
        for i in np.argsort(of_truth, kind="stable")[: min(wrong, WORST)].tolist()
    ]
    return Mistakes(confusion.tolist(), worst)


def _png(image: NDArray[np.uint8]) -> str:
    """``(C, H, W)`` as a data URI; of other than one or three channels the first is shown."""
    from PIL import Image

    made = Image.fromarray(image.transpose(1, 2, 0) if len(image) == 3 else image[0])
    made.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    made.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
