"""The part of hwnas that machines elsewhere need: the files of this package, which import the standard library and numpy only."""

from __future__ import annotations

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def files() -> dict[str, bytes]:
    """Contents by path, from the folder that holds the package."""
    found = {p.relative_to(PACKAGE.parent).as_posix(): p for p in PACKAGE.rglob("*.py")}
    return {name: found[name].read_bytes() for name in sorted(found)}


def digest() -> str:
    """SHA-256 of all of them. Both ends of a connection compare theirs, so neither talks to another version of itself."""
    sha = hashlib.sha256()
    for name, content in files().items():
        sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()
