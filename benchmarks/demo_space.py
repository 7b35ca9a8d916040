"""How large is the demo's space? Times its largest network beside MobileNetV2 ×1.0 at the same input.

    python benchmarks/demo_space.py [--device onnxruntime:threads=1] [--networks 40]

The largest network must be no slower than MobileNetV2; the demo's latency budget is half of what the largest takes.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

import devices
import hwnas.spaces
from devices import Graph
from hwnas.spaces import _blocks as blocks
from profilers.measuring import measure_graphs

SHAPE, CLASSES = (1, 28, 28), 10
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, first stride of MobileNetV2 (Sandler et al. 2018, table 2)."""


def mobilenet_v2() -> Graph:
    """MobileNetV2 ×1.0 with its own strides. ReLU instead of ReLU6, which takes a little longer here."""
    parts = [blocks.stem("stem", SHAPE[1], SHAPE[0], 32, 2, "relu")]
    for stage, (expansion, width, depth, stride) in enumerate(STAGES):
        for block in range(depth):
            part = blocks.inverted_residual(
                f"stage{stage}.{block}",
                parts[-1].out_size,
                parts[-1].convs[-1].width,
                width,
                kernel=3,
                expansion=expansion,
                stride=stride if block == 0 else 1,
                squeeze_excite=False,
                activation="relu",
            )
            if expansion == 1:  # the first block has no expansion
                part = blocks.Part(part.place, part.size, part.convs[1:], residual=part.residual)
            parts.append(part)
    parts.append(blocks.head("head", parts[-1].out_size, 320, 1280, CLASSES, "relu"))
    return blocks.graph("MobileNetV2 ×1.0", SHAPE[0], parts)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="onnxruntime:threads=1")
    parser.add_argument("--networks", type=int, default=40)
    args = parser.parse_args()
    space = hwnas.spaces.open("mobile", SHAPE, CLASSES)
    drawn = space.sample(np.random.default_rng(0), args.networks)
    start = time.perf_counter()
    sample = [space.graph(g) for g in drawn]
    each_ms = (time.perf_counter() - start) / len(sample) * 1e3
    named = [mobilenet_v2(), space.graph(space.largest()), space.graph(space.smallest())]
    with devices.open(args.device) as device:
        timings = measure_graphs(device, [*named, *sample])
    reference, largest, smallest = (t.p50_ms for t in timings[:3])
    p50 = np.array([t.p50_ms for t in timings[3:]])
    networks = math.prod(len(gene.options) for gene in space.genes)
    print(f"{networks:,} networks of {space.piece_count:,} pieces; a graph takes {each_ms:.2f} ms to make")
    print(f"{'p50 on ' + args.device:40s} {'ms':>7s} {'× MobileNetV2':>14s} {'million MACs':>13s} {'parameters':>11s}")
    print(f"{'MobileNetV2 ×1.0':40s} {reference:7.3f} {1:14.2f}")
    for name, ms, genotype in (("largest", largest, space.largest()), ("smallest", smallest, space.smallest())):
        macs, parameters = space.macs(genotype) / 1e6, space.parameters(genotype)  # type: ignore[attr-defined]  # mobile's
        print(f"{name:40s} {ms:7.3f} {ms / reference:14.2f} {macs:13.1f} {parameters:11,}")
    print(f"{f'median of {args.networks} random ones':40s} {np.median(p50):7.3f} {np.median(p50) / reference:14.2f}")
    print(f"within half of the largest's latency: {np.mean(p50 <= largest / 2):.0%} of them")


if __name__ == "__main__":
    main()
