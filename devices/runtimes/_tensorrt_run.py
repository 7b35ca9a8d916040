"""An engine on the GPU: buffers, a stream, and one execution by a CUDA graph or by enqueueing its layers.

It needs TensorRT and NVIDIA's driver, nothing else. What is timed is from the launch to the end on the GPU, seen from the host.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from devices.errors import DeviceOutOfMemory, UnsupportedOp
from devices.runtimes._cuda import Buffer, Driver, Stream
from devices.runtimes._tensorrt_library import RTX, Library, errors, logger

GRAPH, ENQUEUE = "graph", "enqueue"
WARM_UP_S = 0.2
_TRACE_RUNS = 30
_DTYPES = {"FLOAT": "f4", "HALF": "f2", "INT8": "i1", "UINT8": "u1", "INT32": "i4", "INT64": "i8", "BOOL": "?"}


@final
class Loaded:
    """An engine that is ready to run, with its inputs on the GPU.

    Args:
        library, driver: opened.
        plan: of the engine.
        inputs: by name; their shapes are those it runs at.
        launch: :data:`GRAPH` or :data:`ENQUEUE`.

    Raises:
        UnsupportedOp: the library does not take the plan, or not at these shapes; with its own words.
        DeviceOutOfMemory: it does not fit.
    """

    def __init__(
        self, library: Library, driver: Driver, plan: bytes, inputs: Mapping[str, NDArray[Any]], launch: str
    ) -> None:
        self._library, self._log = library, logger(library)
        trt = library.trt
        self._runtime = trt.Runtime(self._log)
        self.engine = self._require(self._runtime.deserialize_cuda_engine(plan), "does not take this engine")
        self._context = self._require(self._new_context(), "cannot prepare this engine")
        self._stream = Stream(driver)
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        modes = {name: self.engine.get_tensor_mode(name) for name in names}
        if set(inputs) != {name for name in names if modes[name] == trt.TensorIOMode.INPUT}:
            raise UnsupportedOp(f"The engine's tensors are {', '.join(names)}; the model's inputs {', '.join(inputs)}.")
        for name, value in inputs.items():
            self._require(
                self._context.set_input_shape(name, value.shape), f"refuses the shape {value.shape} of {name!r}"
            )
        if missing := self._context.infer_shapes():
            raise self._refusal(f"lacks the shapes of {', '.join(missing)}")
        self._buffers: dict[str, Buffer] = {}
        for name in names:
            dtype = np.dtype(_DTYPES[self.engine.get_tensor_dtype(name).name])
            buffer = Buffer(driver, tuple(self._context.get_tensor_shape(name)), dtype)
            if name in inputs:
                buffer.write(inputs[name])
            self._require(self._context.set_tensor_address(name, buffer.pointer), f"refuses the buffer of {name!r}")
            self._buffers[name] = buffer
        self._outputs = [name for name in names if name not in inputs]
        self._enqueue()  # what is compiled or allocated late is, before a graph records it
        self._stream.synchronize()
        self._graph: Callable[[], None] | None = self._stream.recorded(self._enqueue) if launch == GRAPH else None
        end = perf_counter() + WARM_UP_S  # clocks of an idle GPU are low
        while perf_counter() < end:
            self.execute()

    def execute(self) -> None:
        """One execution, synchronised."""
        (self._graph or self._enqueue)()
        self._stream.synchronize()

    def outputs(self) -> list[NDArray[Any]]:
        """The results of the last execution."""
        return [self._buffers[name].read() for name in self._outputs]

    def bind(self, name: str, value: NDArray[Any]) -> None:
        """Overwrite an input."""
        self._buffers[name].write(value)

    def layer_times_ms(self) -> dict[str, list[float]]:
        """Time of each layer in each of some runs, by the library's profiler, in the order of execution."""
        trt = self._library.trt
        times: dict[str, list[float]] = {}

        class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined] # the module is known at run time only
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer: str, ms: float) -> None:
                times.setdefault(layer, []).append(ms)

        profiler = Profiler()
        self._context.profiler = profiler
        self._context.enqueue_emits_profile = False
        for _ in range(_TRACE_RUNS):
            self._enqueue()
            self._stream.synchronize()
            self._context.report_to_profiler()
        return times

    def information(self) -> dict[str, Any]:
        """What the library's inspector says of the engine."""
        form = self._library.trt.LayerInformationFormat.JSON
        told: dict[str, Any] = json.loads(self.engine.create_engine_inspector().get_engine_information(form))
        return told

    def memory(self) -> dict[str, int]:
        """Bytes of weights, of activations with workspace, and of inputs with outputs."""
        return {
            "weights": int(self.engine.get_engine_stat(self._library.trt.EngineStat.TOTAL_WEIGHTS_SIZE)),
            "activations": int(self.engine.get_device_memory_size_for_profile_v2(0)),
            "io": sum(buffer.nbytes for buffer in self._buffers.values()),
        }

    def _new_context(self) -> Any:
        if self._library.name != RTX:
            return self.engine.create_execution_context()
        config = (
            self.engine.create_runtime_config()
        )  # kernels for exactly these shapes, compiled before anything is timed
        strategy = self._library.trt.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = strategy.EAGER
        return self.engine.create_execution_context(config)

    def _enqueue(self) -> None:
        self._require(self._context.execute_async_v3(self._stream.handle), "cannot run this engine")

    def _require(self, value: Any, what: str) -> Any:
        """``value``, unless it is what the library answers when it fails."""
        if value is None or value is False:
            raise self._refusal(what)
        return value

    def _refusal(self, what: str) -> UnsupportedOp | DeviceOutOfMemory:
        said = errors(self._log)
        kind = DeviceOutOfMemory if "out of memory" in said.lower() else UnsupportedOp
        return kind(f"{self._library.title} {what}: {said or 'it does not say why'}")
