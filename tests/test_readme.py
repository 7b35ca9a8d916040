"""What the README shows works as it stands."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hwnas import config
from hwnas.spaces.mobile import MobileSpace
from hwnas.training.settings import FitSettings, SupernetSettings, TrainSettings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def printed(code: str, folder: Path) -> str:
    """What an example prints that runs in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    assert re.search(r"\d ms$", printed(code, tmp_path).strip())


def test_the_search_of_a_table_runs(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tables.md").read_text(encoding="utf-8"), flags=re.S)[0]
    assert printed(code, tmp_path).startswith("{'depth': 9, 'kernel': 3, 'activation': 'hswish'} 91.0%, 2.7 ms\n")


def test_files_and_folders_it_names_exist() -> None:
    for path in re.findall(r"`((?:devices|hwnas|profilers|predictors|benchmarks|examples|tests)/[\w./]*)`", README):
        assert (ROOT / path).exists(), path


def test_the_configuration_reference_is_complete_and_shows_the_defaults(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/configuration.md").read_text(encoding="utf-8"), flags=re.S)
    file = tmp_path / "my.toml"
    file.write_text(text)
    shown = config.load(file)
    sections = dict(re.findall(r"^(?:# )?\[+(\w+)\]+(.*?)(?=^(?:# )?\[|\Z)", text, flags=re.M | re.S))
    settings = {"accuracy": SupernetSettings, "train": TrainSettings}
    for name, field in config.Config.model_fields.items():
        section: Any = settings.get(name, field.annotation)
        if not (inspect.isclass(section) and issubclass(section, BaseModel)):
            continue
        for key, value in section.model_fields.items():
            common = name == "accuracy" and key in FitSettings.model_fields
            assert re.search(rf"^(?:# )?{key} = ", sections["train" if common else name], flags=re.M), (name, key)
            given = getattr(getattr(shown, name), key, value.default)
            assert given == value.default or name in ("task", "budget"), (name, key)
    for key in inspect.signature(MobileSpace).parameters:
        assert key in ("input_shape", "classes") or f"{key} = " in sections["space"], key


def test_the_first_configuration_it_shows_loads(tmp_path: Path) -> None:
    text = re.findall(r"```toml\n(.*?)```", README, flags=re.S)[0]
    file = tmp_path / "my.toml"
    file.write_text(text)
    assert config.load(file).budget.latency_ms == 8.0
