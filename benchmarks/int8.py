"""What is INT8 worth? Speed against float32 at several image sizes, beside ONNX Runtime's default quantisation, and what is lost.

    python benchmarks/int8.py [--device onnxruntime:threads=1] [--sizes 28,64,96,160] [--networks 3] [--run RUN …] [--out FILE]

Networks of the space ``mobile`` with made-up weights, the smallest, the largest and random ones, are measured in turns: as
float32, as INT8 throughout in our flavour, and as ``onnxruntime.quantization.quantize_static`` makes them without options.
Accuracies need trained networks: of every finished ``--run`` its float32 file, its INT8 file and the default quantisation of the
former classify the test images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, quantize_static

import devices
import hwnas.config
import hwnas.spaces
import hwnas.tasks
from devices import Device
from hwnas.bundle.certificate import FLOAT, INT8
from hwnas.int8.calibration import quiet
from hwnas.int8.paired import paired_drop
from hwnas.int8.quantize import quantize
from hwnas.onnx_inference import logits
from hwnas.task import normalize
from profilers import measure_graphs

DEFAULT = "default.onnx"
CALIBRATION_IMAGES = 128


class Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands images over one by one."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._name, self._images = name, iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next one."""
        image = next(self._images, None)
        return None if image is None else {self._name: image[None]}


def by_default(source: Path, target: Path, images: NDArray[np.float32]) -> None:
    """INT8 as the library makes it without options."""
    model = onnx.load(source)
    model.metadata_props.add(
        key="onnx.quant.pre_process", value="onnxruntime.quant"
    )  # it is: shapes known, norms folded
    with quiet():
        quantize_static(model, target, Images(model.graph.input[0].name, images))


def p50_ms(device: Device, paths: Sequence[Path]) -> list[float]:
    """Median latencies, measured in turns."""
    return [timing.p50_ms for timing in measure_graphs(device, [devices.load_onnx(path) for path in paths])]


def speed(device: Device, size: int, networks: int, folder: Path) -> list[dict[str, Any]]:
    """Of networks with made-up weights on images of ``size`` pixels."""
    rng = np.random.default_rng(0)
    space = hwnas.spaces.open("mobile", (3, size, size), 10, resolutions=[size])
    genotypes = [space.smallest(), space.largest(), *space.sample(rng, max(0, networks - 2))][:networks]
    images = rng.standard_normal((8, 3, size, size)).astype(np.float32)
    paths = []
    for i, genotype in enumerate(genotypes):
        trio = [folder / f"{size}-{i}-{name}" for name in (FLOAT, INT8, DEFAULT)]
        trio[0].write_bytes(space.graph(genotype).to_onnx().SerializeToString())
        quantize(trio[0], trio[1], images)
        by_default(trio[0], trio[2], images)
        paths += trio
    return [
        {"size": size, "genotype": g.tolist(), "float_ms": f, "int8_ms": q, "default_ms": d}
        for g, (f, q, d) in zip(genotypes, np.reshape(p50_ms(device, paths), (-1, 3)).tolist(), strict=True)
    ]


def loss(device: Device, run: Path, folder: Path) -> list[dict[str, Any]]:
    """Of the files of one run, on the test images."""
    config = hwnas.config.load(run / "config.toml")
    task = hwnas.tasks.open(
        config.task.name, path=config.task.path, flip=config.task.flip, seed=config.seed, **config.task.settings
    )
    source = run / "bundle" / FLOAT
    size = onnx.load(source).graph.input[0].type.tensor_type.shape.dim[2].dim_value
    by_default(source, folder / DEFAULT, normalize(task.train.images[:CALIBRATION_IMAGES], task, size))
    paths = [source, run / "bundle" / INT8, folder / DEFAULT]
    test = task.test()
    images = normalize(test.images, task, size)
    right = [logits(onnx.load(path), images).argmax(1) == test.labels for path in paths]
    return [
        {"run": run.name, "file": path.name, "p50_ms": ms, "accuracy": float(r.mean()), "change": str(paired_drop(right[0], r))}
        for path, ms, r in zip(paths, p50_ms(device, paths), right, strict=True)
    ]  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="onnxruntime:threads=1")
    parser.add_argument("--sizes", default="28,64,96,160")
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--run", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with devices.open(given.device) as device, tempfile.TemporaryDirectory(prefix="hwnas-") as temporary:
        print(f"{device.info.spec} on {device.info.hardware['cpu']}\n")
        print(f"{'size':>5} {'float32 ms':>11} {'INT8 ms':>9} {'speed-up':>9} {'default ms':>11} {'speed-up':>9}")
        rows = []
        for size in map(int, given.sizes.split(",")):
            for row in speed(device, size, given.networks, Path(temporary)):
                f, q, d = row["float_ms"], row["int8_ms"], row["default_ms"]
                print(f"{size:>5} {f:>11.3f} {q:>9.3f} {f / q:>9.2f} {d:>11.3f} {f / d:>9.2f}")
                rows.append(row)
        losses = [row for run in given.run for row in loss(device, run, Path(temporary))]
        if losses:
            print(f"\n{'run':<20} {'file':<16} {'p50 ms':>8} {'accuracy':>9}  change on the same images")
        for row in losses:
            print(f"{row['run']:<20} {row['file']:<16} {row['p50_ms']:>8.3f} {row['accuracy']:>9.4f}  {row['change']}")
        if given.out:
            given.out.write_text(json.dumps({"device": device.info.to_json(), "speed": rows, "loss": losses}, indent=2))


if __name__ == "__main__":
    main()
