"""hwnas: the most accurate network that fits your device, as a file you can ship.

``from hwnas import devices, profilers, predictors`` gives the three packages below this one; the names in ``__all__`` load on
first use, so that ``import hwnas`` costs no machine-learning framework.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import devices as devices
    import predictors as predictors
    import profilers as profilers
    from hwnas.budget import Budget as Budget
    from hwnas.candidates import Candidates as Candidates
    from hwnas.config import Config as Config
    from hwnas.errors import HwnasError as HwnasError
    from hwnas.problem import Problem as Problem
    from hwnas.space import SearchSpace as SearchSpace

_SIBLINGS = ("devices", "profilers", "predictors")
_LAZY = {
    "Budget": "hwnas.budget",
    "Candidates": "hwnas.candidates",
    "Config": "hwnas.config",
    "HwnasError": "hwnas.errors",
    "Problem": "hwnas.problem",
    "SearchSpace": "hwnas.space",
}
__all__ = [*_SIBLINGS, *_LAZY]


def _require_own_siblings() -> None:
    """``devices``, ``profilers`` and ``predictors`` are common words: refuse a user's module of that name before running it."""
    root = Path(__file__).resolve().parent.parent
    for name in _SIBLINGS:
        spec = importlib.util.find_spec(name)
        found = spec.origin if spec else None
        if found is None or Path(found).resolve() != root / name / "__init__.py":
            raise ImportError(
                f"hwnas needs its own package {name!r} ({root / name}), but Python finds {found or 'none'} instead. "
                "Rename that file or folder, or start Python where it is not on sys.path (python -P leaves it out)."
            )


_require_own_siblings()


def __getattr__(name: str) -> Any:
    if name in _SIBLINGS:
        return importlib.import_module(name)
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hwnas' has no attribute {name!r}")
