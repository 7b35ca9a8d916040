"""ONNX files that are damaged or hostile are refused with a reason; good ones become typed graphs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

import devices
from devices import TensorType
from devices.errors import DataDependentShape, InvalidModel, UnsupportedOp


def small_model(*, dims: list[int | str | None] | None = None) -> ModelProto:
    """Conv, Relu, then a Gemm behind a shape that is computed from the shape."""
    rng = np.random.default_rng(0)
    constants: dict[str, NDArray[Any]] = {
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "b": np.zeros(8, np.float32),
        "zero": np.array(0, np.int64),
        "minus": np.array([-1], np.int64),
        "axis": np.array([0], np.int64),
        "dense": rng.standard_normal((8 * 64, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Shape", ["r"], ["s"], name="shape"),
        helper.make_node("Gather", ["s", "zero"], ["n"], name="batch"),
        helper.make_node("Unsqueeze", ["n", "axis"], ["u"], name="unsqueeze"),
        helper.make_node("Concat", ["u", "minus"], ["to"], name="concat", axis=0),
        helper.make_node("Reshape", ["r", "to"], ["f"], name="reshape"),
        helper.make_node("MatMul", ["f", "dense"], ["y"], name="dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims or [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(model: ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_every_tensor_gets_a_type(tmp_path: Path) -> None:
    graph = devices.load_onnx(saved(small_model(), tmp_path))
    assert graph.inputs == ("x",)
    assert graph.outputs == ("y",)
    assert graph.tensors["f"] == TensorType("float32", (1, 512))
    assert graph.tensors["y"] == TensorType("float32", (1, 10))
    assert {name for node in graph.nodes for name in node.outputs} <= set(graph.tensors)
    assert graph.constants["w"] is not None
    assert graph.constants["w"].shape == (8, 3, 3, 3)
    onnx.checker.check_model(graph.to_onnx(), full_check=True)


def test_constant_nodes_are_constants(tmp_path: Path) -> None:
    model = small_model()
    (minus,) = [t for t in model.graph.initializer if t.name == "minus"]
    model.graph.initializer.remove(minus)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["minus"], value_ints=[-1]))
    graph = devices.load_onnx(saved(model, tmp_path))
    assert [node.op for node in graph.nodes if node.op == "Constant"] == []
    assert graph.constants["minus"] is not None
    assert graph.constants["minus"].tolist() == [-1]
    assert graph.digest() == devices.load_onnx(saved(graph.to_onnx(), tmp_path)).digest()


def test_each_unnamed_dimension_is_open_for_itself(tmp_path: Path) -> None:
    path = saved(small_model(dims=[-1, 3, "?", "?"]), tmp_path)
    graph = devices.load_onnx(path, {"x": (1, 3, 16, 4)})
    assert graph.tensors["c"].shape == (1, 8, 16, 4)
    with pytest.raises(InvalidModel, match="has no fixed shape"):
        devices.load_onnx(path)


def test_shapes_computed_by_older_operators(tmp_path: Path) -> None:
    model = small_model()
    unsqueeze = model.graph.node[4]
    del unsqueeze.input[1]
    unsqueeze.attribute.append(helper.make_attribute("axes", [0]))
    model.opset_import[0].version = 11
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "n"]))
    graph = devices.load_onnx(saved(model, tmp_path))
    assert graph.tensors["y"] == TensorType("float32", (1, 10))


def test_open_shapes_must_be_given(tmp_path: Path) -> None:
    path = saved(small_model(dims=["N", 3, "H", None]), tmp_path)
    with pytest.raises(InvalidModel, match="no fixed shape: Nx3xHx\\?") as caught:
        devices.load_onnx(path)
    assert caught.value.hint.endswith("--input x=1x3x224x224")
    graph = devices.load_onnx(path, {"x": (1, 3, 8, 8)})
    assert graph.tensors["y"] == TensorType("float32", (1, 10))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (1, 3, 8)}, "Input 'x' has shape Nx3x8x8, got 1x3x8"),
        ({"x": (1, 4, 8, 8)}, "Input 'x' has shape"),
        ({"x": (0, 3, 8, 8)}, "Input 'x' has shape"),
        ({"x": (-1, 3, 8, 8)}, "Input 'x' has shape"),
        ({"images": (1, 3, 8, 8)}, "no input 'images'"),
        ({"X": (1, 3, 8, 8)}, "no input 'X'"),
        ({"x": (2**40, 3, 8, 8)}, "would take"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path: Path, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    path = saved(small_model(dims=["N", 3, 8, 8]), tmp_path)
    with pytest.raises(InvalidModel) as caught:
        devices.load_onnx(path, shapes)
    assert message in caught.value.message
    assert caught.value.hint


def test_the_nearest_input_is_named(tmp_path: Path) -> None:
    model = small_model()
    model.graph.input[0].name = model.graph.node[0].input[0] = "pixels"
    with pytest.raises(InvalidModel, match="did you mean 'pixels'"):
        devices.load_onnx(saved(model, tmp_path), {"pixel": (1, 3, 8, 8)})


def test_one_dimension_names_all_its_places(tmp_path: Path) -> None:
    model = small_model(dims=["N", 3, 8, 8])
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 10]))
    model.graph.node.append(helper.make_node("Add", ["y", "z"], ["sum"], name="add"))
    model.graph.output[0].name = "sum"
    graph = devices.load_onnx(saved(model, tmp_path), {"x": (2, 3, 8, 8)})
    assert graph.tensors["z"].shape == (2, 10)
    with pytest.raises(InvalidModel, match="Input 'z' has shape"):
        devices.load_onnx(saved(model, tmp_path), {"x": (2, 3, 8, 8), "z": (3, 10)})


def cyclic(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "r"


def reads_nothing(model: ModelProto) -> None:
    model.graph.node[1].input[0] = "absent"


def made_twice(model: ModelProto) -> None:
    model.graph.node[1].output[0] = "c"


def no_output(model: ModelProto) -> None:
    model.graph.output[0].name = "absent"


def unknown_operator(model: ModelProto) -> None:
    model.graph.node[1].op_type = "Rellu"


def unknown_domain(model: ModelProto) -> None:
    model.graph.node[1].domain = "org.example"


def huge_constant(model: ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def negative_constant(model: ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -8


def short_constant(model: ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def negative_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -2


def huge_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**42


def huge_result(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20, 10]), "wide"))
    model.graph.node.append(helper.make_node("Expand", ["y", "wide"], ["e"], name="expand"))
    model.graph.output[0].name = "e"


def strings(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def unknown_type(model: ModelProto) -> None:
    model.graph.initializer[0].data_type = 4711


def contradicting_shapes(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 9


def old_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 3


def future_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 4000


def not_a_tensor(model: ModelProto) -> None:
    model.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1])))


def no_value(model: ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["nothing"], name="empty"))


def data_dependent(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("NonZero", ["y"], ["where"], name="nonzero"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("where", TensorProto.INT64, None))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cyclic, "has a cycle"),
        (reads_nothing, "reads tensor 'absent', which nothing makes"),
        (made_twice, "Tensor 'c' is made more than once"),
        (no_output, "Nothing makes the output 'absent'"),
        (unknown_operator, "unknown operator 'Rellu', did you mean 'Relu'?"),
        (unknown_domain, "'org.example'"),
        (huge_constant, "is declared as"),
        (negative_constant, "negative dimension"),
        (short_constant, "its data has another length"),
        (negative_input, "negative dimension"),
        (huge_input, "would take"),
        (huge_result, "would take"),
        (strings, "holds strings"),
        (unknown_type, "unknown element type"),
        (contradicting_shapes, "do not fit"),
        (old_opset, "uses ONNX opset 3"),
        (future_opset, "uses ONNX opset 4000"),
        (not_a_tensor, "is not a tensor"),
        (no_value, "no value of a supported kind"),
        (data_dependent, "depends on the data"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, damage: Callable[[ModelProto], None], message: str) -> None:
    model = small_model()
    damage(model)
    with pytest.raises(InvalidModel) as caught:
        devices.load_onnx(saved(model, tmp_path))
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no network"),
        (b"hello, this is text\n" * 9, "is not a whole ONNX file"),
        (b"\0" * 100, "is not a whole"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=message):
        devices.load_onnx(path)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path, tmp_path / "absent.onnx", tmp_path / "pipe.onnx"):
        with pytest.raises(InvalidModel, match="There is no file"):
            devices.load_onnx(path)


def test_more_than_two_gibibytes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31 + 5)  # a hole: no bytes on the disk
    with pytest.raises(InvalidModel, match="2 GiB"):
        devices.load_onnx(path)


def externally(model: ModelProto, location: str, **entries: int) -> ModelProto:
    """Move the first constant's data to ``location``."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return model


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    model = small_model()
    raw = model.graph.initializer[0].raw_data
    (tmp_path / "weights.bin").write_bytes(b"12345678" + raw)
    path = saved(externally(model, "weights.bin", offset=8, length=len(raw)), tmp_path)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert devices.load_onnx(path).to_onnx() == devices.load_onnx(saved(small_model(), plain)).to_onnx()


