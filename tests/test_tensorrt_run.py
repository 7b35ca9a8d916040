"""The half of the device ``tensorrt`` that needs a GPU, on machines that have none: all that is around the library's own work.

Two fakes stand in, and prove nothing about TensorRT itself: :class:`FakeCuda` for NVIDIA's driver, with this process's memory,
and :class:`FakeTensorRt` for the library, whose engine doubles its input. What they answer is what the documentation of the real
ones says; on a machine with a GPU the contract tests run the real ones.
"""

from __future__ import annotations

import ctypes
import importlib
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from devices import Graph, Node, TensorType
from devices.engine_file import Engine, EngineRecord
from devices.errors import DeviceOutOfMemory, DeviceUnavailable, ProvenanceMismatch, UnsupportedOp
from devices.runtimes import _cuda, _tensorrt_build, _tensorrt_kernels, _tensorrt_run
from devices.runtimes import _tensorrt_library as libraries
from devices.runtimes.tensorrt import PLUGIN

OUT_OF_MEMORY = 2


def pointed(argument: Any) -> Any:
    """What a ``byref`` argument refers to."""
    return argument._obj


class FakeCuda:
    """Answers the calls of the driver API that we make. Its stream runs work when it is waited for; a graph keeps the work."""

    def __init__(self, gpus: int = 1, init: int = 0, free_bytes: int = 1 << 20) -> None:
        self.gpus, self.init, self.free_bytes = gpus, init, free_bytes
        self.memory: dict[int, Any] = {}
        self.queue: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.graphs: list[list[Callable[[], None]]] = []
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            return getattr(self, f"do_{name.removesuffix('_v2')}", lambda *_: 0)(*arguments) or 0

        if not name.startswith("cu"):
            raise AttributeError(name)
        return call

    def do_cuInit(self, _: int) -> int:
        return self.init

    def do_cuDeviceGetCount(self, count: Any) -> None:
        pointed(count).value = self.gpus

    def do_cuDriverGetVersion(self, version: Any) -> None:
        pointed(version).value = 13020

    def do_cuDeviceGetName(self, name: Any, *_: Any) -> None:
        name.value = b"Fake GPU"

    def do_cuDeviceGetAttribute(self, value: Any, attribute: int, _: Any) -> None:
        pointed(value).value = {75: 8, 76: 6}[attribute]

    def do_cuGetErrorString(self, status: int, text: Any) -> None:
        pointed(text).value = {OUT_OF_MEMORY: b"out of memory"}.get(status, b"something else")

    def do_cuMemAlloc(self, address: Any, size: Any) -> int:
        if size.value > self.free_bytes:
            return OUT_OF_MEMORY
        block = ctypes.create_string_buffer(size.value)
        self.memory[ctypes.addressof(block)] = block
        pointed(address).value = ctypes.addressof(block)
        return 0

    def do_cuMemFree(self, address: Any) -> None:
        del self.memory[address.value]

    def do_cuMemcpyHtoD(self, to: Any, source: Any, size: Any) -> None:
        ctypes.memmove(to.value, source.value, size.value)

    do_cuMemcpyDtoH = do_cuMemcpyHtoD

    def do_cuStreamCreate(self, stream: Any, _: Any) -> None:
        pointed(stream).value = 77

    def do_cuStreamSynchronize(self, _: Any) -> None:
        for work in self.queue:
            work()
        self.queue.clear()

    def do_cuStreamBeginCapture(self, *_: Any) -> None:
        self.recording = []

    def do_cuStreamEndCapture(self, _: Any, graph: Any) -> None:
        assert self.recording is not None
        self.graphs.append(self.recording)
        self.recording = None
        pointed(graph).value = len(self.graphs)

    def do_cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, _: Any) -> None:
        pointed(executable).value = graph.value

    def do_cuGraphLaunch(self, executable: Any, _: Any) -> None:
        self.queue.extend(self.graphs[executable.value - 1])

    def enqueue(self, work: Callable[[], None]) -> None:
        (self.queue if self.recording is None else self.recording).append(work)


