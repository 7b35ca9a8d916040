"""Are the networks that hwnas finds better than those people designed? Same data, recipe, epochs, device and measurement.

    python benchmarks/against_hand_designed.py --out FOLDER [--config FILE] [--epochs 8] [--budgets 0.35 0.6 0.9]

Finds a network for each latency budget (fractions of what the space's largest takes; no other limits) with one profile and one
supernet, trains MobileNetV2 at four widths, MobileNetV3-small, ResNet-20 and SqueezeNet by the same settings, exports all to
float32 ONNX, and measures all files in the same interleaved rounds. Accuracy is that of the files on the test images. The table
says how far each found network lies above the line through the baselines. Stopped at any moment, the same command goes on. In the
folder: comparison.json (for `hwnas report RUN --baselines`), comparison.png, and the runs.

The found networks start from a supernet's weights and learn from its largest network, as the configuration says; what training it
took is stated beside the table. The baselines start from scratch and learn from the labels alone.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import devices
from benchmarks.hand_designed import NETWORKS
from devices import Device
from devices.atomic import write_text
from devices.events import OnEvent, Progress
from devices.journal import Journal
from devices.versions import versions
from hwnas import progress, tasks
from hwnas.config import BudgetSection, Config, load
from hwnas.errors import HwnasError
from hwnas.profiles import PROFILE
from hwnas.report import comparison, figures_network, pictures
from hwnas.report.comparison import Compared, Comparison
from hwnas.run import run
from hwnas.steps import Steps
from hwnas.task import Task, normalize
from hwnas.training.determinism import reproducible
from hwnas.training.train import train
from profilers import measure_graphs

ROOT = Path(__file__).parent.parent
SUPERNET = "supernet.safetensors"


class Stopwatch:
    """Wall time by network and stage, on the disk every few seconds, so that a kill loses no more."""

    def __init__(self, path: Path) -> None:
        self._path, self._saved = path, 0.0
        self.seconds: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}

    def timed(self, network: str, on_event: OnEvent) -> OnEvent:
        """A callback that books the time between two events of a stage on it."""
        stages = self.seconds.setdefault(network, {})
        stage, last = "", 0.0

        def told(event: Any) -> None:
            nonlocal stage, last
            on_event(event)
            if isinstance(event, Progress):
                now = time.monotonic()
                if event.stage == stage:
                    stages[stage] = stages.get(stage, 0.0) + now - last
                stage, last = event.stage, now
                if now - self._saved > 3 or event.done == event.total:
                    write_text(self._path, json.dumps(self.seconds))
                    self._saved = now

        return told


@dataclass
class Benchmark:
    """The work, step by step; each finished one is in the journal."""

    out: Path
    config: Config
    task: Task
    steps: Steps
    watch: Stopwatch
    on_event: OnEvent

    def find(self, fraction: float) -> Path:
        """The ONNX file of the network that a run finds within a fraction of the largest network's latency."""
        name = found_name(fraction)
        folder, shared = self.out / f"found-{fraction:g}", self.out / SUPERNET
        own = folder / "work" / SUPERNET
        if shared.exists() and not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared, own.with_suffix(".copy"))
            own.with_suffix(".copy").replace(own)
        config = self.config.model_copy(update={"budget": BudgetSection(latency_fraction_of_largest=fraction)})
        run(config, folder, on_event=self.watch.timed(name, self.on_event))
        if own.exists() and not shared.exists():
            shutil.copyfile(own, shared.with_suffix(".copy"))
            shared.with_suffix(".copy").replace(shared)
        return folder / "bundle" / "model.onnx"

    def train(self, name: str) -> Path:
        """The ONNX file of a hand-designed network, trained."""
        path, checkpoint = (self.out / "hand-designed" / f"{name}{end}" for end in (".onnx", ".safetensors"))
        path.parent.mkdir(exist_ok=True)

        def trained() -> Mapping[str, Any]:
            with reproducible(self.config.seed):
                module = NETWORKS[name](self.task.input_shape, len(self.task.classes))
            result = train(
                module,
                self.task,
                size=max(self.task.input_shape[1:]),
                settings=self.config.train,
                seed=self.config.seed,
                checkpoint=checkpoint,
                provenance={"network": name},
                on_event=self.watch.timed(name, self.on_event),
            )
            export(result.module, self.task, path)
            return {}

        self.steps.once(f"trained {name}", trained, path)
        return path

    def measure(self, files: Mapping[str, Path]) -> Sequence[Mapping[str, Any]]:
        """Costs of all files, in the same rounds."""

        def measured() -> Mapping[str, Any]:
            graphs = [devices.load_onnx(path) for path in files.values()]
            with devices.open(self.config.device.spec) as device:
                timings = measure_graphs(device, graphs, seed=self.config.seed, on_event=self.on_event)
                memory = []
                for graph in graphs:
                    with device.load(graph) as session:
                        memory.append(session.memory().memory_bytes)
            return {
                "networks": [
                    {
                        "parameters": sum(graph.tensors[name].size for name in graph.constants),
                        "memory_bytes": used,
                        "p50_ms": t.p50_ms,
                        "p50_low_ms": t.p50_low_ms,
                        "p50_high_ms": t.p50_high_ms,
                    }
                    for graph, t, used in zip(graphs, timings, memory, strict=True)
                ]
            }

        costs: Sequence[Mapping[str, Any]] = self.steps.once("measured", measured)["networks"]
        return costs

    def test(self, files: Mapping[str, Path]) -> NDArray[np.bool_]:
        """``(files, test images)``: whether each file classifies each test image correctly."""
        test = self.task.test()

        def tested(path: Path, device: Device) -> Mapping[str, Any]:
            graph = devices.load_onnx(path)
            size = graph.tensors[graph.inputs[0]].shape[2]
            with device.load(graph) as session:
                predicted = session.infer(normalize(test.images, self.task, size)).argmax(1)
            return {"correct": base64.b64encode(np.packbits(predicted == test.labels).tobytes()).decode()}

        rows = []
        with devices.open(self.config.device.spec) as device:
            for done, (name, path) in enumerate(files.items(), 1):
                unit = self.steps.once(f"tested {name}", partial(tested, path, device))
                rows.append(np.unpackbits(np.frombuffer(base64.b64decode(unit["correct"]), np.uint8), count=len(test)))
                self.on_event(Progress("testing", done, len(files), name))
        return np.array(rows, bool)


