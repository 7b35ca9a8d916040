"""INT8 files are chosen for what they lose and what they gain, on validation images and on the device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import devices
import hwnas.spaces
import hwnas.tasks
from hwnas.bundle.export import export
from hwnas.int8.mixed_precision import Candidate, Mixture, choose, mix, plans, verdict
from hwnas.int8.paired import Drop, paired_drop
from hwnas.int8.sensitivity import Sensitivity
from hwnas.onnx_inference import logits
from hwnas.task import normalize


def test_paired_drop_counts_what_differs() -> None:
    before = np.array([True] * 90 + [False] * 10)
    after = before.copy()
    after[:3], after[95] = False, True
    drop = paired_drop(before, after)
    assert drop.lost == pytest.approx(0.02)
    b, c, n = 3.5, 1.5, 102
    error = 1.959964 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    assert (drop.low, drop.high) == pytest.approx(((b - c) / n - error, (b - c) / n + error))
    same = paired_drop(before, before)
    assert same.lost == 0
    assert same.low < 0 < same.high
    assert str(drop) == "-2.00 points (-6.24 to +2.32)"


def layer(name: str, divergence: float, time_gained_ms: float) -> Sensitivity:
    return Sensitivity(name, 0.0, divergence, time_gained_ms)


def test_layers_go_back_by_what_they_win_for_the_time_they_cost() -> None:
    rows = [layer("a", 3.0, 0.3), layer("b", 2.0, 0.1), layer("c", 1.0, 0.2), layer("d", 9.0, 0.3)]
    assert plans(rows, float_ms=2.0, whole_ms=1.0) == ([()], [("d",), ("d", "b")])
    slower = plans(rows, float_ms=0.9, whole_ms=1.0)
    assert slower == ([()], [("d",), ("d", "a")])  # time does not count where INT8 is slower anyway


def test_layers_in_which_int8_is_slower_go_back_first_if_that_is_worth_it() -> None:
    rows = [layer("a", 1.0, -0.3), layer("b", 2.0, 0.1), layer("c", 1.0, 0.1)]
    assert plans(rows, float_ms=1.0, whole_ms=1.2) == ([(), ("a",)], [("a", "b")])
    assert plans(rows, float_ms=0.9, whole_ms=1.2)[0] == [()]


def candidate(lost: float, p50_ms: float, *float_layers: str) -> Candidate:
    return Candidate(float_layers, Drop(lost, lost - 0.001, lost + 0.001), p50_ms, p50_ms)


@pytest.mark.parametrize(
    ("candidates", "chosen", "says"),
    [
        ([candidate(0, 0.5)], 0, "INT8 is 2.00 times as fast here, 0.5 against 1 ms; validation accuracy changes by +0.00"),
        ([candidate(0.01, 0.5), candidate(0.002, 0.7, "head")], 1, "head stay float32"),
        ([candidate(0.01, 0.5), candidate(0.008, 0.7, "head")], 0, "-0.30 points are allowed. The float32 file"),
        ([candidate(0, 0.7), candidate(0, 0.69, "head")], 0, "1.43 times as fast"),
        ([candidate(0, 0.7), candidate(0, 0.5, "head")], 1, "2.00 times as fast"),
        ([candidate(0, 1.5), candidate(0, 1.2, "head")], 0, "INT8 is 1.50 times as slow here"),
        ([candidate(0, 1.5), candidate(0, 0.9, "head")], 1, "1.11 times as fast"),
        ([candidate(0.01, 1.5), candidate(0, 1.2, "head")], 1, "pays only where memory or file size decide. head stay"),
    ],
)  # fmt: skip
def test_the_fastest_that_keeps_the_accuracy_is_chosen(candidates: list[Candidate], chosen: int, says: str) -> None:
    assert choose(candidates, float_ms=1.0, max_accuracy_drop=0.003) == chosen
    assert says in verdict(candidates[chosen], float_ms=1.0, max_accuracy_drop=0.003)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    task = hwnas.tasks.open("digits")
    space = hwnas.spaces.open(
        "mobile", task.input_shape, 10, activations=["hardswish"], resolutions=[8], widths=[[16], [24], [32]],
        depths=[1], kernels=[3], expansions=[2], squeeze_excite=[False], stem_width=8, head_width=32,
    )  # fmt: skip
    genotype = space.sample(np.random.default_rng(0), 1)[0]
    path: Path = tmp_path_factory.mktemp("mixture") / "model.onnx"
    export(space, genotype, space.build(genotype).eval(), task, path)
    with devices.open("onnxruntime:threads=1") as device:
        return mix(
            path,
            normalize(task.train.images[:32], task, 8),
            normalize(task.validation.images, task, 8),
            task.validation.labels,
            device,
            max_accuracy_drop=0.003,
        )


def test_every_layer_is_looked_at_and_the_choice_explained(mixture: Mixture) -> None:
    assert [s.layer for s in mixture.sensitivity] == ["stage1.0", "stage2.0", "stage3.0", "head"]
    assert sum(s.divergence for s in mixture.sensitivity) > 0
    told = json.loads(json.dumps(mixture.to_json(), allow_nan=False))
    assert told["float_layers"] == list(mixture.candidates[mixture.chosen].float_layers)
    assert told["calibration"] in told["divergences"]
    assert min(told["divergences"].values()) == told["divergences"][told["calibration"]]
    assert told["verdict"].endswith(".")


def test_the_drop_is_that_of_the_chosen_file(mixture: Mixture) -> None:
    validation = (task := hwnas.tasks.open("digits")).validation
    right = logits(mixture.model, normalize(validation.images, task, 8)).argmax(1) == validation.labels
    chosen = mixture.candidates[mixture.chosen]
    assert 0 <= right.mean() + chosen.drop.lost <= 1
    assert chosen.p50_ms > 0
    assert mixture.candidates[0].float_layers == ()
