"""Plug-ins are modules of a known folder: the file's name is the plug-in's name, its ``PLUGIN`` attribute the plug-in.

Listing does not import. Modules whose name starts with an underscore are helpers, not plug-ins.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
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
    require_known(f"unknown {kind}", [name], names(package))
    return importlib.import_module(f"{package.__name__}.{name}").PLUGIN


def require_known(refusal: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse a name that is not ``known``; ``refusal`` is what is said in front of it: ``"device 'torch' has no setting"``.

    Raises:
        ValueError: lists what is known and names the nearest match.
    """
    for name in given:
        if name not in known:
            raise ValueError(f"{refusal} {name!r}{did_you_mean(name, known)} (known: {', '.join(known) or 'none'})")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """``", did you mean 'x'?"`` for the nearest of ``known``, or ``""`` if nothing is near."""
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
