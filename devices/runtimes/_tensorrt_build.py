"""From an ONNX model to an engine, on the API that TensorRT 10.12, 11 and TensorRT for RTX have in common.

Precision comes from the model: every network is strongly typed, INT8 is Q/DQ in the graph, FP16 is weights and casts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from devices.engine_file import Engine, EngineRecord
from devices.errors import DeviceError, DeviceUnavailable, HwnasError, InvalidModel, UnsupportedOp
from devices.frames import Blob
from devices.plugins import did_you_mean
from devices.runtimes import _cuda
from devices.runtimes._tensorrt_library import CLASSIC, RTX, Library, errors, logger, plain

CURRENT = "current"
"""The target that stands for the GPU of this machine."""

_WEIGHTS, _ACTIVATIONS = "Total Weights Memory: ", "Total Activation Memory: "
_BROKEN = ("MODEL_DESERIALIZE_FAILED", "INVALID_GRAPH")
# What the words of a refusal mean for somebody who has the model.
_HINTS = {
    "Non-zero zero point": "TensorRT takes symmetric INT8 only: quantise the network in hwnas's flavour for it.",
    "input has type Int32": "TensorRT takes no int32 biases: quantise the network in hwnas's flavour for it.",
    "Scale coefficients must all be positive": "Quantise the network again: a scale is zero or negative.",
    "must be of same type": "Types are taken from the file: convert the whole network to FP16, weights included.",
    "no optimization profile": "An input has an open dimension: give its smallest, usual and largest shape.",
    "within workspace limit": "Allow more workspace.",
    "FP32 GEMM is not supported": "That kind of GPU needs FP16: build from the FP16 file, or leave the target out.",
    "Plugin not found": "The network has an operator that TensorRT does not know; replace it.",
}


@dataclass(frozen=True)
class Options:
    """How an engine is built.

    Attributes:
        targets: kinds of GPU that it has to run on, e.g. ``("sm86", "sm89")``, or :data:`CURRENT`; empty for all that TensorRT
            for RTX knows. Classic TensorRT builds for the GPU of its machine only.
        shapes: for each input with open dimensions its smallest, usual and largest shape.
        workspace_bytes: what one layer may use beside its tensors; None for no limit of ours.
    """

    targets: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    workspace_bytes: int | None = None


def parse(library: Library, model: Blob) -> None:
    """Have the parser look at a model, without building it.

    Raises:
        InvalidModel, UnsupportedOp: it refuses it; the message names the node and the reason.
    """
    log = logger(library)
    _parsed(library, log, library.trt.Builder(log), model)


def build(library: Library, model: Blob, options: Options, gpu: _cuda.Gpu | None) -> Engine:
    """Build an engine. ``gpu`` is the one of this machine, or None; without one only TensorRT for RTX builds.

    Raises:
        InvalidModel, UnsupportedOp: the parser or the builder refuses the model; the message names the node and the reason.
        DeviceUnavailable: the library does not build for such a target, or needs a GPU for it.
    """
    trt, log, start = library.trt, logger(library), perf_counter()
    targets = _targets(library, options.targets, gpu)
    builder = trt.Builder(log)
    network = _parsed(library, log, builder, model)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: float32 would be computed with 10 bits of mantissa
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if library.name == RTX and targets:
        config.num_compute_capabilities = len(targets)
        for i, target in enumerate(targets):
            config.set_compute_capability(library.trt.ComputeCapability.__members__[target.upper()], i)
    if options.shapes:
        _set_shapes(library, log, builder, config, network, options.shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        said = errors(log)
        if options.shapes and "profile" in said:
            raise _wrong_shapes(library, options.shapes, said)
        raise _refused(library, "cannot build an engine of this model", said, UnsupportedOp)
    content = bytes(plan)
    record = EngineRecord(
        plan_sha256=hashlib.sha256(content).hexdigest(),
        plan_bytes=len(content),
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        precision=_precision(network),
        library=library.name,
        version=library.version,
        targets=targets,
        gpu=gpu.name if gpu is not None and library.name == CLASSIC else None,
        shapes=dict(options.shapes),
        workspace_bytes=options.workspace_bytes,
        layers=dict(sorted(Counter(network.get_layer(i).type.name for i in range(network.num_layers)).items())),
        weight_bytes=_told(log, _WEIGHTS),
        activation_bytes=_told(log, _ACTIVATIONS),
        build_s=round(perf_counter() - start, 3),
    )
    return Engine(content, record)


def _parsed(library: Library, log: Any, builder: Any, model: Blob) -> Any:
    """The network that the parser makes of a model."""
    trt = library.trt
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if parser.parse(bytes(model)):
        if network.num_outputs == 0:
            raise InvalidModel("The model holds no network.", hint="Is it an ONNX file? Export or copy it again.")
        return network
    found = [parser.get_error(i) for i in range(parser.num_errors)]
    said = [_sentence(error) for error in found]
    broken = any(error.code().name in _BROKEN for error in found)
    raise _refused(
        library,
        "cannot read this model" if broken else "cannot take this model",
        "; ".join(dict.fromkeys(said)) or errors(log),
        InvalidModel if broken else UnsupportedOp,
    )


def _sentence(error: Any) -> str:
    """One error of the parser: node, operator, reason."""
    node, operator = error.node_name(), error.node_operator()
    reason = plain(error.desc().removeprefix(f"Invalid Node - {node}\n")).replace("false", "not supported")
    where = f"node {node!r} ({operator}): " if node or operator else ""
    return f"{where}{reason} [{error.code().name}]"


def _refused(library: Library, what: str, said: str, kind: type[HwnasError]) -> HwnasError:
    hint = next((hint for words, hint in _HINTS.items() if words in said), "")
    return kind(f"{library.title} {what}: {said}", hint=hint)


def _targets(library: Library, targets: tuple[str, ...], gpu: _cuda.Gpu | None) -> tuple[str, ...]:
    """The kinds of GPU to build for, by name."""
    if gpu is None and CURRENT in targets:
        raise DeviceUnavailable(
            f"The target {CURRENT!r} is the GPU of this machine, and it is {_cuda.missing().partition(':')[0]}.",
            hint="Name the kinds of GPU instead, e.g. sm86, or leave the targets out.",
        )
    named = tuple(gpu.sm if gpu is not None and target == CURRENT else target for target in targets)
    if library.name == CLASSIC:
        if gpu is None or set(named) - {gpu.sm}:
            raise DeviceUnavailable(
                f"{library.title} builds for the GPU of the machine it runs on, not for {', '.join(named) or 'others'}.",
                hint="Leave the targets out, or build with TensorRT for RTX: pip install tensorrt-rtx-cu13",
            )
        return (gpu.sm,)
    known = sorted(name.lower() for name in library.trt.ComputeCapability.__members__ if name.startswith("SM"))
    if unknown := [target for target in named if target not in known]:
        raise DeviceUnavailable(
            f"{library.title} builds for {', '.join(known)}, not for {unknown[0]!r}.",
            hint="Other GPUs need classic TensorRT, on a machine that has one: pip install tensorrt-cu13",
        )
    return named


def _set_shapes(
    library: Library,
    log: Any,
    builder: Any,
    config: Any,
    network: Any,
    shapes: Mapping[str, tuple[tuple[int, ...], ...]],
) -> None:
    """One optimisation profile for all inputs with open dimensions."""
    names = [network.get_input(i).name for i in range(network.num_inputs)]
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        if name not in names:
            raise InvalidModel(
                f"The model has no input {name!r}{did_you_mean(name, names)} (inputs: {', '.join(names)}).",
                hint="Give shapes for inputs of the model.",
            )
        try:
            profile.set_shape(name, smallest, usual, largest)
        except ValueError as error:
            raise _wrong_shapes(library, shapes, str(error)) from error
    if config.add_optimization_profile(profile) < 0:
        raise _wrong_shapes(library, shapes, errors(log))


def _wrong_shapes(library: Library, shapes: Mapping[str, Any], said: str) -> InvalidModel:
    given = "; ".join(f"{name}: {', '.join(map(str, three))}" for name, three in shapes.items())
    return InvalidModel(
        f"{library.title} cannot use these shapes ({given}): {said}",
        hint="Give the smallest, the usual and the largest shape, in this order, of the same rank as the input.",
    )


def _precision(network: Any) -> str:
    """The lowest that the network computes in."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    if any(layer.type.name == "QUANTIZE" for layer in layers):
        return "int8"
    halves = (layer.get_output(i).dtype.name == "HALF" for layer in layers for i in range(layer.num_outputs))
    return "fp16" if any(halves) else "fp32"


def _told(log: Any, what: str) -> int:
    """A number of bytes that the builder logs."""
    line = next((text for _, text in reversed(log.lines) if what in text), "")
    number = line.partition(what)[2].partition(" ")[0]
    if not number.isdigit():
        raise DeviceError(f"TensorRT did not say: {what.strip(': ')}.")
    return int(number)
