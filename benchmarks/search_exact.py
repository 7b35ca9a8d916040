"""How far from the proven optimum does each strategy end, where accuracy and latency add up over the genes?

    python benchmarks/search_exact.py [--instances 30] [--evaluations 500] [--searchers guided random …]

Instances are drawn over FBNet's 22 layers of nine options, which layers of one shape share: what an option costs is log-
normal, what it gains grows with the root of its cost and has as much noise, so that neither the cheapest nor the dearest
options are always right. The budget is half-way between the cheapest and a middling network. The distance is in percent of
what the optimum gains over the mean of random networks within the budget. The optimum's bound comes from the solver; what
it proves is checked: no strategy may be better.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas import searchers
from hwnas.budget import Budget
from hwnas.costs import Costs
from hwnas.exact import solve
from hwnas.problem import Problem
from hwnas.search import search
from hwnas.space import Genotypes
from hwnas.spaces.fbnet import FBNet

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Accuracy and costs that add up over the layers.

    Attributes:
        shape: ``(G,)`` which shape each layer has.
        gains, latency_ms: ``(shapes, options)`` terms.
    """

    shape: NDArray[np.int64]
    gains: Floats
    latency_ms: Floats
    source: str = "made up"

    def accuracy(self, genotypes: Genotypes) -> Floats:
        """``(n,)`` sums of gains."""
        return np.asarray(self.gains[self.shape, genotypes].sum(axis=1), np.float64)

    def costs(self, genotypes: Genotypes) -> Costs:
        """Sums of latencies, which stand for every cost."""
        return Costs(*[self.latency_ms[self.shape, genotypes].sum(axis=1)] * 5)


def instance(space: FBNet, seed: int) -> Problem:
    """A problem whose costs are :class:`Sums`."""
    rng = np.random.default_rng(seed)
    shapes = {shape: row for row, shape in enumerate(dict.fromkeys(space.shapes))}
    shape = np.array([shapes[s] for s in space.shapes])
    latency = rng.lognormal(-1.0, 1.0, (len(shapes), len(space.blocks)))
    gains = (np.sqrt(latency) + rng.normal(0, np.sqrt(latency).std(), latency.shape)) / len(shape) / 10
    sums = Sums(shape, gains, latency)
    middling = float(np.median(sums.costs(space.sample(rng, 1000)).p50_ms))
    return Problem(space, sums, Budget(latency_ms=(latency.min(axis=1)[shape].sum() + middling) / 2), seed)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--searchers", nargs="+", default=sorted({*searchers.names()} - {"exhaustive", "gradient"}))
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="optuna")
    space = FBNet((3, 32, 32), 10)
    networks = math.prod(len(gene.options) for gene in space.genes)
    problems = [instance(space, seed) for seed in range(options.instances)]
    optima, scales, taken = [], [], []
    for problem in problems:
        assert isinstance(problem.costs, Sums)
        started = time.perf_counter()
        optima.append(solve(problem, problem.costs))
        taken.append(time.perf_counter() - started)
        random = problem.costs.accuracy(problem.sample(np.random.default_rng(0), 200))
        scales.append(optima[-1].accuracy - random.mean())
    unproven = max(o.bound - o.fitness for o in optima)
    print(f"{networks:.2g} networks, {options.instances} instances: solved and proven in {np.median(taken):.2f} s")
    print(f"(slowest {max(taken):.2f} s); the bound is at most {unproven:.1e} above the value")
    print(f"{'searcher':14} {f'% short after {options.evaluations}':>20} {'best':>8} {'worst':>8}")
    for name in options.searchers:
        short = []
        for problem, optimum, scale in zip(problems, optima, scales, strict=True):
            assert isinstance(problem.costs, Sums)
            found = search(
                problem,
                searchers.open(name, problem),
                problem.costs,
                evaluations=options.evaluations,
                generation=10,
            )
            reached = float(found.candidates.accuracy[found.best])
            if reached > optimum.bound + 1e-9:
                raise AssertionError(f"{name} found {reached}, which was proven impossible")
            short.append(100 * (optimum.accuracy - reached) / scale)
        print(f"{name:14} {np.mean(short):20.2f} {min(short):8.2f} {max(short):8.2f}", flush=True)


if __name__ == "__main__":
    main()