def linked(folder: Path, name: str, blob: Path) -> Path:
    """A link of that name, as the cache of Hugging Face has them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.symlink_to(os.path.relpath(blob, folder))
    return path


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("place", ["snapshots/1f3a", "snapshots/1f3a/onnx"])
def test_models_in_a_cache_of_links_are_read(tmp_path: Path, place: str, weights: bool) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    raw = small_model().graph.initializer[0].raw_data
    (blobs / "e5d1").write_bytes(raw)
    for name, model in (("plain", small_model()), ("apart", externally(small_model(), "model.onnx_data"))):
        (blobs / name).write_bytes(model.SerializeToString())
        link = linked(tmp_path / place, f"{name}.onnx", blobs / name)
        if name == "apart":
            with pytest.raises(InvalidModel, match=r"'model\.onnx_data' with the weights 'w' is missing"):
                devices.load_onnx(link, weights=weights)
            linked(link.parent, "model.onnx_data", blobs / "e5d1")
        graph = devices.load_onnx(link, weights=weights)
        if weights:
            assert graph.to_onnx().graph.initializer[0].raw_data == raw
        assert graph.digest() == devices.load_onnx(saved(small_model(), tmp_path)).digest()


def test_links_in_a_cache_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "secret").write_bytes(small_model().graph.initializer[0].raw_data)
    for location in ("data", "../secret", "../../secret", "../snapshots/1/data"):
        (tmp_path / "blobs" / "model").write_bytes(externally(small_model(), location).SerializeToString())
        if location == "data":
            link = linked(tmp_path / "snapshots" / "1", "model.onnx", tmp_path / "blobs" / "model")
            linked(link.parent, "data", tmp_path / "secret")
        with pytest.raises(InvalidModel, match="outside the model's folder"):
            devices.load_onnx(link)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "\0", "a\0b", "/etc/hostname", "link.bin", "folder/../../secret.bin", "", "linked/s"]
)
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    raw = small_model().graph.initializer[0].raw_data
    (tmp_path / "secret.bin").write_bytes(raw)
    (tmp_path / "s").write_bytes(raw)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(InvalidModel, match="outside the model's folder"):
        devices.load_onnx(saved(externally(small_model(), location), folder))


def test_external_data_without_a_name_in_text_is_refused(tmp_path: Path) -> None:
    path = saved(externally(small_model(), "weights"), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"weights", b"weight\xff"))
    with pytest.raises(InvalidModel, match="outside the model's folder"):
        devices.load_onnx(path)


@pytest.mark.parametrize(
    "entries", [{"offset": 10**6}, {"offset": -1}, {"length": 3}, {"length": 10**12}, {"offset": 2**70}]
)
def test_external_data_that_is_not_there_is_refused(tmp_path: Path, entries: dict[str, int]) -> None:
    (tmp_path / "weights.bin").write_bytes(small_model().graph.initializer[0].raw_data)
    with pytest.raises(InvalidModel, match="does not have for them"):
        devices.load_onnx(saved(externally(small_model(), "weights.bin", **entries), tmp_path))
    with pytest.raises(InvalidModel, match="is missing"):
        devices.load_onnx(saved(externally(small_model(), "absent.bin"), tmp_path))


@pytest.mark.parametrize("reverse", [False, True])
def test_sixty_thousand_nodes_take_seconds(tmp_path: Path, reverse: bool) -> None:
    n = 60_000
    nodes = [helper.make_node(("Relu", "Tanh")[i % 2], [f"t{i}"], [f"t{i + 1}"]) for i in range(n)]
    graph = helper.make_graph(
        nodes[::-1] if reverse else nodes,
        "chain",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info(f"t{n}", TensorProto.FLOAT, [1, 4])],
    )
    path = saved(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path)
    start = perf_counter()
    loaded = devices.load_onnx(path)
    assert perf_counter() - start < 30  # quadratic work would take many minutes
    assert len(loaded.nodes) == n
    assert loaded.nodes[0].inputs == ("t0",)


def test_bodies_of_loops_count_for_the_digest(tmp_path: Path) -> None:
    def branch(op: str) -> devices.Graph:
        def body(name: str, operator: str) -> onnx.GraphProto:
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])
            return helper.make_graph([helper.make_node(operator, ["x"], [name])], name, [], [value])

        chosen = helper.make_node("If", ["go"], ["y"], then_branch=body("a", op), else_branch=body("b", "Relu"))
        graph = helper.make_graph(
            [chosen],
            "branch",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return devices.load_onnx(saved(model, tmp_path))

    assert branch("Sin").digest() == branch("Sin").digest() != branch("Tanh").digest()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_gets_past_as_another_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = bytearray(small_model(dims=[1, 3, 8, 8]).SerializeToString())
    del raw[data.draw(st.integers(1, len(raw))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(raw)
    with contextlib.suppress(InvalidModel):
        assert devices.load_onnx(path).outputs


def test_shapes_that_depend_on_the_data_are_those_of_one_run(tmp_path: Path) -> None:
    model = small_model()
    data_dependent(model)
    model.graph.node.append(helper.make_node("Shape", ["where"], ["size"], name="size"))
    path = saved(model, tmp_path)
    with pytest.raises(DataDependentShape, match="depends on the data"):
        devices.load_onnx(path)
    with devices.open("onnxruntime:threads=1") as device:
        graph = devices.load_onnx(path, device=device)
        with pytest.raises(DataDependentShape):
            devices.load_onnx(path, weights=False, device=device)
        with device.load(graph) as session:
            (where,) = session.outputs()
        kernels = device.kernels(graph)
    assert graph.data_dependent == ("where",)
    assert graph.tensors["where"] == TensorType("int64", where.shape) == TensorType("int64", (2, 10))
    assert any("nonzero" in kernel.nodes for kernel in kernels)
    assert devices.load_onnx(saved(small_model(), tmp_path)).data_dependent == ()


def test_a_model_that_cannot_run_has_no_shapes(tmp_path: Path) -> None:
    model = small_model()
    data_dependent(model)
    next(node for node in model.graph.node if node.name == "conv").attribute.append(helper.make_attribute("group", 0))
    with devices.open("onnxruntime:threads=1") as device, pytest.raises((UnsupportedOp, InvalidModel)):
        devices.load_onnx(saved(model, tmp_path), device=device)


def ends(*described: tuple[str, int, list[int | str] | None]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(*each) for each in described]


def of_a_runtime(
    nodes: list[onnx.NodeProto], rows: int | str, told: list[onnx.ValueInfoProto] | None = None, *, opset: int = 17
) -> ModelProto:
    """A network of ``(rows, 8)`` with operators of ONNX Runtime's own, whose domain it does not import."""
    constants: dict[str, NDArray[Any]] = {
        "w": np.ones((8, 4), np.float32),
        "scale": np.array(0.1, np.float32),
        "zero": np.array(3, np.uint8),
        "bytes": np.ones((8, 4), np.int8),
        "none": np.array(0, np.int8),
    }
    graph = helper.make_graph(
        nodes,
        "runtime's own",
        ends(("x", TensorProto.FLOAT, [rows, 8])),
        ends(("y", TensorProto.FLOAT, None)),
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=told,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def own(op: str, inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], domain="com.microsoft")


