"""Real engines of real models, built by TensorRT for RTX without a GPU, and everything that its parser and builder refuse."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import devices
import hwnas.spaces
from devices import engine_file, engines
from devices.engine_file import Engine
from devices.engines import EngineBuilder
from devices.errors import DeviceUnavailable, HwnasError, InvalidModel, ProvenanceMismatch, UnsupportedOp
from devices.runtimes import _cuda
from devices.runtimes import _tensorrt_cache as cache
from devices.runtimes import _tensorrt_library as libraries
from hwnas.bundle.half import half
from hwnas.int8.flavours import CPU, TENSORRT
from hwnas.int8.quantize import like_int8

ROOT = Path(devices.__file__).parent.parent
FLOAT, HALF, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8

if (
    importlib.util.find_spec("tensorrt_rtx") is None
):  # it has wheels for x86-64 only, where CI lets nothing be skipped for this
    pytest.skip("TensorRT for RTX is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def builder(cache_home: Path) -> Iterator[EngineBuilder]:
    with engines.builder() as opened:
        yield opened


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    """Every kind of operator of the space, weights made up."""
    space = hwnas.spaces.open("mobile", (1, 28, 28), 10, depths=[1], stem_width=8)
    return space.graph(space.largest()).to_onnx()


def open_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(model.SerializeToString())
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


# --- engines ---------------------------------------------------------------------------------------------------------


def test_engines_of_every_precision(builder: EngineBuilder, network: onnx.ModelProto) -> None:
    models = {"fp32": network, "fp16": half(network), "int8": like_int8(network, TENSORRT)}
    records = {}
    for precision, model in models.items():
        content = model.SerializeToString()
        engine = builder.build(content)
        records[precision] = record = engine.record
        assert record.precision == precision
        assert (record.plan_bytes, record.plan_sha256) == (len(engine.plan), hashlib.sha256(engine.plan).hexdigest())
        assert record.onnx_sha256 == hashlib.sha256(content).hexdigest()
        assert (record.library, record.version[:4], record.gpu) == ("tensorrt_rtx", "1.7.", None)
        assert record.layers["CONVOLUTION"] == sum(n.op_type == "Conv" for n in network.graph.node)
        for kind, op in (("QUANTIZE", "QuantizeLinear"), ("DEQUANTIZE", "DequantizeLinear")):
            assert record.layers.get(kind, 0) == sum(n.op_type == op for n in model.graph.node)
        assert 0 < record.build_s < 60
    weights = sum(numpy_helper.to_array(w).nbytes for w in network.graph.initializer)
    assert 0.9 * weights < records["fp32"].weight_bytes < 1.3 * weights
    assert 0.4 < records["fp16"].weight_bytes / records["fp32"].weight_bytes < 0.6
    assert records["int8"].weight_bytes < 0.75 * records["fp32"].weight_bytes
    assert min(r.activation_bytes for r in records.values()) > 0


def test_every_chosen_kind_of_gpu_counts(builder: EngineBuilder, network: onnx.ModelProto) -> None:
    many = builder.build(network.SerializeToString(), targets=("sm80", "sm86", "sm89", "sm120")).record
    assert many.targets == ("sm80", "sm86", "sm89", "sm120")
    with pytest.raises(UnsupportedOp, match="for Turing"):
        builder.build(network.SerializeToString(), targets=("sm89", "sm75"))


def test_engines_for_open_shapes(builder: EngineBuilder, network: onnx.ModelProto) -> None:
    name = network.graph.input[0].name
    three = ((1, 1, 28, 28), (8, 1, 28, 28), (32, 1, 28, 28))
    static = builder.build(network.SerializeToString()).record
    for model in (network, like_int8(network, TENSORRT)):
        record = builder.build(open_batch(model).SerializeToString(), shapes={name: three}).record
        assert record.shapes == {name: three}
        assert record.activation_bytes > static.activation_bytes  # for 32 images


# --- refusals --------------------------------------------------------------------------------------------------------

Ends = Sequence[tuple[str, int, Sequence[int | str]]]
WEIGHTS = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
IMAGE: Ends = [("x", FLOAT, [1, 3, 8, 8])]
FEATURES: Ends = [("y", FLOAT, [1, 8, 8, 8])]


def model(nodes: list[onnx.NodeProto], inputs: Ends, outputs: Ends, **constants: Any) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*end) for end in inputs],
        [helper.make_tensor_value_info(*end) for end in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def convolution(batch: int | str = 1, kind: int = FLOAT) -> bytes:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4)]
    return model(nodes, [("x", kind, [batch, 3, 8, 8])], [("y", FLOAT, [batch, 8, 8, 8])], w=WEIGHTS)


NOTHING = np.int8(0)


def quantised(zero: Any = NOTHING, scale: float = 0.1, int32_bias: bool = False) -> bytes:
    """A convolution with Q/DQ on its inputs."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "quantize"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "dequantize"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "weights", axis=0),
        helper.make_node("DequantizeLinear", ["b", "ws"], ["bd"], "bias", axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["y"], "conv", pads=[1] * 4),
    ]
    constants = {
        "s": np.float32(scale), "z": zero, "w": np.clip(40 * WEIGHTS, -127, 127).astype(np.int8),
        "ws": np.full(8, 0.02, np.float32), "wz": np.zeros(8, np.int8), "b": np.ones(8, np.int32),
    }  # fmt: skip
    if not int32_bias:
        nodes = [n for n in nodes if n.name not in ("bias", "conv")]
        nodes.append(helper.make_node("Conv", ["xd", "wd"], ["y"], "conv", pads=[1] * 4))
        del constants["b"]
    return model(nodes, IMAGE, FEATURES, **constants)


