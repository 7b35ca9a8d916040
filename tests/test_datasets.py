"""Any torch data set becomes a task: images keep their pixels, and what is no image with a class number is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.bundle import certificate
from hwnas.config import load
from hwnas.datasets import as_task
from hwnas.errors import InvalidData, ProvenanceMismatch
from hwnas.run import run

ROOT = Path(__file__).parent.parent
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 3, 6, 5), np.uint8)
LABELS = np.arange(60) % 3


class Pictures(torch.utils.data.Dataset[Any]):
    """Images as ``form`` makes them."""

    classes = ("cat", "dog", "owl")

    def __init__(self, form: Any, n: int = 60) -> None:
        self.form, self.n = form, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        return self.form(PIXELS[index]), torch.tensor(LABELS[index])


@pytest.mark.parametrize(
    "form",
    [
        lambda pixels: pixels,
        torch.from_numpy,
        lambda pixels: torch.from_numpy(pixels).float() / 255,
        lambda pixels: pixels / 255,
        lambda pixels: Image.fromarray(pixels.transpose(1, 2, 0)),
        lambda pixels: Image.fromarray(pixels.transpose(1, 2, 0)).convert("RGBA"),
    ],
    ids=["array", "tensor", "floats", "doubles", "pil", "pil with transparency"],
)
def test_pixels_and_labels_come_through(form: Any) -> None:
    task = as_task(Pictures(form), seed=3, flip=True, name="pets")
    parts = [task.train, task.validation, task.test()]
    found = {image.tobytes(): label for part in parts for image, label in zip(part.images, part.labels, strict=True)}
    assert found == {image.tobytes(): label for image, label in zip(PIXELS, LABELS, strict=True)}
    assert (task.name, task.classes, task.input_shape, task.flip) == ("pets", ("cat", "dog", "owl"), (3, 6, 5), True)
    assert [len(part) for part in parts] == [42, 9, 9]


def test_parts_that_are_given_stay_as_they_are_and_the_test_is_read_last() -> None:
    asked = []

    def form(pixels: Any) -> Any:
        asked.append(1)
        return Image.fromarray(pixels[0])

    task = as_task(Pictures(form), Pictures(form, 12), validation=Pictures(form, 30), classes=["a", "b", "c"])
    assert (len(task.train), len(task.validation), len(asked)) == (60, 30, 90)
    assert task.classes == ("a", "b", "c")
    assert len(task.test()) == 12
    assert task.input_shape == (1, 6, 5)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([(PIXELS[0], 0), (PIXELS[1][:, 1:], 1)], r"train\[1\] has shape \(3, 5, 5\), .*\[0\] has \(3, 6, 5\)"),
        ([(PIXELS[0].transpose(1, 2, 0), 0)], r"train\[0\] has shape \(6, 5, 3\)"),
        ([(PIXELS[0].astype(np.float32), 0)], r"train\[0\] has values from .*between 0 and 1"),
        ([(PIXELS[0] * np.nan, 0)], "between 0 and 1"),
        ([(PIXELS[0].astype(int), 0)], "is of int64"),
        ([(Image.new("I;16", (5, 6)), 0)], "mode I;16, eight bits"),
        ([(PIXELS[0], 0.0)], "the label 0.0, which is not a class number"),
        ([(PIXELS[0], "cat")], "the label 'cat'"),
        ([(PIXELS[0], np.eye(3)[0])], "not a class number"),
        ([(PIXELS[0], 1), (PIXELS[1], -1)], "labels run from -1 to 1"),
        ([(PIXELS[0], 0)] * 5, "at least two classes"),
        ([PIXELS[0]], r"train\[0\] is a ndarray, not \(image, label\)"),
        ([], "there are no images"),
        (iter(()), "has no length"),
    ],
)
def test_what_is_no_image_with_a_class_number_is_named(items: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        as_task(items)
    assert caught.value.hint


def test_validation_images_have_to_fit() -> None:
    whole = Pictures(lambda pixels: pixels)
    with pytest.raises(InvalidData, match=r"validation images have shape \(3, 5, 5\), training images \(3, 6, 5\)"):
        as_task(whole, validation=Pictures(lambda pixels: pixels[:, 1:]))
    two = [(PIXELS[i], LABELS[i] % 2) for i in range(60)]
    with pytest.raises(InvalidData, match="the validation has label 2, but the training labels end at 1"):
        as_task(two, validation=whole)


def test_a_run_on_a_task_of_ones_own_is_bound_to_its_data(small_config: Path, small_run: Path, tmp_path: Path) -> None:
    config = load(small_config)
    data = [(image, int(label)) for image, label in zip(*digits(), strict=True)]
    result = run(config, tmp_path / "run", task=as_task(data, name="mine"), until="search")
    assert load(result.folder / "config.toml").task.name == "mine"
    changed = [(255 - data[0][0], data[0][1]), *data[1:]]
    with pytest.raises(ProvenanceMismatch, match="data_crc32"):
        run(config, tmp_path / "run", task=as_task(changed, name="mine"), until="search")


def digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.round(data.images * (255 / 16)).astype(np.uint8), data.target


def test_the_example_runs(small_config: Path, small_run: Path, tmp_path: Path) -> None:
    """On the profile that the small run has made: its space is the same."""
    source = (ROOT / "examples" / "torch_dataset.py").read_text(encoding="utf-8")
    assert len([line for line in source.splitlines() if line and not line.startswith('"""')]) <= 15
    quick = source.replace(
        '{"budget": {"latency_fraction_of_largest": 0.5}, "train": {"epochs": 12}}',
        '{"budget": {"latency_ms": 5.0}, "train": {"epochs": 1}, "accuracy": {"epochs": 1}, '
        f'"search": {{"evaluations": 4, "generation": 4}}, "device": {{"profile": "{load(small_config).device.profile}"}}, '
        '"space": {"depths": [1], "kernels": [3], "squeeze_excite": [False], "activations": ["relu"], "resolutions": [8]}}',
    )
    assert quick != source
    done = subprocess.run(
        [sys.executable, "-c", quick],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert certificate.read(tmp_path / "runs" / "torch_dataset" / "bundle").task == "my digits"