RELU = helper.make_node("Relu", ["f"], ["y"])
SCALED = ["scale", "zero"]
PRODUCT = own("FusedMatMul", ["x", "w"], "f")
BYTES = [
    helper.make_node("QuantizeLinear", ["x", *SCALED], ["q"]),
    own("QGemm", ["q", *SCALED, "bytes", "scale", "none", "", *SCALED], "r"),
    own("QLinearAdd", ["r", *SCALED, "r", *SCALED, *SCALED], "f"),
    helper.make_node("DequantizeLinear", ["f", *SCALED], ["y"]),
]


@pytest.mark.parametrize(
    ("model", "made"),
    [
        (of_a_runtime([PRODUCT, RELU], 2), "float32"),
        (of_a_runtime([PRODUCT, RELU], "N"), "float32"),
        (of_a_runtime([PRODUCT, RELU], "N", ends(("f", TensorProto.FLOAT, ["N", 4]))), "float32"),
        (of_a_runtime([PRODUCT, RELU], 2, opset=9), "float32"),
        (of_a_runtime(BYTES, 2), "uint8"),
    ],
)
def test_operators_of_a_runtime_are_typed_by_it(tmp_path: Path, model: ModelProto, made: str) -> None:
    path = saved(model, tmp_path)
    with devices.open("onnxruntime:threads=1") as device:
        graph = devices.load_onnx(path, {"x": (2, 8)}, device=device)
        assert graph.tensors["f"] == TensorType(made, (2, 4))
        assert graph.tensors["y"] == TensorType("float32", (2, 4))
        assert any(kernel.kernel.kind.startswith("com.microsoft:") for kernel in device.kernels(graph))