def product() -> bytes:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], "gemm")]
    ends: Ends = [("x", FLOAT, [1, 64]), ("y", FLOAT, [1, 64])]
    return model(nodes, ends[:1], ends[1:], w=np.ones((64, 64), np.float32))


def single(op: str, shape: Sequence[int], out: Sequence[int]) -> bytes:
    return model([helper.make_node(op, ["x"], ["y"], "it")], [("x", FLOAT, shape)], [("y", FLOAT, out)])


def qlinear() -> bytes:
    nodes = [helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "wz", "s", "z"], ["y"], "qlinear")]
    return model(nodes, [("x", UINT8, [1, 3, 8, 8])], [("y", UINT8, [1, 8, 6, 6])], s=np.float32(0.1), z=np.uint8(0),
                 w=WEIGHTS.astype(np.int8), wz=np.int8(0))  # fmt: skip


def cpus_own() -> bytes:
    space = hwnas.spaces.open("mobile", (1, 8, 8), 4, depths=[1], stem_width=8)
    content: bytes = like_int8(space.graph(space.smallest()).to_onnx(), CPU).SerializeToString()
    return content


@dataclass(frozen=True)
class Refusal:
    """What is refused, how, and with which words of the library and of ours."""

    made: Callable[[], bytes]
    kind: type[HwnasError]
    said: str
    hint: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def shapes(*three: tuple[int, ...], name: str = "x") -> dict[str, Any]:
    return {"shapes": {name: three}}


