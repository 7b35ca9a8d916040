"""``import hwnas`` is light, gives its packages, and notices when a user's folder shadows one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "onnxruntime", "openvino", "tensorrt", "xgboost", "onnx", "pandas", "sklearn", "scipy", "plotly")


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs with ``folder`` in front of the path, as a script or a notebook there would."""
    prelude = f"import sys; sys.path[:] = [{str(folder)!r}, {str(ROOT)!r}, *sys.path]\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_importing_pulls_in_no_framework(tmp_path: Path) -> None:
    code = f"""
import hwnas, hwnas.cli
from hwnas import devices, profilers, predictors
hwnas.Config, hwnas.Budget, hwnas.Candidates, hwnas.HwnasError, hwnas.Problem, hwnas.SearchSpace
import hwnas.run
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = python(code, tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", ["devices", "profilers", "predictors"])
@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_users_module_of_the_same_name_is_refused_before_it_runs(tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / name / "__init__.py" if form == "folder" else tmp_path / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text("print('ran')")
    done = python("import hwnas", tmp_path)
    assert "ImportError" in done.stderr
    assert str(path) in done.stderr
    assert "Rename" in done.stderr
    assert "ran" not in done.stdout


def test_a_plain_folder_of_that_name_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    done = python("import hwnas; print(hwnas.devices.names())", tmp_path)
    assert "onnxruntime" in done.stdout, done.stderr


def test_unknown_names_are_attribute_errors() -> None:
    import hwnas

    with pytest.raises(AttributeError, match="nothing"):
        _ = hwnas.nothing
    assert set(dir(hwnas)) >= {"__all__"}
