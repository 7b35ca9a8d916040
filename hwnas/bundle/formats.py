"""What runtimes ship networks in: their own formats, a record each, and ONNX for the rest. Whatever depends on it is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hwnas.bundle.certificate import FLOAT, INT8

FP16, INT8_FOR_TENSORRT = "model.fp16.onnx", "model.int8.tensorrt.onnx"
"""What engines are built of beside :data:`FLOAT`; where the whole run is for TensorRT its :data:`INT8` is in that flavour."""


class Snippet(NamedTuple):
    """Python lines that load a file, and an expression that has it answer for ``x``."""

    imports: str
    opening: str
    answer: str


class Beside(NamedTuple):
    """A second file of the same name with another suffix: it has what stands behind ``end`` in the device's bytes."""

    suffix: str
    end: bytes


@dataclass(frozen=True)
class Format:
    """A runtime's own format.

    Attributes:
        files: from the most precise to the least, each with the ONNX files that it may be made of.
        not_elsewhere: why other devices do not run the files.
        instead_of_onnx: why the runtime's devices are not measured on the ONNX files.
        snippet: for the README of a bundle; filled in with ``deploy``, ``input`` and settings of the device.
        beside: the other part of each file, where it is of two.
        onnx_refused: whether the runtime runs no ONNX files at all.
    """

    files: Mapping[str, tuple[str, ...]]
    not_elsewhere: str
    instead_of_onnx: str
    snippet: Snippet
    beside: Beside | None = None
    onnx_refused: bool = False


FORMATS: Mapping[str, Format] = {
    "tensorrt": Format(
        files={
            "model.fp32.engine": (FLOAT,),
            "model.fp16.engine": (FP16,),
            "model.int8.engine": (INT8_FOR_TENSORRT, INT8),
        },
        not_elsewhere="an engine runs on TensorRT only; on a machine with the GPU: hwnas certify BUNDLE --device tensorrt",
        instead_of_onnx="the engines are what runs on TensorRT",
        snippet=Snippet(
            "from contextlib import ExitStack\nfrom pathlib import Path\n\n"
            "import numpy as np\nfrom hwnas import devices\nfrom hwnas.bundle.files import graph",
            'device = devices.open("tensorrt")\n'
            'session = ExitStack().enter_context(device.load(graph(Path(), "{deploy}")))',
            "session.infer(x[None])",
        ),
    ),
    "openvino": Format(
        files={"model.xml": (FLOAT,), "model.int8.xml": (INT8,)},
        not_elsewhere="IR runs on OpenVINO only: hwnas certify BUNDLE --device openvino",
        instead_of_onnx="the IR made of it is what is shipped for OpenVINO",
        snippet=Snippet(
            "import numpy as np\nimport openvino",
            "settings = {{\n"
            '    "PERFORMANCE_HINT": "LATENCY",\n'
            '    "INFERENCE_NUM_THREADS": {threads},  # as certified\n'
            '    "INFERENCE_PRECISION_HINT": "{precision}",  # else bfloat16 where it can\n'
            "}}\n"
            'model = openvino.Core().compile_model("{deploy}", "CPU", settings)',
            "model(x[None])[0]",
        ),
        beside=Beside(".bin", b"</net>"),
    ),
    "torch": Format(
        files={"model.pt2": (FLOAT,)},
        not_elsewhere="a program runs on torch only: hwnas certify BUNDLE --device torch",
        instead_of_onnx="torch runs the program instead",
        snippet=Snippet(
            "import numpy as np\nimport torch",
            'model = torch.export.load("{deploy}").module().to("{device}")',
            'model(torch.from_numpy(x[None]).to("{device}")).detach()',
        ),
        onnx_refused=True,
    ),
}

ONNX = Snippet(
    "import numpy as np\nimport onnxruntime",
    "options = onnxruntime.SessionOptions()\n"
    "options.intra_op_num_threads = {threads}  # as certified\n"
    'session = onnxruntime.InferenceSession("{deploy}", options, providers=["CPUExecutionProvider"])',
    'session.run(None, {{"{input}": x[None]}})[0]',
)


def of_file(name: str) -> Format | None:
    """The format of a file, by its name; None for ONNX."""
    return next((form for form in FORMATS.values() if name in form.files), None)


def snippet(name: str) -> Snippet:
    """How a file is loaded."""
    form = of_file(name)
    return ONNX if form is None else form.snippet
