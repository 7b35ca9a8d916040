"""The runtime in ``docs/adding-a-device.md`` keeps the contract as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import devices

ROOT = Path(devices.__file__).resolve().parent.parent
CONTRACT = "fingerprint or agree or accounted or memory or refuses or wrong_inputs"


def test_the_example_keeps_the_contract(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-device.md").read_text(), re.DOTALL)
    assert found is not None
    shutil.copytree(ROOT / "devices", tmp_path / "devices", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "devices" / "runtimes" / "reference.py").write_text(found[1])
    asked = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", os.devnull,
            "--noconftest", "--import-mode=importlib", str(ROOT / "tests" / "test_device_contract.py"),
            "-k", f"reference and ({CONTRACT})",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stdout
    passed = re.search(r"(\d+) passed", asked.stdout)
    assert passed is not None
    assert int(passed[1]) >= 6
