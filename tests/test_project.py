"""The shape of the project: what packaging, layers and plug-ins promise, checked on the files themselves."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("devices", "profilers", "predictors", "hwnas")
PLUGINS = ("devices.runtimes", "hwnas.accuracy", "hwnas.searchers", "hwnas.spaces", "hwnas.tasks")
LONGEST_ROOM = 300
HEAVY = (
    "PIL",
    "jinja2",
    "onnx",
    "onnxruntime",
    "openvino",
    "pandas",
    "plotly",
    "ray",
    "sklearn",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "xgboost",
)

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_tests_and_benchmarks_are_no_packages() -> None:
    """An ``__init__.py`` there would shadow the packages under test."""
    assert [p for folder in ("tests", "benchmarks") for p in (ROOT / folder).rglob("__init__.py")] == []


def test_imports_run_downwards() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_dependencies_that_name_a_file_name_one_that_exists() -> None:
    """Every extra, and every dependency whose line names its file."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r"^  \S.*?#.*?\b((?:devices|profilers|predictors|hwnas|tests)/[\w/]+\.py)", text, flags=re.M)
    assert [path for path in named if not (ROOT / path).is_file()] == []
    for name, requirements in PYPROJECT["project"]["optional-dependencies"].items():
        for requirement in requirements if name != "dev" else ():
            line = next(line for line in text.splitlines() if f'"{requirement}"' in line)
            assert re.search(r"# [\w/]+\.py", line), f"extra {name}: {requirement} does not say which file needs it"


def test_what_is_installed_for_the_tests_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    pinned = {line.split("==")[0].replace("_", "-") for line in pins.splitlines() if "==" in line}
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[>=<;! ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names - pinned == set()
    assert "torch==2.13.0\n" in pins


@pytest.mark.parametrize("package", PLUGINS)
def test_every_plug_in_module_has_its_plug_in(package: str) -> None:
    folder = ROOT.joinpath(*package.split("."))
    modules = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")]
    assert modules, f"{package} has no plug-in"
    for name in modules:
        module = importlib.import_module(f"{package}.{name}")
        assert hasattr(module, "PLUGIN"), f"{package}.{name} has no PLUGIN"


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_heavy(package: str, tmp_path: Path) -> None:
    code = f"import {package}, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_packages_carry_their_types() -> None:
    assert [p for p in PACKAGES if not (ROOT / p / "py.typed").is_file()] == []


def test_the_library_does_not_do_what_a_library_must_not() -> None:
    """Ruff finds most of it; this holds where a line has a ``noqa``. One scope seeds torch, and puts its state back."""
    banned = {
        "pickle": r"^\s*(import|from) (pickle|dill|cloudpickle|joblib)\b",
        "eval or exec": r"(?<![.\w])(eval|exec)\(",
        "global seeding": r"\b(np\.random\.seed|random\.seed|torch\.manual_seed)\(",
        "logging set-up": r"\blogging\.basicConfig\(",
        "a print": r"(?<![.\w])print\(",
    }
    found = {
        (path.relative_to(ROOT).as_posix(), what)
        for path in sources(*PACKAGES)
        for what, pattern in banned.items()
        if re.search(pattern, path.read_text(encoding="utf-8"), flags=re.M)
    }
    assert found - {("hwnas/training/determinism.py", "global seeding")} == set()


def test_every_expected_error_is_in_one_place() -> None:
    """Those that derive from the root, by name and at any depth, in whichever file they are."""
    classes = [
        (node.name, {base.id for base in node.bases if isinstance(base, ast.Name)})
        for path in sources(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    expected = {"HwnasError"}
    while more := {name for name, bases in classes if bases & expected} - expected:
        expected |= more
    errors = importlib.import_module("hwnas.errors")
    assert len(expected) > 10
    assert set(errors.__all__) == expected
    assert set(re.findall(r"── (\w+)", errors.__doc__ or "")) == expected - {"HwnasError"}


def test_texts_speak_of_the_project_only() -> None:
    """No path of somebody's machine, no unfinished business."""
    pattern = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|/w[o]rk/|/home/\w|/root/|/tmp/\w")
    files = [*sources(*PACKAGES, "tests", "benchmarks"), *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_rooms_are_small() -> None:
    lines = {p: p.read_text(encoding="utf-8").count("\n") for p in sources(*PACKAGES)}
    assert {p.relative_to(ROOT).as_posix(): n for p, n in lines.items() if n > LONGEST_ROOM} == {}