class FakeTensorRt:
    """As much of the module as we use. The engine has an input ``x`` and an output ``y`` of ``(1, 4)`` float32, twice ``x``."""

    __version__ = "1.7.1.116"
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    LayerInformationFormat = SimpleNamespace(JSON="json")
    EngineStat = SimpleNamespace(TOTAL_WEIGHTS_SIZE=0)
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")

    class ILogger:
        pass

    class IProfiler:
        pass

    def __init__(self, cuda: FakeCuda, fails: str = "") -> None:
        self.cuda, self.fails = cuda, fails
        self.strategies: list[str] = []

    def Runtime(self, log: Any) -> Any:
        def deserialize(plan: bytes) -> Any:
            if self.fails == "engine":
                log.log(SimpleNamespace(name="ERROR"), "The engine plan file is not compatible with this version")
            return None if self.fails == "engine" else self._engine(log)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)

    def _engine(self, log: Any) -> Any:
        def context(config: Any) -> Any:
            self.strategies.append(config.dynamic_shapes_kernel_specialization_strategy)
            return self._context(log)

        return SimpleNamespace(
            num_io_tensors=2,
            get_tensor_name=lambda i: "xy"[i],
            get_tensor_mode=lambda name: "input" if name == "x" else "output",
            get_tensor_dtype=lambda name: SimpleNamespace(name="FLOAT"),
            create_runtime_config=lambda: SimpleNamespace(),
            create_execution_context=context,
            create_engine_inspector=lambda: SimpleNamespace(
                get_engine_information=lambda form: json.dumps({"Layers": []})
            ),
            get_engine_stat=lambda stat: 1000,
            get_device_memory_size_for_profile_v2=lambda profile: 500,
        )

    def _context(self, log: Any) -> Any:
        addresses: dict[str, int] = {}

        def double() -> None:
            x, y = ((ctypes.c_float * 4).from_address(addresses[name]) for name in "xy")
            y[:] = [2 * value for value in x]

        def execute(stream: int) -> bool:
            assert stream == 77
            if self.fails == "run":
                log.log(SimpleNamespace(name="ERROR"), "out of memory")
                return False
            self.cuda.enqueue(double)
            return True

        made = SimpleNamespace(
            set_input_shape=lambda name, shape: self.fails != "shape",
            infer_shapes=lambda: ["x"] if self.fails == "infer" else [],
            get_tensor_shape=lambda name: (1, 4),
            set_tensor_address=lambda name, address: addresses.update({name: address}) is None,
            execute_async_v3=execute,
        )

        def report() -> None:
            assert made.enqueue_emits_profile is False
            made.profiler.report_layer_time("double", 0.25)

        made.report_to_profiler = report
        return made


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    monkeypatch.setattr(_tensorrt_run, "WARM_UP_S", 0.0)
    return FakeCuda()


def loaded(cuda: FakeCuda, launch: str = "graph", fails: str = "") -> _tensorrt_run.Loaded:
    library = libraries.Library(FakeTensorRt(cuda, fails), libraries.RTX, "1.7.1.116")
    inputs = {"x": np.arange(4, dtype=np.float32)[None]}
    return _tensorrt_run.Loaded(library, _cuda.Driver(cuda), b"plan", inputs, launch)


@pytest.mark.parametrize("launch", ["graph", "enqueue"])
def test_both_ways_of_launching_give_the_outputs(cuda: FakeCuda, launch: str) -> None:
    session = loaded(cuda, launch)
    session.execute()
    np.testing.assert_array_equal(session.outputs()[0], [[0, 2, 4, 6]])
    session.bind("x", np.full((1, 4), 5, np.float32))
    session.execute()
    np.testing.assert_array_equal(session.outputs()[0], [[10] * 4])
    assert ("cuGraphLaunch" in cuda.calls) == (launch == "graph")


def test_a_graph_records_after_a_plain_run(cuda: FakeCuda) -> None:
    """What the library compiles or allocates in its first run must not be in the recording."""
    loaded(cuda)
    assert cuda.calls.index("cuStreamSynchronize") < cuda.calls.index("cuStreamBeginCapture_v2")
    assert [len(graph) for graph in cuda.graphs] == [1]


@pytest.mark.parametrize("launch", ["graph", "enqueue"])
def test_everything_is_freed_at_once(cuda: FakeCuda, launch: str) -> None:
    session = loaded(cuda, launch)
    session.execute()
    assert len(cuda.memory) == 2
    del session
    assert cuda.memory == {}
    assert "cuStreamDestroy_v2" in cuda.calls
    assert ("cuGraphExecDestroy" in cuda.calls) == (launch == "graph")


