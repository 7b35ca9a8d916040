"""What every runtime's worker does alike: it keeps loaded models, times them, and hands out what they compute."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from devices.frames import Blob, pack, unpack
from devices.hardware import hardware

Answer = tuple[dict[str, Any], Sequence[Blob]]


class Executable(Protocol):
    """A model that is loaded, with its inputs bound."""

    def execute(self) -> object:
        """One execution, synchronised."""

    def outputs(self) -> list[NDArray[Any]]:
        """The results of the last execution."""

    def bind(self, name: str, value: NDArray[Any]) -> None:
        """Overwrite an input."""


@runtime_checkable
class Clocked(Protocol):
    """A loaded model that is timed by the accelerator's clock instead of this process's."""

    def timed(self) -> float:
        """Seconds of one execution, which is over then."""


class RuntimeWorker(Protocol):
    """A runtime's half in the worker."""

    def versions(self) -> dict[str, str]:
        """The runtime's and its dependencies' versions."""

    def load(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Executable:
        """Load a serialised ONNX model."""

    def trace(
        self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, timed: bool
    ) -> Sequence[Blob]:
        """Run a model with the profiler on; the runtime's own files about it, for its half in the host to parse. If ``timed``,
        as often as kernels' times need; else once, and the host's half finds no times in them."""


@runtime_checkable
class ReportsMemory(Protocol):
    """A runtime that says what memory a model needs."""

    def memory(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Sequence[Blob]:
        """Run a model as its memory is best seen; again the runtime's own files about it."""


@runtime_checkable
class OnGpus(Protocol):
    """A runtime whose hardware is not only the CPU."""

    def gpus(self) -> list[str]:
        """Names of the GPUs, in order."""


@runtime_checkable
class Builds(Protocol):
    """A runtime that builds files ahead of time."""

    def build(self, model: Blob, options: Mapping[str, Any]) -> Sequence[Blob]:
        """Build a serialised ONNX model; the files that come of it."""


class Server:
    """Answers a host's requests for one runtime."""

    def __init__(self, runtime: RuntimeWorker) -> None:
        self._runtime = runtime
        self._loaded: dict[int, Executable] = {}

    def answer(self, header: Mapping[str, Any], blobs: Sequence[Blob]) -> Answer:
        """Answer one request."""
        match header["ask"]:
            case "run":
                return self._run(self._loaded[header["session"]], header["n"], header["budget_s"])
            case "hello":
                return {"versions": self._runtime.versions(), "hardware": self._hardware()}, ()
            case "load":
                inputs = unpack(header["inputs"], blobs[1:])
                self._loaded[header["session"]] = self._runtime.load(blobs[0], inputs, header["settings"])
                return {}, ()
            case "free":
                self._loaded.pop(header["session"], None)
                return {}, ()
            case "outputs":
                loaded = self._loaded[header["session"]]
                loaded.execute()
                described, packed = pack({str(i): a for i, a in enumerate(loaded.outputs())})
                return {"outputs": described}, packed
            case "infer":
                (examples,) = unpack(header["examples"], blobs).values()
                return self._infer(self._loaded[header["session"]], header["name"], examples)
            case "trace":
                return {}, self._runtime.trace(
                    blobs[0], unpack(header["inputs"], blobs[1:]), header["settings"], timed=header["timed"]
                )
            case "memory" if isinstance(self._runtime, ReportsMemory):
                return {}, self._runtime.memory(blobs[0], unpack(header["inputs"], blobs[1:]), header["settings"])
            case "lower" if isinstance(self._runtime, ReportsMemory):
                model, inputs, settings = blobs[0], unpack(header["inputs"], blobs[1:]), header["settings"]
                traced = self._runtime.trace(model, inputs, settings, timed=True)
                return {"traced": len(traced)}, [*traced, *self._runtime.memory(model, inputs, settings)]
            case "resident":
                return self._resident(header, blobs)
            case "build" if isinstance(self._runtime, Builds):
                return {}, self._runtime.build(blobs[0], header["options"])
        raise ValueError(f"unknown request {header['ask']!r}")

    def _hardware(self) -> dict[str, Any]:
        return hardware() | ({"gpus": self._runtime.gpus()} if isinstance(self._runtime, OnGpus) else {})

    def _run(self, loaded: Executable, n: int, budget_s: float) -> Answer:
        """Time up to ``n`` executions, fewer if ``budget_s`` is used up before; at least one."""
        seconds = np.empty(n)
        execute, clock, done = loaded.execute, perf_counter, 0

        def by_wall_clock() -> float:
            start = clock()
            execute()
            return clock() - start

        timed = loaded.timed if isinstance(loaded, Clocked) else by_wall_clock
        end = clock() + budget_s
        while done < n:
            seconds[done] = timed()
            done += 1
            if clock() > end:
                break
        return {}, [seconds[:done].tobytes()]

    def _infer(self, loaded: Executable, name: str, examples: NDArray[Any]) -> Answer:
        answers = []
        for example in examples:
            loaded.bind(name, example[None])
            loaded.execute()
            answers.append(loaded.outputs()[0])
        described, packed = pack({"outputs": np.concatenate(answers)})
        return {"outputs": described}, packed

    def _resident(self, header: Mapping[str, Any], blobs: Sequence[Blob]) -> Answer:
        self._runtime.versions()  # importing the runtime is not the model's growth
        before = _resident_bytes()
        loaded = self._runtime.load(blobs[0], unpack(header["inputs"], blobs[1:]), header["settings"])
        for _ in range(3):
            loaded.execute()
        return {"bytes": _resident_bytes() - before}, ()


def _resident_bytes() -> int:
    """Physical memory of this process; on systems without ``/proc`` the highest so far."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
