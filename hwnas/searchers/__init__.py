"""Searchers, one file each; the file's name is the searcher's name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from devices import plugins
from hwnas.errors import SearchError
from hwnas.settings import check_arguments, validated

if TYPE_CHECKING:
    from hwnas.problem import Problem
    from hwnas.search import Searcher
    from hwnas.training.settings import LearnSettings

_HERE = sys.modules[__name__]


def names() -> list[str]:
    """Names of all searchers."""
    return plugins.names(_HERE)


def check(name: str, settings: Mapping[str, Any]) -> LearnSettings | None:
    """Refuse an unknown searcher or setting before anything is done for it.

    Returns:
        How it learns what it draws from before the search, where it does that and was not given the result; else None.

    Raises:
        ValueError: names the nearest match, or the value that cannot be.
    """
    plugin = plugins.load(_HERE, name, kind="searcher")
    learning: type[LearnSettings] | None = getattr(plugin, "Learning", None)
    if learning is None or "distribution" in settings:
        _check_own(name, plugin, settings)
        return None
    _require_known(name, settings, [*_own(plugin), *learning.model_fields])
    return validated(learning, settings, f"searcher {name!r}")


def open(name: str, problem: Problem, **settings: Any) -> Searcher:  # noqa: A001 - read as hwnas.searchers.open
    """The searcher ``name`` for a problem.

    Raises:
        ValueError: unknown searcher or setting, or a value that cannot be.
        SearchError: the searcher stands on a library that is not installed.
    """
    plugin = plugins.load(_HERE, name, kind="searcher")
    _check_own(name, plugin, settings)
    try:
        searcher: Searcher = plugin(problem, **settings)
    except ModuleNotFoundError as error:
        raise SearchError(
            f"The searcher {name!r} needs {error.name}, which is not installed.",
            hint=f"Install it with: pip install 'hwnas[{name}]'",
        ) from error
    return searcher


def _check_own(name: str, plugin: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    _require_known(name, settings, _own(plugin))
    check_arguments(f"searcher {name!r}", plugin, _own(plugin), settings)


def _own(plugin: Callable[..., Any]) -> list[str]:
    """Settings that a searcher takes itself."""
    return [p.name for p in inspect.signature(plugin).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _require_known(name: str, settings: Mapping[str, Any], known: list[str]) -> None:
    plugins.require_known(f"searcher {name!r} has no setting", settings, known)