def found_name(fraction: float) -> str:
    """For people."""
    return f"found in {fraction:.0%}"


def export(module: nn.Module, task: Task, path: Path) -> None:
    """Write the ONNX file: one example, batch norm folded into the convolutions."""
    temporary = path.with_suffix(".partial")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is the older one
        torch.onnx.export(module.eval(), (torch.zeros(1, *task.input_shape),), temporary, dynamo=False)
    temporary.replace(path)


def compare(benchmark: Benchmark, budgets: Sequence[float]) -> Comparison:
    """Do everything that is not done yet."""
    designed, found = len(NETWORKS), len(budgets)
    trained, files = {}, {}
    for done, name in enumerate(NETWORKS):
        benchmark.on_event(Progress("networks", done, designed + found, name))
        trained[name] = benchmark.train(name)
    for done, budget in enumerate(budgets, designed):
        benchmark.on_event(
            Progress("networks", done, designed + found, f"a network in {budget:.0%} of the largest's latency")
        )
        files[found_name(budget)] = benchmark.find(budget)
    benchmark.on_event(Progress("networks", designed + found, designed + found))
    files |= trained
    costs, correct = benchmark.measure(files), benchmark.test(files)
    accuracy, latency = correct.mean(1), np.array([c["p50_ms"] for c in costs])
    line = comparison.line(latency[found:], accuracy[found:])
    networks = []
    for i, (name, cost) in enumerate(zip(files, costs, strict=True)):
        gain: tuple[float | None, float | None] = (None, None)
        shares, same = line.weights(latency[i]), line.latency_at(accuracy[i])
        if i < found and shares is not None:
            gain = comparison.paired(correct[i], correct[found:], shares)
        networks.append(
            Compared(
                name=name,
                found=i < found,
                **cost,
                accuracy=float(accuracy[i]),
                accuracy_se=float(np.sqrt(accuracy[i] * (1 - accuracy[i]) / correct.shape[1])),
                training_s=benchmark.watch.seconds.get(name, {}).get("training", 0.0),
                gain=gain[0],
                gain_se=gain[1],
                speedup=same / latency[i] if i < found and same is not None else None,
            )
        )
    config = benchmark.config
    supernet_s = sum(stages.get("supernet", 0.0) for stages in benchmark.watch.seconds.values())
    return Comparison(benchmark.task.name, config.device.spec, config.train.epochs, supernet_s, tuple(networks))


def table(compared: Comparison) -> str:
    """What was found, for people."""
    lines = [
        f"{'':20} {'parameters':>11} {'memory':>9} {'p50':>9} {'test accuracy':>15} {'training':>9}  above the baselines' line",
    ]
    for n in sorted(compared.networks, key=lambda n: n.p50_ms):
        gain = (
            "no baseline is as fast" if n.gain is None else f"{100 * n.gain:+.2f} ± {100 * (n.gain_se or 0):.2f} points"
        )
        speed = "off its accuracies" if n.speedup is None else f"{n.speedup:.2f} × as fast"
        lines.append(
            f"{n.name:20} {n.parameters:11,} {n.memory_bytes / 1024:5.0f} KiB {n.p50_ms:6.3f} ms "
            f"{100 * n.accuracy:6.2f} ± {100 * n.accuracy_se:.2f} % {n.training_s / 60:5.1f} min"
            + (f"  {gain}; {speed}" if n.found else "")
        )
    epochs = f"{compared.epochs} epochs each" if compared.epochs > 1 else "one epoch each"
    lines.append("found in p %: within p % of the latency of the space's largest network")
    lines.append(f"{epochs}; the supernet, once for all found networks: {compared.supernet_s / 60:.1f} min")
    return "\n".join(lines)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=ROOT / "examples" / "fashion_mnist.toml")
    parser.add_argument("--epochs", type=int, help="of every network's own training; by default the configuration's")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.35, 0.6, 0.9])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    config = load(given.config)
    if given.epochs is not None:
        config = config.model_copy(update={"train": config.train.model_copy(update={"epochs": given.epochs})})
    profile = config.device.profile or (given.out / PROFILE).resolve()
    device = config.device.model_copy(update={"profile": profile})
    config = config.model_copy(update={"device": device, "seeds": 1})
    header = {
        "schema": comparison.SCHEMA,
        "config": config.model_dump(mode="json"),
        "budgets": given.budgets,
        "versions": versions(("hwnas", "onnx", "onnxruntime", "torch")),
    }
    with progress.shown() as on_event, Journal(given.out / "journal.jsonl", header) as journal:
        section = config.task
        task = tasks.open(section.name, path=section.path, flip=section.flip, seed=config.seed, on_event=on_event)
        benchmark = Benchmark(given.out, config, task, Steps(journal), Stopwatch(given.out / "seconds.json"), on_event)
        compared = compare(benchmark, given.budgets)
    compared.write(given.out / "comparison.json")
    print(table(compared))
    try:
        pictures.write({"comparison": figures_network.comparison(compared)}, given.out)
    except HwnasError as error:
        print(f"comparison.png is missing: {error} {error.hint}")


if __name__ == "__main__":
    main()
