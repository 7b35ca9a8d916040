"""How many threads a computation that has to repeat bit for bit uses: sums run in another order with another number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_count: ContextVar[int | None] = ContextVar("_count", default=None)


def thread_count() -> int:
    """One per core that this process may use, or what :func:`threads` says."""
    return _count.get() or len(os.sched_getaffinity(0))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """In this scope :func:`thread_count` is ``count``, however many cores there are."""
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)
