"""A scope in which torch computes the same bits again, and after which its global state is as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hwnas.threads import thread_count

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only if told so before it starts


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Deterministic algorithms, torch's generator seeded with ``seed``, :func:`hwnas.threads.thread_count` threads.

    Sums run in another order with another number of threads, so results repeat bit for bit only with as many. Deterministic
    algorithms alone would also fill all new memory first, for programs that read what they never wrote: a sixth of the time.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # its one setting is a property that type checkers do not see
    fill = memory.fill_uninitialized_memory
    state = torch.get_rng_state()
    torch.set_num_threads(thread_count())
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
        memory.fill_uninitialized_memory = fill
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
