"""A run that is killed with -9 at random moments ends with the same network, the same weights and the same accuracy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx

from devices import journal
from hwnas.bundle import certificate

ROOT = Path(__file__).parent.parent
KILLS = 3


def start(config: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "hwnas.cli", "run", str(config), "--out", str(out), "--json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_killed_runs_end_as_if_undisturbed(small_run: Path, small_config: Path, tmp_path: Path) -> None:
    """``small_run`` has made the profile. What was measured is the same for both: two measurements differ."""
    out, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    rng = np.random.default_rng(0)
    for kill in range(KILLS):
        process = start(small_config, out)
        # Wait until the run has got further than last time, then a random moment more.
        deadline, before = time.monotonic() + 60, progress(out)
        while process.poll() is None and progress(out) <= before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.5 * (kill + 1))))
        process.kill()
        process.wait()
        assert_whole(out)
    assert start(small_config, out).wait(timeout=120) == 0
    header, *lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    undisturbed.mkdir()
    kept = [line for line in lines if json.loads(line)["unit"] in ("profile", "budget", "measured")]
    (undisturbed / "journal.jsonl").write_bytes(b"".join([header, *kept]))
    assert start(small_config, undisturbed).wait(timeout=120) == 0
    ours, theirs = (journal.read(folder / "journal.jsonl")[1] for folder in (out, undisturbed))
    for kind in ("generation", "chosen"):
        assert [u for u in ours if u["unit"] == kind] == [u for u in theirs if u["unit"] == kind] != []
    mine, whole = (certificate.read(folder / "bundle") for folder in (out, undisturbed))
    same = ["model.onnx"]
    if int8_layers(out) == int8_layers(undisturbed):  # what is measured chooses them
        same.append("model.int8.onnx")
    for name in same:
        assert (out / "bundle" / name).read_bytes() == (undisturbed / "bundle" / name).read_bytes()
        assert mine.files[name].accuracy == whole.files[name].accuracy


def int8_layers(folder: Path) -> set[str]:
    """Names of the quantised convolutions and matrix products of a run's INT8 file."""
    nodes = onnx.load(folder / "bundle" / "model.int8.onnx").graph.node
    quantised = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    return {node.name for node in nodes if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in quantised}


def progress(out: Path) -> int:
    """Bytes of the journal and age of the checkpoints: grows with every finished unit."""
    return sum(path.stat().st_size for path in [out / "journal.jsonl", *out.glob("work/*")] if path.exists())


def assert_whole(out: Path) -> None:
    """No half-written file stands under a final name."""
    for path in out.glob("bundle/*"):
        if path.name == certificate.NAME:
            certificate.read(path.parent)
    if (out / "journal.jsonl").exists():
        lines = (out / "journal.jsonl").read_bytes().split(b"\n")[:-1]
        assert all(line.endswith(b"}") for line in lines)
