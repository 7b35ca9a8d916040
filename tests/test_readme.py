"""What the README shows works as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", README, flags=re.S)
    assert found is not None
    assert len(found[1].strip().splitlines()) <= 16
    code = (
        found[1]
        .replace("time_limit_s=60", "time_limit_s=8")
        .replace("classes=10", 'classes=10, depths=[1, 2], activations=["relu"]')
    )
    assert code != found[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d ms$", done.stdout.strip())


def test_files_and_folders_it_names_exist() -> None:
    for path in re.findall(r"`((?:devices|hwnas|profilers|predictors|benchmarks|examples|tests)/[\w./]*)`", README):
        assert (ROOT / path).exists(), path
