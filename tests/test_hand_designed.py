"""The baselines are the papers' networks: parameters as published, sizes adapted as said, exported as trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import devices
from benchmarks.against_hand_designed import Benchmark, Stopwatch, export, table
from benchmarks.hand_designed import NETWORKS, mobilenet_v2, mobilenet_v3_small, resnet, squeezenet
from devices.events import Note, OnEvent, Progress, ignore
from devices.journal import Journal
from hwnas import tasks
from hwnas.config import BudgetSection, Config
from hwnas.report.data import ReportData
from hwnas.steps import Steps
from hwnas.task import Split, normalize
from hwnas.training.settings import TrainSettings

IMAGENET = (3, 224, 224)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Published or, where the papers round, counted in torchvision's own modules; SqueezeNet has our batch norm in addition.
@pytest.mark.parametrize(
    ("module", "published"),
    [
        (lambda: mobilenet_v2(IMAGENET, 1000, width=1.0), 3_504_872),
        (lambda: mobilenet_v3_small(IMAGENET, 1000), 2_542_856),
        (lambda: squeezenet(IMAGENET, 1000), 1_235_496),
        (lambda: resnet((3, 32, 32), 10, depth=20), 272_474),
    ],
)
def test_sizes_are_the_published_ones(module: object, published: int) -> None:
    assert parameters(module()) == pytest.approx(published, rel=0.012)  # type: ignore[operator]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("side", [8, 28])
def test_small_images_shrink_to_four_pixels(name: str, side: int) -> None:
    module = NETWORKS[name]((1, side, side), 10).eval()
    sides: list[int] = []
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    with torch.inference_mode():
        assert module(torch.zeros(2, 1, side, side)).shape == (2, 10)
    smallest = min(s for s in sides if s > 1)
    assert smallest == (7 if "ResNet" in name and side == 28 else 2 if "ResNet" in name else 4)


@pytest.mark.parametrize("name", ["MobileNetV2 ×0.25", "MobileNetV3-small", "ResNet-20", "SqueezeNet 1.1"])
def test_the_file_computes_what_the_module_does(name: str, tmp_path: Path) -> None:
    task = tasks.open("digits")
    torch.manual_seed(0)
    module = NETWORKS[name](task.input_shape, len(task.classes))
    images = torch.from_numpy(normalize(task.train.images[:64], task, 8))
    with torch.no_grad():
        module.train()(images)
    export(module, task, tmp_path / "model.onnx")
    graph = devices.load_onnx(tmp_path / "model.onnx")
    assert not [node for node in graph.nodes if node.op == "BatchNormalization"]
    with devices.open("onnxruntime:threads=1") as device, device.load(graph) as session:
        found = session.infer(images.numpy())
    with torch.inference_mode():
        wanted = module.eval()(images).numpy()
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max() + 1e-5


class Killed(Exception):
    pass


def test_a_baseline_stopped_half_way_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    task = tasks.open("digits")
    task = dataclasses.replace(
        task,
        train=Split(task.train.images[:96], task.train.labels[:96]),
        validation=Split(task.validation.images[:50], task.validation.labels[:50]),
    )
    config = Config(
        budget=BudgetSection(latency_ms=1.0),
        train=TrainSettings(epochs=2, batch_size=32, checkpoint_steps=1, start="scratch"),
    )

    def kill(event: Note | Progress) -> None:
        if isinstance(event, Progress) and event.stage == "training" and event.done == 4:
            raise Killed

    def trained(folder: Path, on_event: OnEvent) -> Path:
        folder.mkdir(exist_ok=True)
        with Journal(folder / "journal.jsonl", {"schema": 1}) as journal:
            watch = Stopwatch(folder / "seconds.json")
            return Benchmark(folder, config, task, Steps(journal), watch, on_event).train("ResNet-20")

    whole = trained(tmp_path / "whole", ignore).read_bytes()
    with pytest.raises(Killed):
        trained(tmp_path / "killed", kill)
    again = trained(tmp_path / "killed", ignore)
    assert again.read_bytes() == whole
    before = again.stat().st_mtime_ns
    assert trained(tmp_path / "killed", kill).stat().st_mtime_ns == before


def test_time_is_booked_on_stages_and_outlives_the_process(tmp_path: Path) -> None:
    seen: list[Note | Progress] = []
    events: list[Note | Progress] = [
        Progress("supernet", 1, 2),
        Note("a word"),
        Progress("supernet", 2, 2),
        Progress("training", 1, 1),
    ]
    told = Stopwatch(tmp_path / "seconds.json").timed("found", seen.append)
    for event in events:
        told(event)
    assert seen == events
    again = Stopwatch(tmp_path / "seconds.json").seconds
    assert list(again["found"]) == ["supernet"]
    assert 0 <= again["found"]["supernet"] < 1


def test_the_table_says_how_far_above_the_line(report_data: ReportData) -> None:
    assert report_data.comparison is not None
    lines = table(report_data.comparison).splitlines()
    assert [line[:20].strip() for line in lines[1:4]] == ["MobileNetV2 ×0.25", "found 0.5", "SqueezeNet 1.1"]
    assert lines[2].endswith("+1.10 ± 0.30 points; off its accuracies")
    assert lines[-1] == "8 epochs each; the supernet, once for all found networks: 10.0 min"
