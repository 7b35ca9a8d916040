"""MNN, a runtime for phones and boards, on the CPU of the machine that the worker runs on."""

from __future__ import annotations

import importlib.util
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from devices.device import Memory
from devices.errors import UnsupportedOp
from devices.frames import Blob
from devices.kernels import ExecutedKernel
from devices.spec import Setting, choice, count

if TYPE_CHECKING:
    from devices.graph import Graph

_TRACE_RUNS = ((3, math.inf), (20, 1.0), (60, 0.03))  # so many, unless that takes so many seconds
_TIMED, _WITH_CALLBACKS = 1, 0  # modes of a session
_MEMORY = 0  # number of the fact about a session: MB that it holds, weights included


@final
class Mnn:
    """Both halves of the runtime: the methods on top run in the worker, those below in the host.

    Models are converted by the extension module behind MNN's own tools. Those tools themselves (``MNN.tools``) are not imported:
    they install packages and report their use over the network.
    """

    packages = ("MNN",)
    settings = (
        Setting("threads", 1, count, "threads that inference may use"),
        Setting(
            "precision",
            "high",
            choice("high", "low"),
            "high: float32 throughout; low: float16 or bfloat16 where faster",
        ),
    )
    fixed: Mapping[str, Any] = {"backend": "CPU", "memory": "normal"}

    # --- in the worker ---------------------------------------------------------------------------------------------

    def versions(self) -> dict[str, str]:
        """Versions of MNN and numpy."""
        import MNN

        return {"MNN": MNN.version(), "numpy": np.__version__}

    def load(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> _Loaded:
        """A session with the inputs filled in."""
        return _Loaded(model, inputs, settings)

    def trace(
        self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, timed: bool
    ) -> list[Blob]:
        """Every operator in the order of execution: names, types and shapes, and its seconds in each of up to 60 runs more."""
        loaded = _Loaded(model, inputs, settings, mode=_WITH_CALLBACKS)
        run = partial(loaded.interpreter.runSessionWithCallBackInfo, loaded.session)
        operators: list[dict[str, Any]] = []
        clock: list[float] = []

        def read(tensors: list[Any], told: Any) -> bool:
            operators.append({"name": told.getName(), "kind": told.getType(), "inputs": _types(tensors)})
            return True

        def written(tensors: list[Any], told: Any) -> bool:
            operators[-1]["outputs"] = _types(tensors)
            return True

        def tick(tensors: list[Any], told: Any) -> bool:
            clock.append(perf_counter())
            return True

        run(read, written)
        done, begin = 0, perf_counter()
        for most, longest_s in _TRACE_RUNS if timed else ():
            while done < most and perf_counter() - begin < longest_s:
                loaded.fill()
                run(tick, tick)
                done += 1
        seconds = np.diff(np.array(clock).reshape(done, len(operators), 2))[..., 0]
        return [json.dumps({"operators": operators, "seconds": seconds.tolist()}).encode()]

    def memory(self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> list[Blob]:
        """Bytes of the converted model, and what its session holds."""
        loaded = _Loaded(model, inputs, settings)
        held_mb = loaded.interpreter.getSessionInfo(loaded.session, _MEMORY)
        return [json.dumps({"model_bytes": loaded.model_bytes, "held_bytes": round(held_mb * 2**20)}).encode()]

    # --- in the host -----------------------------------------------------------------------------------------------

    def unavailable(self) -> str:
        """Why it cannot run here, and what to install; empty if it can."""
        return "" if importlib.util.find_spec("MNN") else "not installed: pip install MNN"

    def trace_model(self, graph: Graph) -> Blob:
        """The model with a unique token for the name of every node and tensor."""
        from devices.runtimes._tokens import tokenised

        return tokenised(graph)

    def kernels(self, graph: Graph, files: Sequence[Blob]) -> list[ExecutedKernel]:
        """Kernels from the operators that ran."""
        from devices.runtimes import _mnn_kernels as kernels

        return kernels.executed(graph, files[0])

    def memory_of(self, files: Sequence[Blob]) -> Memory:
        """What the session holds, weights included."""
        told = json.loads(bytes(files[0]))
        weights = min(told["model_bytes"], told["held_bytes"])
        return Memory(weights, told["held_bytes"] - weights, "runtime")


@final
class _Loaded:
    """A session and its inputs. MNN gives an input's memory to other tensors once it was read, so a run begins with a copy."""

    def __init__(
        self, model: Blob, inputs: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], mode: int = _TIMED
    ) -> None:
        import MNN

        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
            converted = _converted(model, Path(folder))
            self.model_bytes = converted.stat().st_size
            told = MNN.nn.load_module_from_file(str(converted), [], []).get_info()
            self.interpreter = MNN.Interpreter(str(converted))
        self.interpreter.setSessionMode(mode)
        threads, precision = settings["threads"], settings["precision"]
        self.session = self.interpreter.createSession(
            {"backend": "CPU", "numThread": threads, "precision": precision, "memory": "normal"}
        )
        tensors = self.interpreter.getSessionInputAll(self.session)
        self._tensors = dict(zip(inputs, (tensors[name] for name in told["inputNames"]), strict=True))
        self._values: dict[str, Any] = {}
        results = self.interpreter.getSessionOutputAll(self.session)
        self._outputs = [results[name] for name in told["outputNames"]]
        for name, value in inputs.items():
            self.bind(name, value)
        if failure := self.execute():
            raise UnsupportedOp(
                f"MNN cannot run this model (its error {failure}).",
                hint="Loops, branches and shapes that depend on data are none of its operators.",
            )

    def execute(self) -> int:
        self.fill()
        failure: int = self.interpreter.runSession(self.session)
        return failure

    def fill(self) -> None:
        for name, value in self._values.items():
            self._tensors[name].copyFrom(value)

    def outputs(self) -> list[NDArray[Any]]:
        import MNN

        copies = []
        for tensor in self._outputs:
            ((dtype, shape),) = _types([tensor])
            copy = MNN.Tensor(
                tuple(shape), tensor.getDataType(), np.empty(shape, dtype), MNN.Tensor_DimensionType_Caffe
            )
            tensor.copyToHostTensor(copy)
            copies.append(np.array(copy.getNumpyData(), dtype).reshape(shape))
        return copies

    def bind(self, name: str, value: NDArray[Any]) -> None:
        import MNN

        tensor = self._tensors[name]
        ((dtype, shape),) = _types([tensor])
        held = np.ascontiguousarray(value, dtype)
        self._values[name] = MNN.Tensor(tuple(shape), tensor.getDataType(), held, MNN.Tensor_DimensionType_Caffe)


def _converted(model: Blob, folder: Path) -> Path:
    """MNN's own file of an ONNX model."""
    import _tools

    source, target = folder / "model.onnx", folder / "model.mnn"
    source.write_bytes(model)
    with chdir(folder):  # the converter leaves a file where it is
        _tools.mnnconvert(
            ["MNNConvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target), "--bizCode", "hwnas"]
        )
    if not target.exists():
        raise UnsupportedOp("MNN cannot convert this model.", hint="Its operators have to be ones that MNN knows.")
    return target


def _types(tensors: Sequence[Any]) -> list[tuple[str, list[int]]]:
    """Element type and shape of each; MNN keeps 64-bit integers and booleans as 32-bit integers."""
    import MNN

    names = {
        id(MNN.Halide_Type_Float): "float32",
        id(MNN.Halide_Type_Int): "int32",
        id(MNN.Halide_Type_Uint8): "uint8",
        id(MNN.Halide_Type_Int64): "int64",
    }
    return [(names.get(id(tensor.getDataType()), "float32"), list(tensor.getShape())) for tensor in tensors]


PLUGIN = Mnn()
