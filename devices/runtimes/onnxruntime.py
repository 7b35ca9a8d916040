"""ONNX Runtime on the CPU of the machine that the worker runs on."""

from __future__ import annotations

import importlib.util
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from devices.device import Memory
from devices.errors import DeviceOutOfMemory, DeviceUnavailable, UnsupportedOp
from devices.frames import Blob
from devices.kernels import ExecutedKernel
from devices.spec import Setting, count

if TYPE_CHECKING:
    import onnxruntime

    from devices.graph import Graph

_TRACE_RUNS = ((3, math.inf), (10, 0.15), (30, 0.1))  # so many, unless that takes so many seconds
_BLOCK = 10  # of them in a row
_APART_S = 0.01  # between two blocks, at least: what disturbs a machine for a moment should not meet all of them
_RUN = b'"model_run"'  # what the trace has at the end of a run
_ARGUMENTS = re.compile(rb'"args" : \{[^\n]*?("op_name" : "[^"]*")[^\n]*')  # of a kernel, on a line
WARMUP_RUNS = 3
MEMORY_RUNS = 3
_ROOM_BYTES = 1 << 22
_ROOM_HINT = "Free some space there, or name another folder in TMPDIR, and repeat the same command."


@final
class OnnxRuntime:
    """Both halves of the runtime: the methods on top run in the worker, those below in the host."""

    packages = ("onnxruntime",)
    settings = (Setting("threads", 1, count, "threads that one operator may use"),)
    fixed: Mapping[str, Any] = {"optimization": "all", "execution": "sequential", "spinning": "stopped when idle"}

    # --- in the worker ---------------------------------------------------------------------------------------------

    def versions(self) -> dict[str, str]:
        """Versions of ONNX Runtime and numpy."""
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__}

    def load(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> _Loaded:
        """A session with inputs and outputs bound."""
        return _Loaded(_session(model, _options(settings)), inputs)

    def trace(
        self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, timed: bool
    ) -> Sequence[Blob]:
        """Optimised model, and the profiler's trace of a single run. If times are wanted, of 3 warm-ups and then 10 to 30 runs
        (3 of a slow model), of which the last alone says what the kernels worked on; and beside it the seconds of as many runs
        or more without the profiler, in turns with the others."""
        wholes: list[float] = []
        with _profiled(model, _options(settings)) as (session, files):
            loaded = _Loaded(session, inputs)  # runs once
            if timed:
                plain = self.load(model, inputs, settings)
                for _ in range(WARMUP_RUNS - 1):
                    loaded.execute()
                start, runs = perf_counter(), 0
                for fewest, longest_s in _TRACE_RUNS:
                    while runs < fewest and perf_counter() - start < longest_s:
                        block = min(_BLOCK, fewest - runs)
                        for _ in range(block):
                            loaded.execute()
                        runs += block
                        plain.execute()  # finds the caches as the other session left them
                        wholes += plain.seconds(block, _APART_S)
        if not timed:
            return files
        optimised, trace = files
        return [optimised, _without_repetition(trace), np.array(wholes).tobytes()]

    def memory(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Sequence[Blob]:
        """Optimised model, and the trace of three runs in which every buffer is requested for itself: no memory pattern (one
        block for all activations) and outputs not bound."""
        options = _options(settings)
        options.enable_mem_pattern = False
        with _profiled(model, options) as (session, files):
            values = dict(zip((i.name for i in session.get_inputs()), inputs.values(), strict=True))
            for _ in range(MEMORY_RUNS):
                session.run(None, values)
        return files

    # --- in the host -----------------------------------------------------------------------------------------------

    def unavailable(self) -> str:
        """Why it cannot run here, and what to install; empty if it can."""
        return "" if importlib.util.find_spec("onnxruntime") else "not installed: pip install onnxruntime"

    def trace_model(self, graph: Graph) -> Blob:
        """The model with a unique token for the name of every node and tensor."""
        from devices.runtimes._tokens import tokenised

        return tokenised(graph)

    def kernels(self, graph: Graph, files: Sequence[Blob]) -> list[ExecutedKernel]:
        """Kernels from the optimised model, the trace, and the runs beside it."""
        from devices.runtimes import _onnxruntime_kernels as kernels

        return kernels.executed(graph, *files)

    def memory_of(self, files: Sequence[Blob]) -> Memory:
        """Memory from the optimised model and the trace."""
        from devices.runtimes import _onnxruntime_kernels as kernels

        return kernels.memory(*files)


@final
class _Loaded:
    """A session with everything bound, so that an execution is one call."""

    def __init__(self, session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[Any]]) -> None:
        import onnxruntime

        binding = session.io_binding()
        self._inputs = {}
        for (name, value), told in zip(
            inputs.items(), session.get_inputs(), strict=True
        ):  # a traced model's names differ
            bound = onnxruntime.OrtValue.ortvalue_from_shape_and_type(value.shape, value.dtype)
            bound.update_inplace(np.ascontiguousarray(value))
            binding.bind_ortvalue_input(told.name, bound)
            self._inputs[name] = bound
        names = [output.name for output in session.get_outputs()]
        for name in names:
            binding.bind_output(name)
        try:
            session.run_with_iobinding(binding)
        except Exception as error:
            raise _refusal(error) from error
        self._outputs = binding.get_outputs()
        for name, value in zip(names, self._outputs, strict=True):
            binding.bind_ortvalue_output(name, value)
        self._run, self._binding = session.run_with_iobinding, binding

    def execute(self) -> None:
        self._run(self._binding)

    def seconds(self, fewest: int, least_s: float) -> list[float]:
        """Of so many executions, or more, for so long."""
        taken: list[float] = []
        begin = end = perf_counter()
        while len(taken) < fewest or end - begin < least_s:
            start = perf_counter()
            self.execute()
            end = perf_counter()
            taken.append(end - start)
        return taken

    def outputs(self) -> list[NDArray[Any]]:
        return [value.numpy().copy() for value in self._outputs]

    def bind(self, name: str, value: NDArray[Any]) -> None:
        self._inputs[name].update_inplace(np.ascontiguousarray(value))


def _options(settings: Mapping[str, Any]) -> onnxruntime.SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle pools would slow the session that runs
    return options


def _session(model: Blob, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(bytes(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> UnsupportedOp | DeviceOutOfMemory:
    said = str(error)
    if isinstance(error, MemoryError) or "Failed to allocate memory" in said or "bad_alloc" in said:
        return DeviceOutOfMemory(f"The model does not fit into memory. ONNX Runtime says: {said}")
    return UnsupportedOp(f"ONNX Runtime cannot run this model: {said}")


@contextmanager
def _profiled(
    model: Blob, options: onnxruntime.SessionOptions
) -> Iterator[tuple[onnxruntime.InferenceSession, list[bytes]]]:
    """A session with the profiler on; when it is left, the list holds the optimised model (large weights declared only) and
    the trace."""
    files: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        optimised = Path(folder, "optimised.onnx")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "trace"))
        options.optimized_model_filepath = str(optimised)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        try:
            session = _session(model, options)
            yield session, files
            trace = Path(session.end_profiling()).read_bytes()
            if not trace.rstrip().endswith(b"]"):
                raise DeviceUnavailable("ONNX Runtime could not write its trace to the end.", hint=_ROOM_HINT)
            files += [optimised.read_bytes(), trace]
        except Exception:
            _require_room(folder)
            raise


def _without_repetition(trace: bytes) -> bytes:
    """The trace with what kernels worked on in its last run only: it is the same in all, and nearly all that there is to read."""
    last = trace.rfind(_RUN, 0, trace.rfind(_RUN))
    return _ARGUMENTS.sub(rb'"args" : {\1}},', trace[:last]) + trace[last:]


def _require_room(folder: str) -> None:
    """A disk that is full is not the model's fault."""
    try:
        Path(folder, "room").write_bytes(bytes(_ROOM_BYTES))
    except OSError as error:
        raise DeviceUnavailable(
            f"ONNX Runtime cannot write to {Path(folder).parent}: {error.strerror or error}.", hint=_ROOM_HINT
        ) from error


PLUGIN = OnnxRuntime()
