"""The figures of a run as TensorBoard's scalars: ``tensorboard --logdir RUN/tensorboard``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from devices.events import Note, OnEvent, Progress, ignore
from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@contextmanager
def written(folder: str | os.PathLike[str], on_event: OnEvent = ignore) -> Iterator[OnEvent]:
    """A callback that writes the figures of what it is told into ``folder``, each stage into one of its own, over the stage's
    units, and passes everything on to ``on_event``.

    A stage that is repeated or gone on with replaces its curves from the first step that is told again.

    Raises:
        HwnasError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise HwnasError(
            "TensorBoard's scalars need the package tensorboard, which is not installed.",
            hint="Install it with: pip install 'hwnas[tensorboard]'",
        ) from error
    writers: dict[str, SummaryWriter] = {}
    with ExitStack() as opened:

        def tell(event: Progress | Note) -> None:
            if isinstance(event, Progress) and event.figures:
                if event.stage not in writers:
                    place = Path(folder, *event.stage.replace("/", " of ").split(": "))
                    writer = SummaryWriter(place, purge_step=event.done)
                    writers[event.stage] = opened.enter_context(writer)
                for name, value in event.figures.items():
                    writers[event.stage].add_scalar(name, value, event.done)
                writers[event.stage].flush()
            on_event(event)

        yield tell
