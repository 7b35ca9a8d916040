"""PyTorch on CPU and CUDA: eager, compiled, or as a CUDA graph.

It runs the torch module that a graph carries (:attr:`devices.Graph.make_module`). The module is exported (``torch.export``)
where it is, and travels as a ``.pt2`` program, which is what is shipped as well; the worker needs none of its source code.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from devices.device import Memory
from devices.errors import DeviceOutOfMemory, DeviceUnavailable, UnsupportedOp
from devices.frames import Blob
from devices.kernels import ExecutedKernel
from devices.liveness import estimated_memory
from devices.spec import Setting, choice, count

if TYPE_CHECKING:
    import torch

    from devices.graph import Graph

_WARMUP_RUNS = 3
_STEPPED_RUNS = 20


@final
class Torch:
    """Both halves of the runtime: the methods on top run in the worker, those below in the host."""

    packages = ("torch",)
    settings = (
        Setting("device", "cpu", choice("cpu", "cuda"), "cpu or cuda", bare=True),
        Setting(
            "mode", "eager", choice("eager", "compile", "cudagraph"), "eager, compile (torch.compile) or cudagraph"
        ),
        Setting("threads", 1, count, "CPU threads that one operator may use"),
    )
    fixed: Mapping[str, Any] = {"program": "torch.export", "float32_matmul_precision": "highest"}

    # --- in the worker ---------------------------------------------------------------------------------------------

    def versions(self) -> dict[str, str]:
        """Versions of torch and numpy."""
        import torch

        return {"torch": torch.__version__, "numpy": np.__version__}

    def gpus(self) -> list[str]:
        """Names of the GPUs, in order."""
        import torch

        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]

    def load(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> _Loaded:
        """The program in the mode that was asked for, inputs bound."""
        loaded = _OnCuda if settings["device"] == "cuda" else _Loaded
        return loaded(_module(model, settings), inputs, settings)

    def trace(
        self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, timed: bool
    ) -> list[Blob]:
        """The program's operators with what they read and make; in eager mode on a CPU, if wanted, with their times, taken step
        by step. Otherwise operators are fused, or run long after they were launched, and have no times."""
        from devices.runtimes import _torch_steps as steps

        module, values = _module(model, settings), _tensors(inputs, settings)
        timed = timed and settings["device"] == "cpu" and settings["mode"] == "eager"
        with _inference():
            runs = [steps.run(module, values) for _ in range(_WARMUP_RUNS + _STEPPED_RUNS if timed else 1)]
        seconds = np.quantile([run.seconds for run in runs[-_STEPPED_RUNS:]], 0.25, axis=0).tolist()
        told = {"steps": runs[0].steps, "seconds": seconds if timed else None}
        return [json.dumps(told).encode()]

    def memory(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> list[Blob]:
        """Bytes of parameters and buffers; and on CUDA the highest of other tensors, as the allocator counts them, on a CPU the
        operators, from which that follows."""
        import torch

        from devices.runtimes import _torch_steps as steps

        module, values = _module(model, settings), _tensors(inputs, settings)
        weights = {id(t): t.nbytes for t in (*module.parameters(), *module.buffers())}
        told: dict[str, Any] = {"weight_bytes": sum(weights.values())}
        with _inference():
            if settings["device"] == "cuda":
                module(*values)
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                module(*values)
                told["activation_bytes"] = torch.cuda.max_memory_allocated() - before
            else:
                told["steps"] = steps.run(module, values).steps
        return [json.dumps(told).encode()]

    # --- in the host -----------------------------------------------------------------------------------------------

    def unavailable(self) -> str:
        """Why it cannot run here, and what to install; empty if it can."""
        return "" if importlib.util.find_spec("torch") else "not installed: pip install torch"

    def model(self, graph: Graph) -> Blob:
        """The graph's module as an exported program.

        Raises:
            UnsupportedOp: it carries none, or one that cannot be exported.
        """
        from devices.runtimes import _torch_program as program

        return program.exported(graph)

    def trace_model(self, graph: Graph) -> Blob:
        """The same."""
        return self.model(graph)

    def native(self, graph: Graph, build: Callable[[Blob], Sequence[Blob]]) -> bytes:
        """The same: what is shipped is what was measured."""
        from devices.runtimes import _torch_program as program

        return program.exported(graph)

    def kernels(self, graph: Graph, files: Sequence[Blob]) -> list[ExecutedKernel]:
        """Kernels from the operators that the worker tells."""
        from devices.runtimes import _torch_kernels as kernels

        return kernels.executed(graph, files[0])

    def memory_of(self, files: Sequence[Blob]) -> Memory:
        """Memory as the worker tells, or as it follows from the operators."""
        from devices.runtimes import _torch_kernels as kernels

        told = json.loads(bytes(files[0]))
        if "steps" not in told:
            return Memory(told["weight_bytes"], told["activation_bytes"], "runtime")
        return replace(estimated_memory(kernels.of_steps(told["steps"])), weight_bytes=told["weight_bytes"])


class _Loaded:
    """A module with its inputs."""

    def __init__(
        self, module: torch.nn.Module, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> None:
        self._inputs = dict(zip(inputs, _tensors(inputs, settings), strict=True))
        self._call: Callable[..., Any] = module
        if settings["mode"] == "compile":
            import torch

            self._call = torch.compile(module, fullgraph=True)
        for _ in range(_WARMUP_RUNS):
            self.execute()

    def execute(self) -> None:
        with _inference():
            self._made = self._call(*self._inputs.values())

    def outputs(self) -> list[NDArray[Any]]:
        made = self._made if isinstance(self._made, tuple | list) else (self._made,)
        return [tensor.cpu().numpy().copy() for tensor in made]

    def bind(self, name: str, value: NDArray[Any]) -> None:
        import torch

        self._inputs[name].copy_(torch.from_numpy(value.copy()))


@final
class _OnCuda(_Loaded):
    """The same on a GPU, timed between two events there."""

    def __init__(
        self, module: torch.nn.Module, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> None:
        import torch

        event: Any = torch.cuda.Event
        self._begin, self._end = event(enable_timing=True), event(enable_timing=True)
        super().__init__(module, inputs, settings)
        if settings["mode"] == "cudagraph":
            self._capture()

    def execute(self) -> None:
        super().execute()
        self._end.record()
        self._end.synchronize()

    def timed(self) -> float:
        """Seconds from the first to the last kernel, and what they wait for each other."""
        self._begin.record()
        self.execute()
        return 1e-3 * float(self._begin.elapsed_time(self._end))

    def _capture(self) -> None:
        """Record the kernels of one execution; further executions launch all of them at once."""
        import torch

        graph = torch.cuda.CUDAGraph()
        with _inference(), torch.cuda.graph(graph):
            made = self._call(*self._inputs.values())

        def replay(*_: object) -> Any:
            graph.replay()
            return made

        self._call = replay


def _module(model: Blob, settings: Mapping[str, Any]) -> torch.nn.Module:
    import torch

    from devices.runtimes import _torch_program as program

    if settings["mode"] == "cudagraph" and settings["device"] != "cuda":
        raise UnsupportedOp("CUDA graphs need CUDA: torch:cuda,mode=cudagraph.")
    if settings["device"] == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "torch finds no CUDA device here.", hint="Use torch:cpu, or install torch with CUDA and NVIDIA's driver."
        )
    torch.set_num_threads(settings["threads"])
    torch.set_float32_matmul_precision("highest")
    try:
        return program.loaded(model).to(settings["device"])
    except torch.OutOfMemoryError as error:
        raise DeviceOutOfMemory(f"The model does not fit into memory: {error}") from error


def _tensors(inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> list[torch.Tensor]:
    import torch

    return [torch.from_numpy(value.copy()).to(settings["device"]) for value in inputs.values()]


def _inference() -> Any:
    import torch

    return torch.inference_mode()


PLUGIN = Torch()