def test_operators_of_a_runtime_may_be_typed_by_the_file(tmp_path: Path) -> None:
    graph = devices.load_onnx(saved(of_a_runtime([PRODUCT, RELU], 2, ends(("f", TensorProto.FLOAT, [2, 4]))), tmp_path))
    assert graph.tensors["y"] == TensorType("float32", (2, 4))


def test_what_is_no_tensor_within_a_model_is_refused(tmp_path: Path) -> None:
    model = small_model()
    model.graph.node.append(helper.make_node("SequenceConstruct", ["y"], ["several"]))
    with (
        devices.open("onnxruntime:threads=1") as device,
        pytest.raises(InvalidModel, match="'several' is not a tensor"),
    ):
        devices.load_onnx(saved(model, tmp_path), device=device)


def test_the_long_name_of_the_domain_is_its_short_one(tmp_path: Path) -> None:
    model = small_model(dims=["N", 3, 8, 8])
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    for node in model.graph.node[::2]:
        node.domain = "ai.onnx"
    graph = devices.load_onnx(saved(model, tmp_path), {"x": (1, 3, 8, 8)})
    assert graph.digest() == devices.load_onnx(saved(small_model(), tmp_path)).digest()
    data_dependent(model)
    with pytest.raises(DataDependentShape, match="'where'"):
        devices.load_onnx(saved(model, tmp_path), {"x": (1, 3, 8, 8)})