def test_layers_memory_and_inspector(cuda: FakeCuda) -> None:
    session = loaded(cuda, "enqueue")
    times = session.layer_times_ms()
    assert set(times) == {"double"}
    assert set(times["double"]) == {0.25}
    assert session.memory() == {"weights": 1000, "activations": 500, "io": 32}
    assert session.information() == {"Layers": []}


@pytest.mark.parametrize(
    ("fails", "kind", "said"),
    [
        (
            "engine",
            UnsupportedOp,
            "does not take this engine: The engine plan file is not compatible with this version",
        ),
        ("shape", UnsupportedOp, r"refuses the shape \(1, 4\) of 'x': it does not say why"),
        ("infer", UnsupportedOp, "lacks the shapes of x"),
        ("run", DeviceOutOfMemory, "cannot run this engine: out of memory"),
    ],
)
def test_what_the_library_answers_with_none_or_false(
    cuda: FakeCuda, fails: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=f"TensorRT for RTX 1.7.1.116 {said}"):
        loaded(cuda, fails=fails)
    assert cuda.memory == {}


def test_memory_that_does_not_suffice(cuda: FakeCuda) -> None:
    cuda.free_bytes = 8
    with pytest.raises(DeviceOutOfMemory, match=r"CUDA says: cuMemAlloc_v2: out of memory \(2\)"):
        loaded(cuda)


def test_inputs_of_another_model(cuda: FakeCuda) -> None:
    library = libraries.Library(FakeTensorRt(cuda), libraries.RTX, "1")
    with pytest.raises(UnsupportedOp, match="tensors are x, y; the model's inputs image"):
        _tensorrt_run.Loaded(library, _cuda.Driver(cuda), b"", {"image": np.zeros((1, 4), np.float32)}, "graph")


@pytest.mark.parametrize(("gpus", "init", "said"), [(0, 0, "finds none"), (1, 100, "answers 100")])
def test_a_driver_without_a_gpu(gpus: int, init: int, said: str) -> None:
    with pytest.raises(DeviceUnavailable, match=rf"without an NVIDIA GPU \(the driver {said}\)"):
        _cuda.Driver(FakeCuda(gpus, init))


def test_what_the_driver_says_of_its_gpus() -> None:
    driver = _cuda.Driver(FakeCuda(2))
    assert driver.version() == "13.2"
    assert driver.gpu(1) == _cuda.Gpu("Fake GPU", "sm86")
    with pytest.raises(DeviceUnavailable, match="no GPU 2: this machine has 2"):
        driver.gpu(2)


# --- between the host and the worker ---------------------------------------------------------------------------------


def graph(engine: Engine | None = None) -> Graph:
    kind = TensorType("float32", (1, 4))
    nodes = (Node("a", "Add", ("x", "x"), ("m",)), Node("b", "Relu", ("m",), ("y",)))
    return Graph("g", nodes, dict.fromkeys("xmy", kind), ("x",), ("y",), {}, engine=engine)


def record(**changed: Any) -> EngineRecord:
    values: dict[str, Any] = {
        "plan_sha256": "", "plan_bytes": 4, "onnx_sha256": "", "precision": "fp32", "library": "tensorrt_rtx",
        "version": "1.7.1.116", "targets": (), "gpu": None, "shapes": {}, "workspace_bytes": None, "layers": {},
        "weight_bytes": 1, "activation_bytes": 1, "build_s": 1.0,
    }  # fmt: skip
    return EngineRecord(**values | changed)


@pytest.fixture
def with_fakes(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    fake = FakeTensorRt(cuda)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: cuda)
    monkeypatch.setattr(libraries, "load", lambda: libraries.Library(fake, libraries.RTX, fake.__version__))
    return fake


SETTINGS = {"launch": "graph", "gpu": 0}
INPUTS = {"x": np.ones((1, 4), np.float32)}


def test_the_engine_of_a_graph_is_run_as_it_is(with_fakes: FakeTensorRt) -> None:
    session = PLUGIN.load(PLUGIN.model(graph(Engine(b"plan", record()))), INPUTS, SETTINGS)
    session.execute()
    np.testing.assert_array_equal(session.outputs()[0], [[2] * 4])
    assert with_fakes.strategies == ["eager"]
    files = PLUGIN.memory(PLUGIN.model(graph(Engine(b"plan", record()))), INPUTS, SETTINGS)
    assert PLUGIN.memory_of(files).memory_bytes == 1532
    assert PLUGIN.versions() | {"numpy": ""} == {"tensorrt_rtx": "1.7.1.116", "cuda": "13.2", "numpy": ""}
    assert PLUGIN.gpus() == ["Fake GPU (sm86)"]


