"""Where in a network its kernels' time goes: from nodes of the graph to the places that they are named after."""

from __future__ import annotations

from collections.abc import Sequence

from devices import Graph
from hwnas.places import kernel_places
from hwnas.report.data import ReportKernel, ReportPlace


def places(graph: Graph, kernels: Sequence[ReportKernel]) -> tuple[ReportPlace, ...]:
    """The places of a network in the order of execution.

    Args:
        graph: the float32 network, its nodes named ``PLACE/…``; its ends decide the shapes.
        kernels: of that network or of its INT8 version.
    """
    shapes: dict[str, tuple[int, int, int]] = {}
    for node in graph.nodes:
        place, _, op = node.name.partition("/")
        shape = graph.tensors[node.outputs[0]].shape
        is_map = len(shape) == 4 and (shape[2] > 1 or shape[3] > 1 or place not in shapes)
        if op and is_map:
            shapes[place] = (shape[1], shape[2], shape[3])
    if not shapes:
        return ()
    taken = dict.fromkeys(shapes, 0.0)
    for kernel, place in zip(kernels, kernel_places(kernels, shapes), strict=True):
        taken[place] += kernel.latency_ms
    return tuple(ReportPlace(place, place.partition(".")[0], shapes[place], taken[place]) for place in shapes)
