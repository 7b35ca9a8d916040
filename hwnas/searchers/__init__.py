"""Searchers, one file each; the file's name is the searcher's name."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from devices import plugins
from hwnas.errors import SearchError

if TYPE_CHECKING:
    from hwnas.problem import Problem
    from hwnas.search import Searcher

_HERE = sys.modules[__name__]


def names() -> list[str]:
    """Names of all searchers."""
    return plugins.names(_HERE)


def check(name: str, settings: dict[str, Any]) -> None:
    """Refuse an unknown searcher or setting before anything is done for it.

    Raises:
        ValueError: names the nearest match.
    """
    parameters = inspect.signature(plugins.load(_HERE, name, kind="searcher")).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for setting in settings:
        if setting not in known:
            raise ValueError(
                f"searcher {name!r} has no setting {setting!r}{plugins.did_you_mean(setting, known)} "
                f"(known: {', '.join(known) or 'none'})"
            )


def open(name: str, problem: Problem, **settings: Any) -> Searcher:  # noqa: A001 - read as hwnas.searchers.open
    """The searcher ``name`` for a problem.

    Raises:
        ValueError: unknown searcher or setting, or a value that cannot be.
        SearchError: the searcher stands on a library that is not installed.
    """
    check(name, settings)
    try:
        searcher: Searcher = plugins.load(_HERE, name, kind="searcher")(problem, **settings)
    except ModuleNotFoundError as error:
        raise SearchError(
            f"The searcher {name!r} needs {error.name}, which is not installed.",
            hint=f"Install it with: pip install 'hwnas[{name}]'",
        ) from error
    return searcher
