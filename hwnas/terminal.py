"""Text for people. Names in files come from anywhere: they are shown as written, and command neither us nor a terminal."""

from __future__ import annotations

from rich.console import Console


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console that takes text literally."""
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def printable(text: str) -> str:
    """``text`` with everything escaped that is not to be seen, but for line breaks."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
