"""Which searcher finds the most accurate networks with as many evaluations? All searchers on one supernet, over several seeds,
but the exhaustive one, for which the space is too large, and that which draws from what another training has learnt.

    python benchmarks/searchers.py --keep FOLDER [--task digits] [--epochs 8] [--evaluations 60] [--seeds 6]

The budget is half of the multiply-accumulates of the space's largest network, so that no device is needed. The supernet is
trained once and kept in FOLDER. Given is the validation accuracy of the best network found, with weights from the supernet, and
how well the searcher's predictor ranks held-out networks in the end, where it has one.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

import hwnas.accuracy
import hwnas.tasks
from devices.journal import Journal
from hwnas import searchers
from hwnas.budget import Budget
from hwnas.costs import Costs
from hwnas.problem import Problem, keys
from hwnas.search import search
from hwnas.space import Genotypes
from hwnas.spaces.mobile import MobileSpace


@dataclass(frozen=True)
class Macs:
    """Millions of multiply-accumulates stand for every cost."""

    space: MobileSpace
    known: dict[bytes, float] = field(default_factory=dict)
    source: ClassVar[str] = "counted"

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` genotypes."""
        for key, genotype in zip(keys(genotypes), genotypes, strict=True):
            if key not in self.known:
                self.known[key] = self.space.macs(genotype) / 1e6
        return Costs(*[np.array([self.known[key] for key in keys(genotypes)], np.float64)] * 5)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--generation", type=int, default=20)
    parser.add_argument("--initial", type=int, default=20, help="networks drawn at random to begin with")
    parser.add_argument("--seeds", type=int, default=6)
    options = parser.parse_args()
    task = hwnas.tasks.open(options.task)
    space = MobileSpace(task.input_shape, len(task.classes))
    accuracy = hwnas.accuracy.open(
        "supernet", space, task, settings={"epochs": options.epochs}, seed=0, folder=options.keep
    )
    costs = Macs(space)
    budget = Budget(latency_ms=float(costs.costs(space.largest()[None]).upper_ms[0]) / 2)
    settings = {
        "evolution": {"population": options.initial, "sample": max(1, options.initial // 4)},
        "guided": {"initial": options.initial},
    }
    print(f"{options.task}: best of {options.evaluations} networks, {options.seeds} seeds")
    print(f"{'searcher':12} {'mean':>8} {'lowest':>8} {'highest':>8} {'τ':>6}")
    for name in sorted(set(searchers.names()) - {"exhaustive", "gradient"}):
        best, taus = [], []
        for seed in range(options.seeds):
            problem = Problem(space, costs, budget, seed)
            searcher = searchers.open(name, problem, **settings.get(name, {}))
            with tempfile.TemporaryDirectory() as folder, Journal(Path(folder, "journal.jsonl"), {}) as journal:
                result = search(
                    problem,
                    searcher,
                    accuracy,
                    evaluations=options.evaluations,
                    generation=options.generation,
                    journal=journal,
                )
            best.append(float(result.candidates.accuracy[result.best]))
            taus += [searcher.predictor_tau] if searcher.predictor_tau is not None else []
        tau = f"{np.mean(taus):6.2f}" if taus else f"{'–':>6}"
        print(f"{name:12} {np.mean(best):8.2%} {min(best):8.2%} {max(best):8.2%} {tau}", flush=True)


if __name__ == "__main__":
    main()
