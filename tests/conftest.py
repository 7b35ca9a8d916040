"""What all tests share: on the CI machine nothing may be skipped unnoticed; a report with everything in it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ray_scaling import SumOfOptions
from devices import DeviceInfo
from devices.journal import Journal
from hwnas import judging, searchers, spaces, tasks
from hwnas.budget import Budget
from hwnas.config import Config
from hwnas.problem import Problem
from hwnas.report.comparison import Compared, Comparison
from hwnas.report.data import (
    ReportCandidates,
    ReportCheck,
    ReportData,
    ReportHistory,
    ReportKernel,
    ReportMistakes,
    ReportPlace,
)
from hwnas.report.effects import Effect, Effects, Interval
from hwnas.search import search
from hwnas.task import Task
from hwnas.training.distribution import even
from hwnas.workers import spread

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

# CI has a CPU, Debian's packages and PyPI's; a skip for another reason than these is a hole in the checks.
MAY_BE_SKIPPED_IN_CI = ("needs CUDA", "without an NVIDIA GPU", "needs HWNAS_TABLES")

_skipped: list[str] = []


def pytest_configure() -> None:
    """Tests that run side by side have a core each, and what they time is not disturbed by the others."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(MAY_BE_SKIPPED_IN_CI):
        _skipped.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)


