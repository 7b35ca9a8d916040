"""Tasks, one file each: ``hwnas.tasks.open("digits")``. The file's name is the task's name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from devices import plugins
from devices.events import OnEvent, ignore
from hwnas.task import Task

_HERE = sys.modules[__name__]


def names() -> list[str]:
    """Names of all tasks, without importing them."""
    return plugins.names(_HERE)


def open(  # noqa: A001 - read as hwnas.tasks.open
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    seed: int = 0,
    flip: bool | None = None,
    on_event: OnEvent = ignore,
) -> Task:
    """Open a task.

    Args:
        name: of the task.
        path: the file or folder of the data, for tasks that read one.
        seed: decides which training examples are held out for validation; never which are test examples.
        flip: whether a mirrored image is still of its class; None leaves it to the task.
        on_event: told when something is fetched over the network.

    Raises:
        ValueError: unknown name (with the nearest match), or a path is missing or superfluous.
        InvalidData: the data is missing, damaged or not fit for classification.
    """
    task: Task = plugins.load(_HERE, name, kind="task")(
        path=None if path is None else Path(path), seed=seed, flip=flip, on_event=on_event
    )
    return task
