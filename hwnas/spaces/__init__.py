"""Search spaces, one file each; the file's name is the space's name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from devices import plugins
from hwnas.settings import check_arguments
from hwnas.space import SearchSpace


def names() -> list[str]:
    """Names of all spaces."""
    return plugins.names(sys.modules[__name__])


def check(name: str, options: Mapping[str, Any]) -> None:
    """Refuse an unknown space or option before anything is done for it.

    Raises:
        ValueError: names the nearest match, or the value that is of another type.
    """
    plugin = plugins.load(sys.modules[__name__], name, kind="space")
    known = [p.name for p in inspect.signature(plugin).parameters.values() if p.kind is p.KEYWORD_ONLY]
    plugins.require_known(f"space {name!r} has no option", options, known)
    check_arguments(f"space {name!r}", plugin, known, options)


def open(name: str, input_shape: tuple[int, int, int], classes: int, **options: Any) -> SearchSpace:  # noqa: A001
    """The space ``name`` for examples of shape ``input_shape`` (C, H, W) and ``classes`` classes.

    Args:
        name: one of :func:`names`.
        input_shape: ``(C, H, W)`` as the task gives it.
        classes: at least 2.
        options: the space's own keyword arguments, as they stand in a configuration file.

    Raises:
        ValueError: unknown space or option (names the nearest match), or a value out of range.
    """
    check(name, options)
    plugin = plugins.load(sys.modules[__name__], name, kind="space")
    space: SearchSpace = plugin(input_shape, classes, **options)
    return space
