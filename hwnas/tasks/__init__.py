"""Tasks, one file each: ``hwnas.tasks.open("digits")``. The file's name is the task's name."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices import plugins
from devices.events import OnEvent, ignore
from hwnas.settings import check_arguments
from hwnas.task import Task

_HERE = sys.modules[__name__]
_COMMON = ("path", "seed", "flip", "on_event")


def names() -> list[str]:
    """Names of all tasks, without importing them."""
    return plugins.names(_HERE)


def check(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse an unknown task or setting before anything is done for it.

    Raises:
        ValueError: names the nearest match, or the value that is of another type.
    """
    plugin = plugins.load(_HERE, name, kind="task")
    known = [parameter for parameter in inspect.signature(plugin).parameters if parameter not in _COMMON]
    plugins.require_known(f"task {name!r} has no setting", settings, ["path", "flip", *known])
    check_arguments(f"task {name!r}", plugin, known, settings)


def open(  # noqa: A001 - read as hwnas.tasks.open
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    seed: int = 0,
    flip: bool | None = None,
    on_event: OnEvent = ignore,
    **settings: Any,
) -> Task:
    """Open a task.

    Args:
        name: of the task.
        path: the file or folder of the data, for tasks that read one.
        seed: decides which training examples are held out for validation; never which are test examples.
        flip: whether a mirrored image is still of its class; None leaves it to the task.
        on_event: told when something is fetched over the network, and of the progress of long reading.
        settings: the task's own keyword arguments, as they stand in a configuration file.

    Raises:
        ValueError: unknown name or setting (with the nearest match), a setting that cannot be, or a path that is missing or
            superfluous.
        InvalidData: the data is missing, damaged or not fit for classification.
    """
    check(name, settings)
    plugin = plugins.load(_HERE, name, kind="task")
    task: Task = plugin(path=None if path is None else Path(path), seed=seed, flip=flip, on_event=on_event, **settings)
    return task
