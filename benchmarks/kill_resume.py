"""Ten kills with -9 at random moments: does the run end as the undisturbed one does, given the same profile file?

    python benchmarks/kill_resume.py [CONFIG] [--kills 10] [--out FOLDER]

The undisturbed run says how long it takes; another one is killed at moments drawn uniformly from the first half of that time
after each start, and started again; if it ends before the next kill, one more is begun. Genotype, SHA-256 of the exported
files (so all weights, bit for bit) and accuracies are compared. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from devices import journal
from hwnas.bundle import certificate
from hwnas.config import load

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=ROOT / "examples" / "digits.toml")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "kill_resume")
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    loaded = load(given.config)
    device = loaded.device.model_copy(update={"profile": (given.out / "device.profile.jsonl").resolve()})
    config = given.out / "config.toml"
    config.write_text(loaded.model_copy(update={"device": device}).to_toml())

    hwnas_run(config, given.out / "profiling", until="search")
    began = time.monotonic()
    hwnas_run(config, given.out / "undisturbed")
    whole_s = time.monotonic() - began
    rng = np.random.default_rng(0)
    wanted, ends = end(given.out / "undisturbed"), []
    kills, run = 0, 0
    while kills < given.kills:
        out = given.out / f"killed{run}"
        moment = rng.uniform(0, whole_s / 2)
        process = begin(config, out)
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            print(f"run {run}: killed after {moment:5.1f} s, last unit: {last_unit(out)}")
        else:
            ends.append(end(out))
            run += 1
    hwnas_run(config, given.out / f"killed{run}")
    ends.append(end(given.out / f"killed{run}"))

    same = {key: all(found[key] == value for found in ends) for key, value in wanted.items()}
    result = {"undisturbed_s": whole_s, "kills": kills, "same": same, "undisturbed": wanted, "killed": ends}
    (given.out / "kill_resume.json").write_text(json.dumps(result, indent=2))
    print(f"{kills} kills in {len(ends)} runs; an undisturbed run takes {whole_s:.1f} s")
    for key, equal in same.items():
        print(f"{key:<12} {'same' if equal else 'DIFFERENT'}")
    return 0 if all(same.values()) else 1


def begin(config: Path, out: Path, until: str = "run") -> subprocess.Popen[bytes]:
    """Start the command."""
    command = [sys.executable, "-m", "hwnas.cli", until, str(config), "--out", str(out), "--json"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command


def hwnas_run(config: Path, out: Path, until: str = "run") -> None:
    """Run to the end; over budget is an end too."""
    status = begin(config, out, until).wait()
    if status not in (0, 3):
        raise SystemExit(f"hwnas {until} ended with status {status}")


def last_unit(out: Path) -> str:
    """What the journal has last."""
    path = out / "journal.jsonl"
    units = journal.read(path)[1] if path.exists() and path.read_bytes().count(b"\n") else []
    return str(units[-1]["unit"]) if units else "nothing"


def end(out: Path) -> dict[str, Any]:
    """What a run ended with."""
    units = journal.read(out / "journal.jsonl")[1]
    issued = certificate.read(out / "bundle")
    return {
        "genotype": next(u["genotype"] for u in units if u["unit"] == "chosen"),
        "weights": {name: f.sha256 for name, f in issued.files.items()},
        "accuracy": {name: f.accuracy for name, f in issued.files.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
