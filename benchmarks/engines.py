"""TensorRT engines built on this CPU, without a GPU: how long it takes, how large they are, what is refused.

python benchmarks/engines.py [--run RUN] [--target sm86 …]

Without a run, the network is the one of the demo's space (28×28, one channel) whose FLOPs are nearest to half of the largest
network's, as the demo's budget has it; its weights are made up. INT8 ranges are then made up too: they change no kernel.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx

import hwnas.spaces
from devices import Graph
from devices.engines import builder
from devices.errors import HwnasError
from hwnas.bundle.files import ENGINES, source
from hwnas.bundle.half import half
from hwnas.int8.flavours import CPU, OPENVINO, TENSORRT
from hwnas.int8.quantize import like_int8

_DRAWN = 300


def of_half_the_size() -> onnx.ModelProto:
    """A network of the demo's space; weights made up."""
    space = hwnas.spaces.open("mobile", (1, 28, 28), 10)
    drawn = space.sample(np.random.default_rng(0), _DRAWN)
    wanted = total(space.graph(space.largest())) / 2
    nearest = min(drawn, key=lambda genotype: abs(total(space.graph(genotype)) - wanted))
    print(space.describe(nearest))
    return space.graph(nearest).to_onnx()


def total(graph: Graph) -> float:
    """Multiplications of all convolutions and products."""
    weights = ((graph.tensors[n.inputs[1]].shape, graph.tensors[n.outputs[0]].shape) for n in graph.nodes
               if n.op in ("Conv", "Gemm"))  # fmt: skip
    return float(sum(np.prod(weight[1:]) * np.prod(out) for weight, out in weights))


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, help="folder of a run with engines in its bundle: their ONNX files are taken"
    )
    parser.add_argument("--target", action="append", default=[], help="a kind of GPU, e.g. sm86; several may be given")
    arguments = parser.parse_args()
    if arguments.run:
        bundle = arguments.run / "bundle"
        models = {name: onnx.load(source(bundle, name)) for name in ENGINES}
        network = models[ENGINES[0]]
    else:
        network = of_half_the_size()
        models = dict(zip(ENGINES, (network, half(network), like_int8(network, TENSORRT)), strict=True))
    with tempfile.TemporaryDirectory(prefix="hwnas-") as cache, builder() as opened:
        os.environ["XDG_CACHE_HOME"] = cache  # the worker starts when it is first asked
        print(f"\n{'engine':20} {'built in':>9} {'plan KiB':>9} {'weights KiB':>12} {'ONNX KiB':>9}  layers")
        for name, model in models.items():
            content = model.SerializeToString()
            record = opened.build(content, targets=tuple(arguments.target)).record
            layers = ", ".join(f"{count} {kind.lower()}" for kind, count in record.layers.items() if count > 4)
            sizes = (record.plan_bytes, record.weight_bytes, len(content))
            print(f"{name:20} {record.build_s:7.2f} s {sizes[0] / 1024:9,.0f} {sizes[1] / 1024:12,.0f} "
                  f"{sizes[2] / 1024:9,.0f}  {layers}")  # fmt: skip
        print(f"by {record.library} {record.version}, for {', '.join(record.targets) or 'every GPU that it knows'}\n")
        refused = {
            "INT8 as ONNX Runtime's CPU kernels like it": like_int8(network, CPU),
            "INT8 in the flavour of OpenVINO": like_int8(network, OPENVINO),
        }
        for what, model in refused.items():
            try:
                opened.check(model.SerializeToString())
                print(f"{what}: taken")
            except HwnasError as error:
                print(f"{what}: {error.message}")


if __name__ == "__main__":
    main()
