"""TensorRT on an NVIDIA GPU: classic TensorRT (10.12 to 11) or TensorRT for RTX, whichever is installed.

A machine without a GPU cannot run engines, but build them with TensorRT for RTX: :mod:`devices.engines`. A target needs TensorRT
and NVIDIA's driver, which is called by ctypes; no torch, no CUDA toolkit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from devices.device import Memory
from devices.engine_file import Engine, EngineRecord
from devices.frames import PREFIX, Blob, decode_header, encode, header_length
from devices.runtimes import _cuda
from devices.runtimes import _tensorrt_build as builder
from devices.runtimes import _tensorrt_cache as cache
from devices.runtimes import _tensorrt_library as libraries
from devices.runtimes._tensorrt_run import ENQUEUE, GRAPH, Loaded
from devices.spec import Setting, choice

if TYPE_CHECKING:
    from devices.graph import Graph
    from devices.kernels import ExecutedKernel


def _index(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("must be a whole number, 0 or more")
    return int(text)


@final
class TensorRt:
    """Both halves of the runtime: the methods on top run in the worker, those below in the host."""

    packages = ("tensorrt-rtx-cu13",)
    settings = (
        Setting(
            "launch",
            GRAPH,
            choice(GRAPH, ENQUEUE),
            "graph: a run is one CUDA graph; enqueue: layer after layer",
        ),
        Setting("gpu", 0, _index, "which GPU, counted from 0"),
    )
    fixed: Mapping[str, Any] = {
        "typing": "strong, precision from the file, no TF32",
        "timed": "from launch to end, on the host",
    }

    # --- in the worker ---------------------------------------------------------------------------------------------

    def versions(self) -> dict[str, str]:
        """Versions of TensorRT, of what the driver supports of CUDA, and of numpy."""
        library = libraries.load()
        return {library.name: library.version, "cuda": _cuda.Driver().version(), "numpy": np.__version__}

    def gpus(self) -> list[str]:
        """Names of the GPUs, in order, with their compute capability."""
        driver = _cuda.Driver()
        return [f"{gpu.name} ({gpu.sm})" for gpu in map(driver.gpu, range(driver.count))]

    def load(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Loaded:
        """The engine that was given, or one built of the ONNX model, with its inputs on the GPU."""
        driver = _cuda.Driver()
        gpu = driver.gpu(settings["gpu"])
        driver.use(settings["gpu"])
        library = libraries.load()
        header, content = _opened(model)
        if "engine" in header:
            record = EngineRecord.from_json(header["engine"])
            record.require_fits(library=library.name, version=library.version, gpu=gpu.name, sm=gpu.sm)
            plan = content
        else:
            plan = _engine(library, content, builder.Options(), gpu).plan
        return Loaded(library, driver, plan, inputs, settings["launch"])

    def trace(
        self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, timed: bool
    ) -> list[Blob]:
        """The inspector's JSON, and each layer's times, if they are wanted, as JSON too."""
        loaded = self.load(model, inputs, {**settings, "launch": ENQUEUE})
        times_ms = loaded.layer_times_ms() if timed else {}
        return [json.dumps(loaded.information()).encode(), json.dumps(times_ms).encode()]

    def memory(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> list[Blob]:
        """What the engine says that it needs, as JSON."""
        return [json.dumps(self.load(model, inputs, settings).memory()).encode()]

    def build(self, model: Blob, options: Mapping[str, Any]) -> list[Blob]:
        """Record (as JSON) and plan of an engine; with ``parse_only`` nothing, if only the parser takes the model."""
        library = libraries.load()
        if options.get("parse_only"):
            builder.parse(library, model)
            return []
        shapes = {name: tuple(map(tuple, three)) for name, three in options["shapes"].items()}
        wanted = builder.Options(tuple(options["targets"]), shapes, options["workspace_bytes"])
        engine = _engine(library, model, wanted, None if _cuda.missing() else _cuda.Driver().gpu(0))
        return [json.dumps(engine.record.to_json()).encode(), engine.plan]

    # --- in the host -----------------------------------------------------------------------------------------------

    def unavailable(self) -> str:
        """Why it cannot run here, and what to install; empty if it can."""
        if not libraries.installed():
            return f"not installed: {libraries.INSTALL}"
        no_gpu = _cuda.missing()
        builds = (
            "; building engines works here: hwnas export --engine" if libraries.RTX in libraries.installed() else ""
        )
        return no_gpu and no_gpu + builds

    def model(self, graph: Graph) -> Blob:
        """The engine that the graph carries with its record, or its ONNX model."""
        if graph.engine is not None:
            return b"".join(encode({"engine": graph.engine.record.to_json()}, [graph.engine.plan]))
        return b"".join(encode({}, [graph.to_onnx().SerializeToString()]))

    def trace_model(self, graph: Graph) -> Blob:
        """The same: layers name the nodes they are made of."""
        return self.model(graph)

    def kernels(self, graph: Graph, files: Sequence[Blob]) -> list[ExecutedKernel]:
        """Kernels from the inspector and the profiler."""
        from devices.runtimes import _tensorrt_kernels as kernels

        information, times_ms = (json.loads(bytes(file)) for file in files)
        return kernels.executed(graph, information, times_ms)

    def memory_of(self, files: Sequence[Blob]) -> Memory:
        """Memory as the engine reports it; inputs and outputs are among the activations."""
        told = json.loads(bytes(files[0]))
        return Memory(told["weights"], told["activations"] + told["io"], "runtime")


def _opened(blob: Blob) -> tuple[dict[str, Any], bytes]:
    start = PREFIX + header_length(blob[:PREFIX])
    header, _ = decode_header(blob[PREFIX:start])
    return header, bytes(blob[start:])


def _engine(library: libraries.Library, model: Blob, options: builder.Options, gpu: _cuda.Gpu | None) -> Engine:
    name = cache.key(library, model, options, gpu)
    return cache.cached(name, lambda: builder.build(library, model, options, gpu))


PLUGIN = TensorRt()