REFUSALS = {
    "uint8 around 128": Refusal(
        lambda: quantised(np.uint8(128)), UnsupportedOp, r"node 'quantize' \(QuantizeLinear\): Non-zero zero point", "symmetric"
    ),
    "int8 around 3": Refusal(lambda: quantised(np.int8(3)), UnsupportedOp, "node 'quantize'.*Non-zero zero point", "symmetric"),
    "int32 bias": Refusal(
        lambda: quantised(int32_bias=True), UnsupportedOp, r"node 'bias' \(Deq.*\): bias: input has type Int32", "int32 biases"
    ),
    "the CPU's flavour": Refusal(cpus_own, UnsupportedOp, r"\(DequantizeLinear\): .*input has type Int32", "int32 biases"),
    "scale of zero": Refusal(lambda: quantised(scale=0), UnsupportedOp, "node 'quantize'.*must all be positive", "scale"),
    "negative scale": Refusal(lambda: quantised(scale=-1), UnsupportedOp, "node 'quantize'.*must all be positive", "scale"),
    "QOperator format": Refusal(qlinear, UnsupportedOp, r"node 'qlinear' \(QLinearConv\): not supported"),
    "types mixed": Refusal(lambda: convolution(kind=HALF), UnsupportedOp, "node 'conv'.*must be of same type", "whole network"),
    "no shapes": Refusal(lambda: convolution("n"), UnsupportedOp, "no optimization profile", "open dimension"),
    "smallest over usual": Refusal(
        lambda: convolution("n"), InvalidModel, r"these shapes \(x: \(4, 3.*MIN<=OPT<=MAX", "in this order",
        shapes((4, 3, 8, 8), (2, 3, 8, 8), (8, 3, 8, 8)),
    ),
    "shapes of another rank": Refusal(
        lambda: convolution("n"), InvalidModel, "has 4 dimensions but profile 0 has 3", "rank", shapes(*[(1, 3, 8)] * 3)
    ),
    "shapes of different ranks": Refusal(
        lambda: convolution("n"), InvalidModel, "cannot use these shapes", "rank", shapes((1, 3, 8, 8), (1, 3, 8), (1, 3, 8, 8))
    ),
    "open where the model is not": Refusal(
        lambda: convolution("n"), InvalidModel, "axis 2, profile has min=8", "rank",
        shapes((1, 3, 8, 8), (2, 3, 8, 8), (8, 3, 16, 8)),
    ),
    "shapes of no input": Refusal(
        lambda: convolution("n"), InvalidModel, r"no input 'xx', did you mean 'x'\?", "", shapes(*[(1, 3, 8, 8)] * 3, name="xx")
    ),
    "too little workspace": Refusal(
        convolution, UnsupportedOp, "no tactics to implement .* within workspace limit", "workspace", {"workspace_bytes": 1 << 20}
    ),
    "float32 product on Turing": Refusal(product, UnsupportedOp, "for Turing.*not supported", "FP16", {"targets": ("sm75",)}),
    "a GPU it does not know": Refusal(
        product, DeviceUnavailable, r"builds for sm120, .*sm89, not for 'sm90'", "classic", {"targets": ("sm90",)}
    ),
    "this machine's GPU": Refusal(
        product, DeviceUnavailable, "the GPU of this machine, .* without an NVIDIA GPU", "sm86", {"targets": ("current",)}
    ),
    "unknown operator": Refusal(
        lambda: single("NoSuchOperator", [1, 4], [1, 4]), UnsupportedOp, r"'it' \(NoSuchOperator\): .*Plugin not found", "replace"
    ),
    "known and not supported": Refusal(
        lambda: single("Det", [1, 4, 4], [1]), UnsupportedOp, r"node 'it' \(Det\): not supported \[UNSUPPORTED_NODE\]"
    ),
    "no ONNX": Refusal(lambda: b"something else", InvalidModel, "Failed to parse the ONNX model"),
    "nothing": Refusal(lambda: b"", InvalidModel, "holds no network"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused_is_refused_with_node_and_reason(builder: EngineBuilder, name: str) -> None:
    case = REFUSALS[name]
    if name == "this machine's GPU" and not _cuda.missing():
        pytest.skip("needs CUDA to be missing")
    with pytest.raises(HwnasError, match=case.said) as caught:
        builder.build(case.made(), **case.options)
    assert type(caught.value) is case.kind
    assert case.hint in caught.value.hint
    message = caught.value.message
    assert "cudaError" not in message  # without a driver every error has an echo that says so
    assert ".cpp" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "content", [convolution(), quantised(), quantised(np.uint8(0))], ids=["float", "int8", "uint8 around 0"]
)
def test_what_is_right_beside_the_refused_is_taken(builder: EngineBuilder, content: bytes) -> None:
    builder.check(content)
    assert builder.build(content).record.plan_bytes > 0


def test_the_parser_alone_refuses_the_same(builder: EngineBuilder) -> None:
    with pytest.raises(UnsupportedOp, match=r"node 'it' \(Det\)"):
        builder.check(single("Det", [1, 4, 4], [1]))


# --- files and cache -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(builder: EngineBuilder) -> Engine:
    return builder.build(convolution(), targets=("sm86",))


def test_an_engine_survives_the_disk(engine: Engine, tmp_path: Path) -> None:
    engine_file.write(engine, tmp_path / "model.engine")
    assert engine_file.read(tmp_path / "model.engine") == engine
    assert {p.name for p in tmp_path.iterdir()} == {"model.engine", "model.engine.json"}
    assert json.loads((tmp_path / "model.engine.json").read_text())["targets"] == ["sm86"]


def test_a_plan_without_its_own_json_is_refused(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    engine_file.write(engine, path)
    text = engine_file.record_path(path).read_text()
    path.write_bytes(engine.plan[:-1] + b"x")
    with pytest.raises(ProvenanceMismatch, match=r"sha256: found \w{64}, wanted"):
        engine_file.read(path)
    path.write_bytes(engine.plan)
    for damaged in (text[:40], "[]", '{"schema": 1}', text.replace('"targets"', '"aims"'), "{}"):
        engine_file.record_path(path).write_text(damaged)
        with pytest.raises(InvalidModel, match="damaged"):
            engine_file.read(path)
    engine_file.record_path(path).write_text(text.replace('"schema": 1', '"schema": 2'))
    with pytest.raises(ProvenanceMismatch, match="schema: found 2, wanted 1"):
        engine_file.read(path)
    engine_file.record_path(path).unlink()
    with pytest.raises(InvalidModel, match=r"model\.engine\.json cannot be read: No such file"):
        engine_file.read(path)
    with pytest.raises(HwnasError, match="Could not write"):
        engine_file.write(engine, tmp_path / "missing" / "model.engine")


def test_an_engine_for_another_machine_is_refused_with_what_differs(engine: Engine) -> None:
    record = engine.record
    here = {"library": record.library, "version": record.version, "gpu": "A GPU", "sm": "sm86"}
    record.require_fits(**here)
    replace(record, targets=()).require_fits(**here)
    for wrong, field_said in (
        ({"library": "tensorrt"}, "library: found tensorrt_rtx, here tensorrt"),
        ({"version": "1.8.0.1"}, "version: found .*, here 1.8.0.1"),
        ({"sm": "sm90"}, "targets: found sm86, here sm90"),
    ):
        with pytest.raises(ProvenanceMismatch, match=field_said):
            record.require_fits(**{**here, **wrong})
    with pytest.raises(ProvenanceMismatch, match="gpu: found Another, here A GPU"):
        replace(record, gpu="Another").require_fits(**here)


def test_a_graph_carries_an_engine_of_its_own_model_only(builder: EngineBuilder, tmp_path: Path) -> None:
    path, source = tmp_path / "model.engine", tmp_path / "model.onnx"
    content = convolution("n")
    source.write_bytes(content)
    engine_file.write(builder.build(content, shapes={"x": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}), path)
    graph = devices.load_onnx(source, {"x": (4, 3, 8, 8)})
    carrying = engines.with_engine(graph, content, path)
    assert carrying.engine is not None
    assert carrying.engine.plan == path.read_bytes()
    with pytest.raises(ProvenanceMismatch, match="was built of another model"):
        engines.with_engine(graph, convolution(2), path)
    with pytest.raises(InvalidModel, match=r"takes 'x' from \(1, 3, 8, 8\) to \(4, 3, 8, 8\)"):
        engines.with_engine(devices.load_onnx(source, {"x": (8, 3, 8, 8)}), content, path)


def test_an_engine_is_built_once(builder: EngineBuilder, engine: Engine, cache_home: Path) -> None:
    """Two builds of the same model differ in their bytes, so the same bytes are the same build."""
    kept = cache_home / "hwnas" / "engines"
    assert builder.build(convolution(), targets=("sm86",)) == engine
    assert builder.build(convolution(), targets=("sm89",)) != engine
    (path,) = (p for p in kept.glob("*.engine") if p.read_bytes() == engine.plan)
    path.write_bytes(engine.plan[:100])  # damaged: built again
    again = builder.build(convolution(), targets=("sm86",))
    assert again.record.plan_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_cache_stays_small(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "LARGEST_BYTES", 2 * len(engine.plan))
    builds = []

    def build() -> Engine:
        builds.append(1)
        return engine

    for i, name in enumerate(("a", "b", "a", "c", "a", "b")):
        cache.cached(name, build)
        for path in (tmp_path / "hwnas" / "engines").glob(f"{name}.engine"):
            os.utime(path, (i, i))
    assert len(builds) == 4  # b was used least recently when c came
    assert {p.name for p in (tmp_path / "hwnas" / "engines").glob("*.engine")} == {"a.engine", "b.engine"}


# --- what is installed -----------------------------------------------------------------------------------------------


def test_without_a_gpu_the_status_says_so_and_what_still_works() -> None:
    if not _cuda.missing():
        pytest.skip("needs CUDA to be missing")
    (status,) = (s for s in devices.describe() if s.name == "tensorrt")
    assert status.unavailable.startswith("without an NVIDIA GPU (no driver found): install NVIDIA's driver")
    assert "hwnas export --engine" in status.unavailable
    assert status.versions["tensorrt-rtx-cu13"].startswith("1.7.")
    with pytest.raises(DeviceUnavailable, match="'tensorrt' is without an NVIDIA GPU"):
        devices.open("tensorrt:launch=enqueue,gpu=1")


def test_settings_are_checked_before_anything_else() -> None:
    for spec, said in (
        ("tensorrt:launch=fast", "launch must be one of graph, enqueue"),
        ("tensorrt:gpu=-1", "gpu must be a whole"),
    ):
        with pytest.raises(ValueError, match=said):
            devices.open(spec)


@pytest.mark.parametrize("rtx", [True, False])
def test_classic_tensorrt_is_not_touched_without_a_driver(rtx: bool, tmp_path: Path) -> None:
    """It would end the process; this one, which only says that it does, does so too."""
    if not _cuda.missing():
        pytest.skip("needs CUDA to be missing")
    fake_that_crashes = tmp_path / "tensorrt"
    fake_that_crashes.mkdir()
    (fake_that_crashes / "__init__.py").write_text("import os; os._exit(139)")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from devices.errors import DeviceUnavailable
from devices.runtimes import _tensorrt_library as libraries
if not {rtx}:
    libraries.installed = lambda: ["tensorrt"]
try:
    print(libraries.load().name)
except DeviceUnavailable as error:
    print(error.message, error.hint)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert ("tensorrt_rtx" if rtx else "builds on a machine with a GPU only") in done.stdout


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "installed", list)
    (status,) = (s for s in devices.describe() if s.name == "tensorrt")
    assert status.unavailable.startswith("not installed: pip install tensorrt-rtx-cu13")
    with pytest.raises(DeviceUnavailable, match="not installed") as caught:
        libraries.load()
    assert "pip install tensorrt-cu13" in caught.value.hint
