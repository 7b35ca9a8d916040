"""Training: a function of seed and step alone, so that a kill changes nothing; and it leaves torch as it found it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import hwnas.tasks
from devices.errors import HwnasError, ProvenanceMismatch
from devices.events import Note, Progress
from hwnas.task import Split, Task
from hwnas.training import checkpoint as checkpoints
from hwnas.training.batches import augment, batches, mix, steps_per_epoch
from hwnas.training.determinism import reproducible
from hwnas.training.fitting import learning_rate
from hwnas.training.train import Teacher, TrainSettings, evaluate, logits, train

QUICK = TrainSettings(epochs=2, batch_size=128, learning_rate=0.1, checkpoint_steps=4)

# What a run does with accuracy model and winner: supernet first, then the winner from its weights, beside its largest network,
# at a rate that soon makes it worse.
LOOP = """
import sys
from pathlib import Path
import numpy as np
import hwnas.accuracy, hwnas.spaces, hwnas.tasks
from hwnas.training.train import Teacher, TrainSettings, train
from safetensors.torch import save_file

folder = Path(sys.argv[1])
def tell(event):
    print(event.stage, event.done, flush=True)
task = hwnas.tasks.open("digits")
space = hwnas.spaces.open("mobile", task.input_shape, 10, widths=[[8, 16], [16], [24]], depths=[1, 2], expansions=[2])
model = hwnas.accuracy.open("supernet", space, task, seed=3, folder=folder, on_event=tell,
    settings={"epochs": 1, "batch_size": 64, "checkpoint_steps": 5, "calibration_images": 64})
genotypes = space.sample(np.random.default_rng(0), 3)
best = genotypes[model.accuracy(genotypes).argmax()]
network = model.inherit(best)
teacher = Teacher(model.teacher(), space.image_size(space.largest()), weight=0.5, temperature=2.0)
train(network, task, size=space.image_size(best), seed=3, checkpoint=folder / "winner.safetensors", on_event=tell,
    teacher=teacher, settings=TrainSettings(epochs=6, batch_size=64, checkpoint_steps=5, learning_rate=8.0, warmup=0.9,
    mixup=0.2, erase=0.25, patience=1))
