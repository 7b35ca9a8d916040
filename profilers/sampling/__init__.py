"""Random networks for a profile that is for no network in particular: the operators, shapes and surroundings that kernels have
in networks, whatever the network.

Each network is drawn by a *recipe*, at a target time that is log-uniform, for a nominal core; half of them are quantised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from devices import Graph
from profilers.sampling import convolutional, layers, pieces, quantized, recurrent, tokens
from profilers.sampling.builder import Builder
from profilers.sampling.work import macs, nominal_seconds, nominal_seconds_of

__all__ = ["is_int8", "is_soup", "macs", "network", "networks", "nominal_seconds", "nominal_seconds_of"]

RECIPES = ("layers", "pieces", "images", "sound", "tokens", "recurrent", "perceptron")
SHARES = (0.27, 0.08, 0.4, 0.06, 0.11, 0.05, 0.03)
SOUPS = ("layers", "pieces")
INT8 = 0.5
DYNAMIC = {"tokens": 0.3, "perceptron": 0.3, "recurrent": 0.7, "layers": 0.1}
"""Shares of all networks, and by recipe of those that are quantised with ranges found anew in every run."""
SECONDS = 5e-5, 5e-2
_TRIES = 10
_NEAR = math.log(1.7)
_SMALL = 2e-3  # seconds


def networks(seed: int = 0) -> Iterator[Graph]:
    """An endless stream of random networks; the i-th depends on ``seed`` and i alone."""
    i = 0
    while True:
        yield network(seed, i)
        i += 1


def network(seed: int, i: int, *, int8: bool = True) -> Graph:
    """The i-th random network of a seed; without ``int8``, in floats if it had been quantised."""
    rng = np.random.default_rng([seed, i])
    recipe = str(rng.choice(RECIPES, p=SHARES))
    name = f"{recipe}-{seed}-{i}"
    batch = int(rng.choice([1, 2, 4, 8, 16, 32], p=[0.64, 0.1, 0.08, 0.07, 0.06, 0.05]))
    found = (
        _of_length(rng, recipe, name, batch)
        if recipe not in SOUPS
        else _draw(rng, recipe, name, batch, small=rng.random() < 0.5)
    )
    if rng.random() >= INT8 or not int8:
        return found
    if rng.random() < DYNAMIC.get(recipe, 0.0):
        return quantized.dynamic(found)
    return quantized.quantized(found, quantized.draw_scheme(rng, first=True if recipe in SOUPS else None))


def is_int8(graph: Graph) -> bool:
    """Whether a random network is quantised."""
    return graph.name.endswith("-int8")


def is_soup(graph: Graph) -> bool:
    """Whether a random network is but pieces side by side, which nobody would time as a whole."""
    return graph.name.partition("-")[0] in SOUPS


def _of_length(rng: np.random.Generator, recipe: str, name: str, batch: int) -> Graph:
    """A network that takes about as long as is drawn first; the best of some tries."""
    low, high = SECONDS
    target = math.exp(rng.uniform(math.log(low), math.log(high)))
    found, off = None, math.inf
    for _ in range(_TRIES):
        drawn = _draw(rng, recipe, name, batch, small=target < _SMALL)
        distance = abs(math.log(nominal_seconds(drawn) / target))
        if distance < off:
            found, off = drawn, distance
        if off < _NEAR:
            break
    assert found is not None
    return found


def _draw(rng: np.random.Generator, recipe: str, name: str, batch: int, *, small: bool) -> Graph:
    b = Builder(rng)
    match recipe:
        case "images":
            convolutional.network(b, 2, batch, small=small)
        case "sound":
            convolutional.network(b, 1, batch, small=small)
        case "tokens":
            tokens.network(b, batch, small=small)
        case "recurrent":
            recurrent.network(b, batch, small=small)
        case "perceptron":
            recurrent.perceptron(b, batch, small=small)
        case "layers":
            layers.network(b, batch)
        case _:
            pieces.network(b, batch, small=small)
    return b.graph(name)
