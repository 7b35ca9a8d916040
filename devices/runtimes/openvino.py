"""OpenVINO on the CPU of the machine that the worker runs on."""

from __future__ import annotations

import importlib.util
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from devices.errors import DeviceOutOfMemory, UnsupportedOp
from devices.frames import Blob
from devices.kernels import ExecutedKernel
from devices.spec import Setting, choice, count

if TYPE_CHECKING:
    import openvino

    from devices.graph import Graph

_XML, _XML_END = b"<?xml", b"</net>"
_TRACE_RUNS = ((4, math.inf), (30, 1.0), (60, 0.03))  # so many, unless that takes so many seconds


@final
class OpenVino:
    """Both halves of the runtime: the methods on top run in the worker, those below in the host.

    Left to itself the CPU plug-in computes in bfloat16 where the processor can, so the precision is always set.
    """

    packages = ("openvino",)
    settings = (
        Setting("threads", 1, count, "threads that inference may use"),
        Setting("precision", "f32", choice("f32", "bf16", "f16"), "what floats are computed in: f32, bf16 or f16"),
    )
    fixed: Mapping[str, Any] = {"streams": 1, "performance_hint": "LATENCY", "cpu_pinning": False}

    # --- in the worker ---------------------------------------------------------------------------------------------

    def versions(self) -> dict[str, str]:
        """Versions of OpenVINO and numpy."""
        import openvino

        return {"openvino": openvino.__version__, "numpy": np.__version__}

    def load(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> _Loaded:
        """An infer request with the inputs bound."""
        return _Loaded(_compiled(model, settings), inputs)

    def trace(
        self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, timed: bool
    ) -> list[Blob]:
        """The executable graph, and after each of up to 60 runs, or after the first alone, the mean time of each of its nodes
        so far."""
        compiled = _compiled(model, settings, PERF_COUNT=True)
        loaded = _Loaded(compiled, inputs)
        walls, means = [math.inf], [_mean_us(loaded.request)]  # inputs were bound with a first run
        begin = perf_counter()
        for most, longest_s in _TRACE_RUNS if timed else ():
            while len(walls) <= most and perf_counter() - begin < longest_s:
                start = perf_counter()
                loaded.execute()
                walls.append(perf_counter() - start)
                means.append(_mean_us(loaded.request))
        nodes = _described(compiled.get_runtime_model())
        micros = [[mean.get(node["name"], 0) for node in nodes] for mean in means]
        return [json.dumps({"nodes": nodes, "wall_s": walls[1:], "mean_us": micros}).encode()]

    def build(self, model: Blob, options: Mapping[str, Any]) -> list[Blob]:
        """The model as IR, floats as they are: text, and directly after it the weights."""
        import openvino

        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
            path = Path(folder, "model.xml")
            openvino.save_model(_read(openvino.Core(), model), path, compress_to_fp16=False)
            return [path.read_bytes().rstrip() + path.with_suffix(".bin").read_bytes()]

    # --- in the host -----------------------------------------------------------------------------------------------

    def unavailable(self) -> str:
        """Why it cannot run here, and what to install; empty if it can."""
        return "" if importlib.util.find_spec("openvino") else "not installed: pip install openvino"

    def model(self, graph: Graph) -> Blob:
        """The IR that a graph carries, or its ONNX model."""
        return graph.native or graph.to_onnx().SerializeToString()

    def native(self, graph: Graph, build: Callable[[Blob], Sequence[Blob]]) -> bytes:
        """IR, made by the worker."""
        (ir,) = build(self.model(graph))
        return bytes(ir)

    def trace_model(self, graph: Graph) -> Blob:
        """The model with a unique token for the name of every node and tensor."""
        from devices.runtimes._tokens import tokenised

        return tokenised(graph)

    def kernels(self, graph: Graph, files: Sequence[Blob]) -> list[ExecutedKernel]:
        """Kernels from the executable graph and its times."""
        from devices.runtimes import _openvino_kernels as kernels

        return kernels.executed(graph, files[0])


@final
class _Loaded:
    """An infer request with everything bound, so that an execution is one call."""

    def __init__(self, compiled: openvino.CompiledModel, inputs: Mapping[str, NDArray[Any]]) -> None:
        import openvino

        self.request = compiled.create_infer_request()
        self._inputs = {name: openvino.Tensor(np.array(value, order="C")) for name, value in inputs.items()}
        for i, tensor in enumerate(self._inputs.values()):  # by position: a traced model's names differ
            self.request.set_input_tensor(i, tensor)
        self._count = len(compiled.outputs)
        self.execute()

    def execute(self) -> None:
        self.request.infer(share_outputs=True)

    def outputs(self) -> list[NDArray[Any]]:
        return [np.array(self.request.get_output_tensor(i).data) for i in range(self._count)]

    def bind(self, name: str, value: NDArray[Any]) -> None:
        self._inputs[name].data[...] = value


def _compiled(model: Blob, settings: Mapping[str, Any], **more: Any) -> openvino.CompiledModel:
    import openvino

    wanted = {
        "INFERENCE_NUM_THREADS": settings["threads"],
        "INFERENCE_PRECISION_HINT": settings["precision"],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        **more,
    }
    core = openvino.Core()
    try:
        return core.compile_model(_read(core, model), "CPU", wanted)
    except MemoryError as error:
        raise DeviceOutOfMemory(f"The model does not fit into memory: {error}") from error
    except Exception as error:
        raise UnsupportedOp(f"OpenVINO cannot run this model: {error}") from error


def _read(core: openvino.Core, model: Blob) -> openvino.Model:
    """An ONNX model, or IR as :meth:`OpenVino.build` makes it."""
    content = bytes(model)
    if not content.startswith(_XML):
        return core.read_model(content)
    text, end, weights = content.partition(_XML_END)
    return core.read_model(text + end, weights)


def _mean_us(request: openvino.InferRequest) -> dict[str, int]:
    """Whole microseconds of each node in the mean over the runs so far."""
    return {info.node_name: round(info.real_time.total_seconds() * 1e6) for info in request.get_profiling_info()}


def _described(model: openvino.Model) -> list[dict[str, Any]]:
    """The nodes of an executable graph in the order of execution; what they read is (position of the node, number of output)."""
    operators = model.get_ordered_ops()
    position = {node.get_name(): i for i, node in enumerate(operators)}  # friendly names may occur twice
    described = []
    for node in operators:
        told = {key: str(getattr(value, "value", value)) for key, value in node.get_rt_info().items()}
        sources = [port.get_source_output() for port in node.inputs()]
        described.append(
            {
                "name": node.get_friendly_name(),
                "layer": told.get("layerType", node.get_type_name()),
                "primitive": told.get("primitiveType", ""),
                "layouts": told.get("outputLayouts", ""),
                "order": int(told.get("execOrder", 0)),
                "originals": told.get("originalLayersNames", ""),
                "reads": [(position[s.get_node().get_name()], s.get_index()) for s in sources],
                "outputs": [
                    (port.get_element_type().get_type_name(), list(port.get_shape())) for port in node.outputs()
                ],
            }
        )
    return described


PLUGIN = OpenVino()
