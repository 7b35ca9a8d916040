"""Shows progress events on standard error: one bar per stage with the time left, and notes as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from devices.events import Note, OnEvent, Progress
from hwnas.terminal import console, printable

_SLOWEST_S = 600.0  # of units that take longer, no time left is told


@contextmanager
def shown() -> Iterator[OnEvent]:
    """A callback that shows what it is told, until the context ends."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    stages: dict[str, TaskID] = {}
    shown_on = console(stderr=True)
    with Bars(*columns, console=shown_on, expand=True, speed_estimate_period=_SLOWEST_S) as bars:

        def on_event(event: Progress | Note) -> None:
            if isinstance(event, Note):
                bars.console.print(printable(event.message))
                return
            if event.repeated and event.done < event.total:
                return  # it took no time, which says nothing of the time left
            if event.stage not in stages or bars.tasks[stages[event.stage]].finished:
                stages[event.stage] = bars.add_task(event.stage, total=event.total, detail="")
            bars.update(stages[event.stage], completed=event.done, total=event.total, detail=printable(event.detail))

        yield on_event
