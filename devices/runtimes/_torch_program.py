"""Torch modules as exported programs (``.pt2``): JSON and raw weights in an archive, nothing that is executed when it is read."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from devices.errors import InvalidModel, UnsupportedOp
from devices.frames import Blob

if TYPE_CHECKING:
    import torch

    from devices.graph import Graph

_KEPT = 128  # programs: profiling needs each several times
_LEVEL = 4  # of compression: what more would gain is not worth its time


def exported(graph: Graph) -> bytes:
    """The program that a graph carries, or its module as one for the shapes of the graph's inputs.

    Raises:
        UnsupportedOp: it carries neither, or torch cannot export the module.
    """
    if graph.native is not None:
        return graph.native
    if graph.make_module is None:
        raise UnsupportedOp(
            f"torch runs torch modules, and {graph.name} comes without one: it is an ONNX file.",
            hint="Use a space's network, the bundle of a run for torch, or a device that runs ONNX files: onnxruntime, openvino.",
        )
    types = tuple((graph.tensors[name].dtype, graph.tensors[name].shape) for name in graph.inputs)
    return _program(graph.make_module, types)


@lru_cache(maxsize=_KEPT)
def _program(make_module: Any, types: tuple[tuple[str, tuple[int, ...]], ...]) -> bytes:
    import torch

    with torch.random.fork_rng(
        devices=[]
    ):  # weights that a module makes up are the caller's random numbers, not used up
        module = make_module()
    inputs = tuple(torch.zeros(shape, dtype=getattr(torch, dtype)) for dtype, shape in types)
    try:
        program = torch.export.export(module.eval(), inputs)
    except Exception as error:
        raise UnsupportedOp(f"torch.export cannot export the module: {error}") from error
    return serialised(program)


def serialised(program: torch.export.ExportedProgram) -> bytes:
    """The bytes of the ``.pt2`` file, its parts compressed: there is as much text as there are weights in small networks."""
    import torch

    program.example_inputs = None  # they would be pickled
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of weights that are views of others
        torch.export.save(program, file)
    packed = io.BytesIO()
    with zipfile.ZipFile(file) as loose, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in loose.namelist():
            archive.writestr(zipfile.ZipInfo(name), loose.read(name), zipfile.ZIP_DEFLATED, _LEVEL)
    return packed.getvalue()


def loaded(model: Blob) -> torch.nn.Module:
    """The module of a ``.pt2`` program; its call takes the inputs in order.

    Raises:
        InvalidModel: it is none, or another version's, or holds pickled objects, which could run any code.
    """
    module: torch.nn.Module = read(model).module(check_guards=False)
    return module


def read(model: Blob) -> torch.export.ExportedProgram:
    """The program; see :func:`loaded`."""
    import torch

    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            pickled = [name for name in archive.namelist() if _is_pickled(archive, name)]
    except (zipfile.BadZipFile, ValueError) as error:
        raise InvalidModel(f"This is no .pt2 program: {error}", hint="Export it again.") from error
    if pickled:
        raise InvalidModel(
            f"The program holds pickled objects, which could run any code: {', '.join(pickled)}.",
            hint="Export it without example inputs and custom objects.",
        )
    try:
        return torch.export.load(io.BytesIO(model))
    except Exception as error:
        raise InvalidModel(
            f"torch {torch.__version__} cannot load this program: {error}",
            hint="Install the version of torch that exported it, here and there.",
        ) from error


def _is_pickled(archive: zipfile.ZipFile, name: str) -> bool:
    if name.endswith("_config.json"):
        config = json.loads(archive.read(name)).get("config", {})
        return any(entry.get("use_pickle") for entry in config.values())
    return name.endswith(".pt") and archive.getinfo(name).file_size > 0
