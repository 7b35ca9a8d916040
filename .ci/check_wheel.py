"""Check a built wheel: it holds exactly the four packages, and works installed, away from the source tree.

Usage: python .ci/check_wheel.py dist/hwnas-*.whl. The wheel goes into a fresh environment that sees the dependencies of the
interpreter this script runs with, but not its editable installs.
"""

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

PACKAGES = ("devices", "profilers", "predictors", "hwnas")
ROOT = Path(__file__).parent.parent

PROBE = """
import pathlib, sys
from importlib.resources import files

import hwnas
from hwnas import devices, predictors, profilers

home = pathlib.Path(sys.prefix).resolve()
for package in (hwnas, devices, profilers, predictors):
    where = pathlib.Path(package.__file__).resolve()
    assert home in where.parents, f"{package.__name__} was imported from {where}"
    assert (where.parent / "py.typed").is_file(), f"{package.__name__} has no py.typed"
assert files("hwnas.report").joinpath("page.html.jinja").is_file()
"""


def wrong_contents(wheel: Path) -> list[str]:
    """What is in the wheel and should not be, or the reverse; empty if all is well."""
    with ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return [f"not wanted: {name}" for name in sorted(inside - wanted)] + [
        f"missing: {name}" for name in sorted(wanted - inside)
    ]


def main(wheel: Path) -> int:
    """Exit status: 0 if the wheel is right."""
    wrong = wrong_contents(wheel)
    if wrong:
        print(f"{wheel.name}: " + "; ".join(wrong))
        return 1
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "venv"
        venv.create(home, with_pip=False)
        python = home / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python)]
        subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel.resolve())], check=True)
        (site,) = home.glob("lib/python*/site-packages")
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        commands: tuple[list[str | Path], ...] = (
            [python, "-I", "-c", PROBE],
            [home / "bin" / "hwnas", "devices", "--json"],
        )
        works = all(
            subprocess.run(c, cwd=folder, stdout=subprocess.DEVNULL, check=False).returncode == 0 for c in commands
        )
    if not works:
        print(f"{wheel.name}: installed by itself, it does not work")
        return 1
    print(f"{wheel.name}: {', '.join(PACKAGES)} and nothing else; works installed")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