@pytest.mark.usefixtures("with_fakes")
@pytest.mark.parametrize(
    "changed", [{"version": "1.8"}, {"targets": ("sm120",)}, {"library": "tensorrt", "gpu": "Other"}]
)
def test_an_engine_for_another_machine_never_gets_to_the_library(changed: dict[str, Any]) -> None:
    with pytest.raises(ProvenanceMismatch, match="was not built for this machine"):
        PLUGIN.load(PLUGIN.model(graph(Engine(b"plan", record(**changed)))), INPUTS, SETTINGS)


def test_kernels_from_inspector_and_profiler() -> None:
    def tensor(name: str, form: str = "Row major linear FP32") -> dict[str, Any]:
        return {"Name": name, "Dimensions": [1, 4], "Format/Datatype": form}

    information = {
        "Layers": [
            {"Name": "Reformat", "LayerType": "Reformat", "Inputs": [tensor("x")], "Outputs": [tensor("x'", "Half")]},
            {"Name": "add+relu", "LayerType": "CaskConvolution", "Inputs": [tensor("x'", "Half")], "Outputs": [tensor("y")],
             "Weights": {"Type": "Half", "Count": 36}, "Bias": {"Type": "Float", "Count": 0}, "Groups": 4, "Kernel": [3, 3],
             "TacticName": "fast", "Metadata": "[ONNX Layer: a]\x1e[ONNX Layer: b]\x1e[ONNX Layer: unknown]"},
        ]
    }  # fmt: skip
    files = [json.dumps(information).encode(), json.dumps({"add+relu": [9.0, 9.0, 0.5, 0.25, 0.5]}).encode()]
    first, second = PLUGIN.kernels(graph(), files)
    assert (first.nodes, first.reads, first.is_output, first.seconds) == ((), (-1,), False, None)
    assert first.kernel.outputs == (TensorType("float16", (1, 4)),)
    assert (second.nodes, second.reads, second.is_output) == (("a", "b"), (0,), True)
    assert second.seconds == pytest.approx(5e-4)
    assert second.kernel.weight_bytes == 72
    assert second.kernel.attributes == (("Groups", 4), ("Kernel", (3, 3)), ("TacticName", "fast"))
    assert _tensorrt_kernels.executed(graph(), {"Layers": ["all of it"]}, {"all of it": [1.0]})[0].seconds == 1e-3


# --- classic TensorRT, which can be had with a GPU only ----------------------------------------------------------------


def test_classic_tensorrt_builds_for_its_own_gpu() -> None:
    classic, gpu = libraries.Library(None, libraries.CLASSIC, "11.4.0"), _cuda.Gpu("Fake GPU", "sm90")
    for targets in ((), ("current",), ("sm90",)):
        assert _tensorrt_build._targets(classic, targets, gpu) == ("sm90",)
    with pytest.raises(DeviceUnavailable, match="builds for the GPU of the machine it runs on, not for sm86"):
        _tensorrt_build._targets(classic, ("sm86",), gpu)
    with pytest.raises(DeviceUnavailable, match=r"TensorRT 11\.4\.0 builds for the GPU of the machine"):
        _tensorrt_build._targets(classic, (), None)


@pytest.mark.parametrize(
    ("version", "taken"), [("10.11.0.33", False), ("10.12.0.36", True), ("11.4.0.106", True), ("9.3", False)]
)
def test_classic_tensorrt_is_taken_with_a_gpu_if_it_is_new_enough(
    version: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = SimpleNamespace(__version__=version)
    monkeypatch.setattr(_cuda, "missing", lambda: "")
    monkeypatch.setattr(libraries, "installed", lambda: [libraries.CLASSIC, libraries.RTX])
    monkeypatch.setattr(importlib, "import_module", lambda name: fake if name == libraries.CLASSIC else None)
    if taken:
        assert libraries.load() == libraries.Library(fake, libraries.CLASSIC, version)
    else:
        with pytest.raises(DeviceUnavailable, match=rf"TensorRT {version} is too old; 10\.12 is needed"):
            libraries.load()