def _must_run_everything() -> bool:
    return os.environ.get("CI") == "true" and platform.system() == "Linux" and platform.machine() == "x86_64"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _skipped and exitstatus == 0 and _must_run_everything():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped and _must_run_everything():
        terminalreporter.section("skipped, but must run in CI", red=True)
        for line in _skipped:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def report_data() -> ReportData:
    """A finished run with every part of the report; numbers are made up, shapes and units are not."""
    rng = np.random.default_rng(0)
    n = 400
    latency = rng.uniform(0.1, 0.5, n)
    accuracy = 0.93 - 0.12 * np.exp(-9 * latency) - rng.exponential(0.012, n)
    feasible = latency <= 0.4
    by_latency = [i for i in np.argsort(latency).tolist() if feasible[i]]
    front = tuple(i for k, i in enumerate(by_latency) if all(accuracy[i] > accuracy[j] for j in by_latency[:k]))
    measured = np.exp(rng.uniform(-2.5, 0.2, 120))
    checks = [
        ReportCheck(f"network {i}", float(m * (1 + rng.normal(0, 0.018))), float(m), "validation")
        for i, m in enumerate(measured)
    ]
    checks += [
        ReportCheck("model.onnx", 0.331, 0.339, "exported"),
        ReportCheck("model.int8.onnx", 0.309, 0.312, "exported"),
    ]
    kinds = ("com.microsoft.nchwc:Conv", "com.microsoft.nchwc:ReorderInput", "Gemm")
    bounds = ("compute", "bytes", "overhead")
    kernels = tuple(
        ReportKernel(
            kinds[i % 3], (f"stage{i}/conv", f"stage{i}/relu") if i % 3 else (), 0.002 + 0.001 * i, bounds[i % 3]
        )
        for i in range(20)
    )
    fp32 = {
        "sha256": "ab" * 32, "bytes": 871_234, "precision": "fp32", "latency_ms": 0.33, "p50_ms": 0.339, "p95_ms": 0.36,
        "ci95_ms": [0.336, 0.342], "memory_bytes": 1_310_720, "resident_bytes": 9_000_000, "accuracy": 0.9184,
        "predicted_latency_ms": 0.32, "predicted_p50_ms": 0.331, "within_budget": True, "stable": True,
    }  # fmt: skip
    int8 = fp32 | {
        "sha256": "cd" * 32, "bytes": 271_234, "precision": "int8", "p50_ms": 0.312, "p95_ms": 0.34, "ci95_ms": [0.309, 0.316],
        "memory_bytes": 610_720, "accuracy": 0.9121, "predicted_p50_ms": 0.309,
    }  # fmt: skip
    falling, wider = np.exp(-np.arange(8) / 3), Interval(0.1, 0.08, 0.12)
    return ReportData(
        title="demo",
        task="fashion_mnist",
        device=DeviceInfo("onnxruntime:threads=1", {"cpu": "A CPU", "cores": 2}, {"onnxruntime": "1.31.1"}, {"threads": 1}),
        budget=Budget(latency_ms=0.4, memory_bytes=1_572_864, model_bytes=1_048_576),
        candidates=ReportCandidates(latency, accuracy, feasible, np.arange(n) // 50, "supernet", front, front[-1], 0.74),
        choices={"resolution": 28, "activation": "relu", "stage 1 width": 24},
        checks=tuple(checks),
        noise_floor=0.004,
        kernels=kernels,
        places=tuple(
            ReportPlace(f"stage{i // 2}.{i % 2}", f"stage{i // 2}", (24 * (i // 2 + 1), 28 >> i // 2, 28 >> i // 2), 0.02)
            for i in range(6)
        ),
        histories=tuple(
            ReportHistory(
                name, falling, 0.9 - 0.2 * falling, best - 0.2 * falling, best
            )
            for name, best in (("from the supernet’s weights", 0.92), ("from scratch", 0.91))
        ),
        effects=Effects(
            tuple(
                Effect(f"stage{i}.width", 24, 16, Interval(0.01 * i, 0.01 * i - 0.004, 0.01 * i + 0.004), wider, 90)
                for i in range(5)
            ),
            0.8,
            0.9,
            n,
        ),
        mistakes=ReportMistakes(
            CLASSES,
            np.full((10, 10), 8) + np.diag(np.full(10, 920)),
            tuple(
                {"index": i, "label": i, "predicted": i + 1, "probability": 0.9, "png": "data:image/png;base64,iVBORw0KGgo="}
                for i in range(9)
            ),
        ),
        comparison=Comparison("fashion_mnist", "onnxruntime:threads=1", 8, 600.0, (
            Compared("MobileNetV2 ×0.25", False, 250_778, 1_200_000, 0.12, 0.119, 0.121, 0.905, 0.003, 200.0),
            Compared("SqueezeNet 1.1", False, 729_418, 3_200_000, 0.34, 0.339, 0.341, 0.915, 0.003, 300.0),
            Compared("found 0.5", True, 80_000, 520_000, 0.18, 0.179, 0.181, 0.92, 0.003, 250.0, 0.011, 0.003, None),
        )),
        quantized={
            "float_layers": ["stem/conv"], "verdict": "INT8 pays here.",
            "sensitivity": [
                {"layer": "stem/conv", "accuracy_lost": 0.01, "time_gained_ms": 0.002},
                {"layer": "head/conv", "accuracy_lost": 0.0, "time_gained_ms": None},
            ],
        },
        certificate={
            "schema": 1, "created": "2026-03-14T09:26:53Z", "budget": {}, "deploy": "model.int8.onnx", "within_budget": True,
            "deploy_reason": "It is the faster of the two.", "notes": ["One round was repeated."],
            "versions": {"hwnas": "0.1.0"}, "files": {"model.onnx": fp32, "model.int8.onnx": int8},
            "seeds": {
                "delivered": 1, "runs": [{"seed": seed, "validation_accuracy": 0.915, **int8} for seed in range(3)],
                "validation_accuracy": {"mean": 0.915, "standard_deviation": 0.001},
                "accuracy": {"mean": 0.9121, "standard_deviation": 0.002},
                "p50_ms": {"mean": 0.312, "standard_deviation": 0.0},
            },
        },
        config='seed = 0\n\n[device]\nspec = "onnxruntime:threads=1"\n',
        notes=("The machine was busy during one round; it was measured again.",),
    )  # fmt: skip


@pytest.fixture
def report_with(report_data: ReportData) -> Callable[[str], ReportData]:
    """The same report with a text in every place that takes text from outside."""

    def made(said: str) -> ReportData:
        assert report_data.effects is not None
        assert report_data.mistakes is not None
        assert report_data.comparison is not None
        return replace(
            report_data,
            title=said,
            task=said,
            choices={said: said},
            checks=(
                *report_data.checks[:5],
                ReportCheck(said, 0.2, 0.21, "validation"),
                ReportCheck(said, 0.3, 0.3, "exported"),
            ),
            kernels=tuple(replace(k, kind=said, nodes=(said,), bound=said) for k in report_data.kernels),
            places=tuple(replace(place, name=said, stage=said) for place in report_data.places),
            effects=replace(
                report_data.effects,
                effects=tuple(replace(e, gene=said, option=said) for e in report_data.effects.effects),
            ),
            mistakes=replace(report_data.mistakes, classes=(said,) * 10),
            comparison=replace(
                report_data.comparison,
                task=said,
                networks=tuple(replace(n, name=said) for n in report_data.comparison.networks),
            ),
            quantized={
                "verdict": said,
                "sensitivity": [{"layer": said, "accuracy_lost": 0.0, "time_gained_ms": None}],
            },
            config=said,
            notes=(said,),
            certificate={
                **(report_data.certificate or {}),
                "deploy_reason": said,
                "notes": [said],
                "created": said,
            },
        )

    return made


SMALL_RUN = """
[device]
profile = "device.profile.jsonl"
profile_time_limit_s = 12

[space]
depths = [1]
kernels = [3]
squeeze_excite = [false]
activations = ["relu"]
resolutions = [8]

[budget]
latency_ms = 1.0
memory_bytes = 190_000

[search]
evaluations = 24
generation = 6
initial = 12

[accuracy]
epochs = 1
validation_images = 100
calibration_images = 64

[train]
epochs = 6
batch_size = 64
checkpoint_steps = 5

[quantize]
calibration_images = 32
"""


@pytest.fixture(scope="session")
def small_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose whole run takes seconds, once its profile is there (the first run makes it)."""
    path = tmp_path_factory.mktemp("small") / "small.toml"
    path.write_text(SMALL_RUN)
    return path


@pytest.fixture(scope="session")
def small_run(small_config: Path) -> Path:
    """The folder of a finished run of it."""
    from hwnas.config import load
    from hwnas.run import run

    return run(load(small_config), small_config.with_name("undisturbed")).folder


@pytest.fixture
def by_readme(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Task], float]:
    """Of a bundle and a task: the fraction of the test images that the example in the bundle's README gets right."""

    def accuracy(folder: Path, task: Task) -> float:
        (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
        monkeypatch.chdir(folder)
        defined: dict[str, Any] = {}
        exec(code, defined)
        test = task.test()
        told = [defined["classify"](image) for image in test.images]
        return float(np.mean([name == task.classes[label] for name, label in zip(told, test.labels, strict=True)]))

    return accuracy


@pytest.fixture(scope="session")
def quick_config() -> Config:
    """Networks so small that to evaluate one takes milliseconds."""
    space = {"depths": [1], "kernels": [3], "squeeze_excite": [False], "activations": ["relu"], "resolutions": [8]}
    accuracy = {"epochs": 1, "validation_images": 100, "calibration_images": 64}
    return Config.model_validate({"budget": {"latency_ms": 9.0}, "space": space, "accuracy": accuracy})


@pytest.fixture(scope="session")
def recorded() -> Callable[..., bytes]:
    """What a search by some workers writes into its journal, if that begins with ``begun``. Its supernet stays in ``folder``."""

    def journal(
        workers: int | str | None,
        config: Config,
        folder: Path,
        *,
        searcher: str = "random",
        evaluations: int = 30,
        threads: int = 1,
        begun: bytes = b"",
    ) -> bytes:
        task = tasks.open("digits", seed=0)
        space = spaces.open(config.space.name, task.input_shape, len(task.classes), **config.space.settings)
        problem = Problem(space, SumOfOptions(), Budget(latency_ms=9.0), 0)
        model = judging.ranking_model(config, judging.accuracy_model(config, space, task, folder), space, task)
        path = folder / "journal"
        path.write_bytes(begun)
        even(space).save(folder / "even.json", space)
        settings = {"distribution": str(folder / "even.json")} if searcher == "gradient" else {}
        proposing = searchers.open(searcher, problem, **settings)
        with Journal(path, {}) as units, spread(workers, model, config, task, folder, threads=threads) as judge:
            search(problem, proposing, judge, evaluations=evaluations, generation=10, journal=units)
        return path.read_bytes()

    return journal
