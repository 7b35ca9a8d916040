"""Fashion-MNIST: 70,000 grey images of clothes, 28×28 (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; MIT licence).

Looked for where Debian's package ``dataset-fashion-mnist`` puts it, then in the user's data folder. If it is in neither, it
is fetched into the data folder: from Debian's package without root, else from its original address.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from devices.events import Note, OnEvent
from hwnas.errors import InvalidData
from hwnas.task import Task, make_task
from hwnas.tasks import idx

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SHA256 = {  # of the unpacked files, so that it holds for Debian's repacked ones too
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
ADDRESS = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"
_TIMEOUT_S = 300


def open_fashion_mnist(*, path: Path | None, seed: int, flip: bool | None, on_event: OnEvent) -> Task:
    """Fashion-MNIST from ``path``, or from where it is found, or fetched."""
    files = idx.locate(path if path is not None else _folder(on_event))
    train = idx.read_split(files, idx.FILES[0], idx.FILES[1], SHA256)
    for name in idx.FILES[2:]:
        idx.check_header(files[name], 3 if "idx3" in name else 1)
    return make_task(
        "fashion_mnist",
        train,
        lambda: idx.read_split(files, idx.FILES[2], idx.FILES[3], SHA256),
        seed=seed,
        flip=True if flip is None else flip,
        classes=CLASSES,
    )


def data_folder() -> Path:
    """Where data sets are kept for this user (XDG base directory specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "hwnas"


def _folder(on_event: OnEvent) -> Path:
    own = data_folder() / "fashion-mnist"
    places = [DEBIAN_FOLDER, own]
    for place in places:
        if _complete(place):
            return place
    tried = [f"{place}: not there" for place in places]
    for source, fetch in ((f"Debian's package {_PACKAGE}", _from_debian), (ADDRESS, _from_origin)):
        on_event(Note(f"Fetching Fashion-MNIST (31 MB) from {source} into {own}"))
        try:
            own.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=own, prefix=".partial-") as temporary:
                fetched = fetch(Path(temporary))
                files = idx.locate(fetched)
                for name, digest in SHA256.items():
                    idx.read(files[name], 3 if "idx3" in name else 1, digest)
                for file in files.values():
                    os.replace(file, own / file.name)
            return own
        except (OSError, InvalidData, subprocess.SubprocessError) as error:
            tried.append(f"{source}: {_reason(error)}")
    raise InvalidData(
        "Fashion-MNIST is not here and could not be fetched. " + " · ".join(tried),
        hint=f"Put the four IDX files into {own}, or install {_PACKAGE}, or give their folder as the task's path.",
    )


def _complete(folder: Path) -> bool:
    try:
        idx.locate(folder)
    except InvalidData:
        return False
    return True


def _from_debian(folder: Path) -> Path:
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg")
    if apt is None or dpkg is None:
        raise OSError("apt-get and dpkg are not installed")
    _command([apt, "download", _PACKAGE], folder)
    package = next(folder.glob("*.deb"))
    _command([dpkg, "-x", str(package), "."], folder)
    return folder / DEBIAN_FOLDER.relative_to("/")


def _command(command: list[str], folder: Path) -> None:
    subprocess.run(  # noqa: S603 - fixed words, no shell
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S
    )


def _from_origin(folder: Path) -> Path:
    for name in SHA256:
        with (
            urllib.request.urlopen(f"{ADDRESS}/{name}.gz", timeout=30) as answer,  # noqa: S310 - a fixed https address
            open(folder / f"{name}.gz", "wb") as file,
        ):
            shutil.copyfileobj(answer, file)
    return folder


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return str((error.stderr.strip().splitlines() or [error])[-1])
    return str(error)


PLUGIN = open_fashion_mnist
