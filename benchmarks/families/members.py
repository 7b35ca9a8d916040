"""Random members of families of networks, spread over sizes: what predictions are tried on. No profile is made of them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.families import dense_prediction, mobile_convolutions, plain_convolutions, sequences, transformers
from benchmarks.families.builder import Net
from devices import Graph

Family = Callable[[Net, np.random.Generator], list[str]]

FAMILIES: Mapping[str, Family] = {
    "VGG": plain_convolutions.vgg,
    "ResNet": plain_convolutions.resnet,
    "SqueezeNet": plain_convolutions.squeezenet,
    "DenseNet": plain_convolutions.densenet,
    "ConvNeXt": plain_convolutions.convnext,
    "MobileNet": mobile_convolutions.mobilenet,
    "MobileNetV3": mobile_convolutions.mobilenet_v3,
    "ShuffleNet": mobile_convolutions.shufflenet,
    "vision transformer": transformers.vision_transformer,
    "text transformer": transformers.text_transformer,
    "LSTM and GRU": sequences.recurrent,
    "1-D audio": sequences.audio,
    "U-Net": dense_prediction.unet,
    "detector": dense_prediction.detector,
}

_DRAWN = 12  # times as many as wanted
_FEWEST_MACS, _MOST_MACS = 2e6, 3e9
_MOST_WEIGHTS = 25e6


def members(family: str, n: int, seed: int = 0) -> list[Graph]:
    """``n`` different random networks of a family, about evenly spread over the logarithm of their work.

    Raises:
        ValueError: no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    rng = np.random.default_rng([seed, zlib.crc32(family.encode())])
    drawn: dict[str, tuple[int, Graph]] = {}
    while len(drawn) < _DRAWN * n:
        net = Net()
        outputs = FAMILIES[family](net, rng)
        graph = net.graph(f"{family} {len(drawn)}", *outputs)
        weights = sum(graph.tensors[c].size for c in graph.constants)
        if _FEWEST_MACS <= net.macs <= _MOST_MACS and weights <= _MOST_WEIGHTS:
            drawn[graph.digest()] = net.macs, graph
    left = sorted(drawn.values(), key=lambda pair: pair[0])
    low, high = math.log(left[0][0]), math.log(left[-1][0])
    found = []
    for target in np.linspace(low, high, n):
        nearest = min(range(len(left)), key=lambda i: abs(math.log(left[i][0]) - target))
        found.append(left.pop(nearest)[1])
    return found
