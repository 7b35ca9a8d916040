"""Plug-ins are modules of a known folder: the file's name is the plug-in's name, its ``PLUGIN`` attribute the plug-in.

Listing does not import. Modules whose name starts with an underscore are helpers, not plug-ins.
"""

from __future__ import annotations

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType
from typing import Any


def names(package: ModuleType) -> list[str]:
    """Names of all plug-ins in ``package``, sorted, without importing them."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def load(package: ModuleType, name: str, *, kind: str) -> Any:
    """The ``PLUGIN`` of module ``name``; ``kind`` ("device", "space", …) is the word used in the error.

    Raises:
        ValueError: no such plug-in; lists what there is and names the nearest match.
    """
    known = names(package)
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    return importlib.import_module(f"{package.__name__}.{name}").PLUGIN


def did_you_mean(word: str, known: list[str]) -> str:
    """``", did you mean 'x'?"`` for the nearest of ``known``, or ``""`` if nothing is near."""
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
