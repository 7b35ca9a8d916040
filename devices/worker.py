"""The worker: the process that hosts a runtime, here or at the far end of SSH. ``python -P -m devices.worker RUNTIME``.

It reads requests (:mod:`devices.frames`) from its standard input and answers on its standard output, one at a time, compressed
where the request asks for that. What the runtime itself prints goes to standard error. It ends when its standard input is closed,
even in the middle of a request. Of this package it imports what needs the standard library and numpy only.
"""

from __future__ import annotations

import importlib
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from devices.errors import DeviceOutOfMemory, DeviceUnavailable, HwnasError, UnsupportedOp
from devices.frames import PREFIX, Blob, decode_header, deflate, encode, header_length
from devices.runtimes._server import Server


def main(runtime: str) -> None:
    """Answer requests until the host goes away."""
    source, sink = claim_pipes()
    end_with_host(source, os._exit)
    server = Server(importlib.import_module(f"devices.runtimes.{runtime}").PLUGIN)
    while (request := _read(source)) is not None:
        header, blobs = request
        compressed = header.pop("compressed", False)
        try:
            reply, answer = server.answer(header, blobs)
        except HwnasError as error:
            reply, answer = failure(error), []
        except MemoryError as error:
            reply, answer = failure(DeviceOutOfMemory(f"The model does not fit into memory: {error}")), []
        except OSError as error:
            reply, answer = failure(DeviceUnavailable(f"The device's machine cannot do its part: {error}")), []
        except Exception as error:  # whatever a runtime throws at a model is an answer about that model
            reply, answer = failure(UnsupportedOp(f"{type(error).__name__}: {error}")), []
        del request, header, blobs
        for part in encode(*(deflate(reply, answer) if compressed else (reply, answer))):
            sink.write(part)
        sink.flush()


def claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes to the host, under numbers that nothing else writes to."""
    source, sink = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return open(source, "rb"), open(sink, "wb")


def end_with_host(source: BinaryIO, end: Callable[[int], object]) -> None:
    """Watch for the host closing its end: without events asked for, ``poll`` wakes up for nothing else."""

    def watch() -> None:
        poller = select.poll()
        poller.register(source.fileno(), getattr(select, "POLLRDHUP", 0))
        poller.poll()
        end(0)

    threading.Thread(target=watch, daemon=True).start()


def _read(source: BinaryIO) -> tuple[dict[str, Any], list[Blob]] | None:
    prefix = source.read(PREFIX)
    if len(prefix) < PREFIX:
        return None
    header, lengths = decode_header(source.read(header_length(prefix)))
    return header, [source.read(n) for n in lengths]


def failure(error: HwnasError) -> dict[str, Any]:
    """An error as the header of an answer."""
    return {"error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint}}


if __name__ == "__main__":
    main(*sys.argv[1:])
