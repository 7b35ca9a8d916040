"""Versions of installed libraries by the name they are imported under, whichever distribution carries them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable


def versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each library; those that are not installed are left out. ``xgboost`` may come from ``xgboost-cpu``."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            carriers = importlib.metadata.packages_distributions().get(name)
            if carriers:
                found[name] = importlib.metadata.version(carriers[0])
    return found
