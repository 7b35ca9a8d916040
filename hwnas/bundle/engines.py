"""Engines for a bundle: their FP16 and INT8 sources, the engines themselves, and whether TensorRT takes a whole search space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices import engine_file
from devices.atomic import write_bytes
from devices.engine_file import EngineRecord
from devices.engines import EngineBuilder, builder
from devices.errors import InvalidModel, UnsupportedOp
from devices.events import OnEvent, Progress, ignore
from hwnas.bundle.certificate import FLOAT
from hwnas.bundle.files import ENGINES, source
from hwnas.bundle.formats import FP16, INT8_FOR_TENSORRT
from hwnas.bundle.half import half
from hwnas.int8.flavours import TENSORRT
from hwnas.int8.mixed_precision import int8_throughout
from hwnas.int8.quantize import like_int8

if TYPE_CHECKING:
    import onnx

    from devices import Graph
    from hwnas.space import SearchSpace


def write_fp16(bundle: Path) -> None:
    """Write :data:`FP16` beside the float32 file.

    Raises:
        HwnasError: the bundle cannot be written.
    """
    import onnx

    write_bytes(bundle / FP16, half(onnx.load(bundle / FLOAT)).SerializeToString())


def write_int8(
    bundle: Path,
    calibration: NDArray[np.float32],
    validation: NDArray[np.float32],
    labels: NDArray[np.int64],
    seed: int,
) -> None:
    """Write :data:`INT8_FOR_TENSORRT` beside the float32 file; see :func:`hwnas.int8.mixed_precision.int8_throughout`."""
    model = int8_throughout(bundle / FLOAT, calibration, validation, labels, TENSORRT, seed=seed)
    write_bytes(bundle / INT8_FOR_TENSORRT, model.SerializeToString())


def build_engines(bundle: Path, *, targets: Sequence[str] = (), on_event: OnEvent = ignore) -> dict[str, EngineRecord]:
    """Build every engine of a bundle whose ONNX file is there, and write it with its JSON. By name, what is known of each.

    Args:
        bundle: with :data:`FLOAT`, and perhaps FP16 and INT8 files.
        targets: kinds of GPU, e.g. ``("sm86", "sm89")``; see :meth:`devices.engines.EngineBuilder.build`.
        on_event: told of progress.

    Raises:
        DeviceUnavailable: no flavour of TensorRT can be used here, or not for these targets.
        InvalidModel, UnsupportedOp: it refuses a file; the message names the node and the reason.
        HwnasError: the bundle cannot be written.
    """
    wanted = {name: path for name in ENGINES if (path := source(bundle, name)).is_file()}
    records = {}
    with builder() as opened:
        for done, (name, path) in enumerate(wanted.items()):
            on_event(Progress("engines", done, len(wanted), name))
            engine = opened.build(path.read_bytes(), targets=tuple(targets))
            engine_file.write(engine, bundle / name)
            records[name] = engine.record
    on_event(Progress("engines", len(wanted), len(wanted)))
    return records


def check_space(space: SearchSpace) -> int:
    """Have TensorRT's parser look at networks that have every operator of a space between them, in every precision. It takes
    about a second. How many it looked at.

    Raises:
        UnsupportedOp, InvalidModel: it refuses one; the message names the network, the node and the reason.
        DeviceUnavailable: no flavour of TensorRT can be used here.
    """
    looked_at = 0
    with builder() as opened:
        for genotype, graph in _covering(space):
            model = graph.to_onnx()
            for precision, version in (("FP32", model), ("FP16", half(model)), ("INT8", like_int8(model, TENSORRT))):
                _check(opened, version, f"{precision} of the network {space.describe(genotype)}")
                looked_at += 1
    return looked_at


def _check(opened: EngineBuilder, model: onnx.ModelProto, what: str) -> None:
    try:
        opened.check(model.SerializeToString())
    except (UnsupportedOp, InvalidModel) as error:
        raise type(error)(
            f"The space has networks that TensorRT refuses. {what}: {error.message}",
            hint=f"Leave the option out of [space], or do without engines. {error.hint}".strip(),
        ) from error


def _covering(space: SearchSpace) -> Iterator[tuple[NDArray[np.int64], Graph]]:
    """Networks that differ from the smallest or the largest in one gene, but for those whose operators were all seen before."""
    seen: set[Any] = set()
    for base in (space.largest(), space.smallest()):
        rows = [base]
        for i, gene in enumerate(space.genes):
            for option in range(len(gene.options)):
                row = base.copy()
                row[i] = option
                rows.append(row)
        for genotype in space.canonical(np.stack(rows)):
            graph = space.graph(genotype)
            operators = {_operator(graph, node.attributes, node.domain, node.op, node.inputs) for node in graph.nodes}
            if operators - seen:
                seen |= operators
                yield genotype, graph


def _operator(graph: Graph, attributes: Mapping[str, Any], domain: str, op: str, inputs: Sequence[str]) -> Any:
    """What a parser goes by: the operator, its attributes other than a number of groups, and its inputs' types and ranks."""
    kinds = tuple((graph.tensors[i].dtype, len(graph.tensors[i].shape)) for i in inputs if i)
    return domain, op, kinds, tuple(sorted((k, v) for k, v in attributes.items() if k != "group"))