save_file({name: t.contiguous() for name, t in network.state_dict().items()}, folder / "weights.safetensors")
"""


@pytest.fixture(scope="module")
def task() -> Task:
    return hwnas.tasks.open("digits")


def small() -> nn.Module:
    with reproducible(0):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)
        )


def start(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", LOOP, str(folder)], stdout=subprocess.PIPE, text=True)


def test_killed_at_any_moment_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole")
    steps = whole.communicate()[0].splitlines()
    assert whole.returncode == 0
    winner = [line for line in steps if line.startswith("training ")]
    assert 19 < len(winner) < 6 * 19, "it must have stopped early"
    rng = random.Random(0)
    for part in range(3):  # in the supernet, about where it ends, in the winner
        killed = start(tmp_path / "killed")
        assert killed.stdout is not None
        moment = rng.choice(steps[len(steps) * part // 3 : len(steps) * (part + 1) // 3])
        for line in killed.stdout:
            if line.strip() == moment:
                break
        else:
            pytest.fail(f"{moment} was done before the last kill")
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    resumed = start(tmp_path / "killed")
    done = resumed.communicate()[0].splitlines()
    assert resumed.returncode == 0
    assert 0 < len(done) < len(steps)
    for name in ("weights", "supernet", "winner"):
        wanted, found = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "killed"))
        assert wanted.keys() == found.keys()
        for key, tensor in wanted.items():
            assert torch.equal(tensor, found[key]), (name, key)


def test_it_learns_and_a_finished_training_is_not_repeated(task: Task, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=12, batch_size=64, learning_rate=0.2)
    trained = train(small(), task, size=8, settings=settings, seed=0, checkpoint=tmp_path / "w")
    accuracy = evaluate(trained.module, task.validation, task, 8)
    assert accuracy > 0.85
    assert len(trained.history) == 12
    assert trained.history[-1].loss < trained.history[0].loss
    events: list[Progress | Note] = []
    again = train(small(), task, size=8, settings=settings, seed=0, checkpoint=tmp_path / "w", on_event=events.append)
    assert not events
    assert again.history == trained.history
    assert evaluate(again.module, task.validation, task, 8) == accuracy


def test_torch_is_left_as_it_was(task: Task, tmp_path: Path) -> None:
    torch.manual_seed(11)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        module = train(small(), task, size=8, settings=QUICK, seed=0, checkpoint=tmp_path / "w").module
        evaluate(module, task.validation, task, 8)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(ZeroDivisionError), reproducible(0):
        raise ZeroDivisionError
    assert not torch.are_deterministic_algorithms_enabled()


def test_outputs_do_not_depend_on_the_batch(task: Task) -> None:
    module = small()
    images = task.validation.images
    together = logits(module, images, task, 8)
    apart = np.concatenate([logits(module, images[i : i + 1], task, 8) for i in range(5)])
    assert together.shape == (len(images), 10)
    np.testing.assert_allclose(together[:5], apart, rtol=1e-5, atol=1e-6)


def test_another_training_is_refused(task: Task, tmp_path: Path) -> None:
    train(small(), task, size=8, settings=QUICK, seed=0, checkpoint=tmp_path / "w", provenance={"genotype": [1]})
    with pytest.raises(ProvenanceMismatch, match="seed: found 0, wanted 1"):
        train(small(), task, size=8, settings=QUICK, seed=1, checkpoint=tmp_path / "w", provenance={"genotype": [1]})
    with pytest.raises(ProvenanceMismatch, match="genotype"):
        train(small(), task, size=8, settings=QUICK, seed=0, checkpoint=tmp_path / "w", provenance={"genotype": [2]})


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(HwnasError, match="cannot be read"):
        checkpoints.read(tmp_path / "w", {})


def test_checkpoints_keep_every_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last), "n": torch.tensor(7)}
    checkpoints.write(tmp_path / "w", tensors, header={"of": "test"}, state={"step": 3, "loss": 0.1})
    found, state = checkpoints.read(tmp_path / "w", {"of": "test"}) or ({}, {})
    assert state == {"step": 3, "loss": 0.1}
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    assert checkpoints.read(tmp_path / "none", {}) is None


def test_batches_are_a_function_of_seed_and_step() -> None:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (50, 2, 6, 5), np.uint8), np.arange(50))

    def drawn(first: int = 0, seed: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(batches(split, batch_size=16, epochs=3, shift=2, flip=True, seed=seed, first_step=first))

    whole = drawn()
    assert len(whole) == 3 * steps_per_epoch(50, 16) == 9
    for first in (1, 3, 8):
        for (x, y), (x2, y2) in zip(whole[first:], drawn(first), strict=True):
            assert np.array_equal(x, x2)
            assert np.array_equal(y, y2)
    assert not np.array_equal(whole[0][1], drawn(seed=6)[0][1])
    for epoch in range(3):
        labels = np.concatenate([y for _, y in whole[3 * epoch : 3 * epoch + 3]])
        assert len(set(labels.tolist())) == 48
    assert len(whole[0][0]) == 16
    few = batches(Split(split.images[:3], split.labels[:3]), batch_size=16, epochs=2, shift=0, flip=False, seed=0)
    assert [len(y) for _, y in few] == [3, 3]


def test_augmentation_moves_and_mirrors_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(1, 256, (200, 3, 5, 4), np.uint8)
    assert np.array_equal(augment(images, rng, shift=0, flip=False), images)
    seen = set()
    for image, out in zip(images, augment(images, rng, shift=1, flip=True), strict=True):
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
        matches = [
            (down, right, mirrored)
            for down in range(3)
            for right in range(3)
            for mirrored in (False, True)
            if np.array_equal(out[..., ::-1] if mirrored else out, padded[:, down : down + 5, right : right + 4])
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 18


def test_erasing_replaces_rectangles_by_noise() -> None:
    images = np.zeros((400, 2, 9, 14), np.uint8)
    out = augment(images, np.random.default_rng(0), shift=0, flip=False, erase=0.5)
    assert np.array_equal(out, augment(images, np.random.default_rng(0), shift=0, flip=False, erase=0.5))
    areas = []
    for changed in np.any(out, axis=1):
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        if len(rows):
            areas.append(len(rows) * len(columns))
            assert changed.sum() > 0.8 * areas[-1], "a full rectangle: noise is rarely black"
    assert 150 < len(areas) < 250
    assert 1 <= min(areas) < 0.1 * 9 * 14 < 0.3 * 9 * 14 < max(areas) <= 0.5 * 9 * 14


def test_mixup_blends_images_and_labels_alike() -> None:
    labels = np.arange(64) % 4
    images = np.repeat(np.uint8(60) * labels[:, None, None, None].astype(np.uint8), 25, axis=3)
    mixed, targets = mix(images, labels, classes=4, alpha=1.0, seed=1, step=5)
    again, _ = mix(images, labels, classes=4, alpha=1.0, seed=1, step=5)
    other, _ = mix(images, labels, classes=4, alpha=1.0, seed=1, step=6)
    assert mixed.dtype == np.uint8
    assert np.array_equal(mixed, again)
    assert not np.array_equal(mixed, other)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], targets @ (60 * np.arange(4)), atol=0.51)
    assert (targets.max(1) < 0.99).mean() > 0.2
    plain, hot = mix(images, labels, classes=4, alpha=0.0, seed=1, step=5)
    assert plain is images
    assert np.array_equal(hot.argmax(1), labels)


def test_the_best_epoch_is_kept_and_a_training_that_only_gets_worse_ends(task: Task, tmp_path: Path) -> None:
    good = train(
        small(), task, size=8, settings=TrainSettings(epochs=6, batch_size=64), seed=0, checkpoint=tmp_path / "w"
    )
    assert good.validation_accuracy == evaluate(good.module, task.validation, task, 8)
    settings = TrainSettings(epochs=8, batch_size=64, learning_rate=8.0, warmup=0.9, patience=2)
    worse = train(good.module, task, size=8, settings=settings, seed=0, checkpoint=tmp_path / "worse")
    accuracies = [epoch.validation_accuracy for epoch in worse.history]
    assert None not in accuracies
    best = max(range(len(accuracies)), key=lambda i: (accuracies[i] or 0.0, i))
    assert len(accuracies) == best + 1 + 2 < 8
    assert evaluate(worse.module, task.validation, task, 8) == worse.validation_accuracy == accuracies[best]


def test_a_network_learns_from_its_teacher_as_long_as_that_is_better(task: Task, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=8, batch_size=64, learning_rate=0.2)
    good = train(small(), task, size=8, settings=settings, seed=0, checkpoint=tmp_path / "good").module
    before = {name: tensor.clone() for name, tensor in good.state_dict().items()}

    def taught(name: str, teacher: Teacher, labels: Task) -> float:
        trained = train(small(), labels, size=8, settings=settings, seed=0, checkpoint=tmp_path / name, teacher=teacher)
        return evaluate(trained.module, task.test(), task, 8)

    shuffled = np.random.default_rng(0).permutation(task.train.labels)
    useless = replace(task, train=Split(task.train.images, shuffled))
    assert taught("useless labels", Teacher(good, 8, weight=1.0, temperature=2.0), useless) > 0.75
    assert all(torch.equal(tensor, before[name]) for name, tensor in good.state_dict().items())
    with torch.no_grad():  # calls every digit by another one's name
        good[-1].weight.copy_(good[-1].weight.roll(1, 0))  # type: ignore[index]
        good[-1].bias.copy_(good[-1].bias.roll(1, 0))  # type: ignore[index]
    assert taught("bad teacher", Teacher(good, 8, weight=0.9, temperature=2.0), task) > 0.75


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    settings = TrainSettings(learning_rate=0.5, warmup=0.25)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    peak = int(np.argmax(rates))
    assert 24 <= peak <= 26
    assert rates[peak] == pytest.approx(0.5, rel=0.05)
    assert np.all(np.diff(rates[: peak + 1]) > 0)
    assert np.all(np.diff(rates[peak:]) < 0)
    assert 0 < rates[-1] < 0.001


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_trains_resumes_and_gives_the_network_back(task: Task, tmp_path: Path) -> None:
    teacher = Teacher(small().eval(), 8, weight=0.5, temperature=2.0)
    first = train(small(), task, size=8, settings=QUICK, seed=0, checkpoint=tmp_path / "a", teacher=teacher)
    again = train(small(), task, size=8, settings=QUICK, seed=0, checkpoint=tmp_path / "a", teacher=teacher)
    assert next(first.module.parameters()).device.type == "cpu"
    assert evaluate(first.module, task.validation, task, 8) == pytest.approx(first.validation_accuracy, abs=0.02)
    assert first.validation_accuracy > 0.5
    for one, other in zip(first.module.state_dict().values(), again.module.state_dict().values(), strict=True):
        assert torch.equal(one, other)
