"""A disk that fills up at any step of a run. The operating system's limit on the size of a file stands in for it: writing fails
in the middle of a file, in the worker and in the runtime's own code as well."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(config: Path, out: Path, largest_file_bytes: int | None) -> subprocess.CompletedProcess[str]:
    """``hwnas run`` where no file can grow beyond a size."""

    def limit() -> None:
        if largest_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))

    return subprocess.run(
        [sys.executable, "-m", "hwnas.cli", "run", str(config), "--out", str(out), "--json"],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_each_step_says_what_to_do_and_nothing_is_lost(small_config: Path, tmp_path: Path) -> None:
    config = tmp_path / "small.toml"
    config.write_text(small_config.read_text())
    out, profile = tmp_path / "out", tmp_path / "device.profile.jsonl"
    whole: dict[Path, bytes] = {}
    stopped_at = []
    for kib in (1, 150, 900, 2500):
        done = run(config, out, kib * 1024)
        error = json.loads(done.stdout)["error"]
        assert done.returncode == (4 if error["kind"] == "DeviceUnavailable" else 1), (kib, error)
        assert "Traceback" not in done.stderr, (kib, done.stderr)
        assert "space" in error["hint"], (kib, error)
        stopped_at.append(error["message"].partition(":")[0].rpartition("/")[2])
        for path, content in whole.items():
            assert path.read_bytes().startswith(content) if path.exists() else "partial" in path.name, (kib, path)
        whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in (".jsonl", ".onnx")}
    finished = run(config, out, None)
    assert finished.returncode in (0, 3), finished.stderr
    assert len(set(stopped_at)) == 4, stopped_at
    assert b'"failed"' not in profile.read_bytes()
    assert not list(out.rglob(".partial-*"))
