"""Which place of a space each kernel of a network belongs to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol


class Placed(Protocol):
    """See the fields of the same names of :class:`devices.ExecutedKernel`."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The graph's nodes in it."""

    @property
    def reads(self) -> tuple[int, ...]:
        """Positions of the kernels that it reads."""


def kernel_places(kernels: Sequence[Placed], places: Collection[str]) -> list[str]:
    """The place of each kernel: the one that the last of its nodes is named after (``PLACE/…``); without such nodes that of the
    first kernel that reads it, else of the kernel before it, else the first place."""
    found = [next((p for node in reversed(k.nodes) if (p := place_of(node)) in places), None) for k in kernels]
    for i in reversed(range(len(kernels))):
        for at in kernels[i].reads:
            if at >= 0 and found[i] is not None and not _named(kernels[at], places):
                found[at] = found[i]
    last = next((name for name in found if name is not None), next(iter(places)))
    settled = []
    for name in found:
        last = last if name is None else name
        settled.append(last)
    return settled


def place_of(node: str) -> str:
    """The place that a node is named after."""
    return node.partition("/")[0]


def _named(kernel: Placed, places: Collection[str]) -> bool:
    return any(place_of(node) in places for node in kernel.nodes)
