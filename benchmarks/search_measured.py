"""The whole loop with an exact answer and no training: NAS-Bench-Macro's accuracies joined with latency on this machine.

    python benchmarks/search_measured.py TABLES --keep FOLDER [--device onnxruntime:threads=1]
                                        [--budgets 20] [--profile-limit 120]

TABLES holds ``nasbench_macro.parquet``, whose rows are the networks, also where several compute the same. The device is
profiled once (kept in FOLDER), the space's costs are compiled, and under each budget, at even quantiles of the predicted
medians, ``guided`` may look up 200 accuracies of the first training. What it chooses is measured, costs are corrected by that
and the search goes on, as in any run. Regret is in the mean of the other two trainings; beside it that of the network which
the first training says is best, had all its accuracies been looked up and all latencies been known. The best within a budget
is found by measuring: in falling accuracy the networks that are predicted below 1.1 times the budget, until one fits. As two
measurements of one network differ, what was chosen can be just within a budget that it was just over then: such a regret is
below zero.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import devices
import hwnas.profiles
import predictors
from benchmarks.search_regret import opened
from devices import profile as profile_files
from devices.journal import Journal
from hwnas import finalist
from hwnas.budget import Budget
from hwnas.config import SearchSection
from hwnas.costs import Costs, compile_costs
from hwnas.problem import Problem
from hwnas.space import Genotypes
from hwnas.targets import Target

_LOOKUPS = 200
_WITHIN = 1.1  # of the budget: what is predicted above that is not measured


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--device", default="onnxruntime:threads=1")
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--profile-limit", type=float, default=120.0, help="seconds")
    options = parser.parse_args()
    benchmark = opened(options.tables, "nasbench_macro", "cifar10")
    space = benchmark.table.space
    options.keep.mkdir(parents=True, exist_ok=True)
    path = options.keep / "macro.profile.jsonl"
    rows: list[tuple[float, float]] = []
    over = 0
    with devices.open(options.device) as device:
        if not path.exists():
            hwnas.profiles.make(device, path, space=space, time_limit_s=options.profile_limit)
        profile, predictor = profile_files.load(path), predictors.load_or_fit(path)
        costs = compile_costs(space, predictor, device)
        every = benchmark.table.genotypes
        predicted_ms = costs.costs(every).p50_ms
        measured: dict[bytes, Costs] = {}

        def within(row: NDArray[np.int64], budget: Budget) -> bool:
            if row.tobytes() not in measured:
                measured[row.tobytes()] = finalist.measure(device, space, row, profile)
            return bool(budget.feasible(measured[row.tobytes()])[0])

        def first_within(accuracy: Callable[[Genotypes], NDArray[np.float64]], limit: float) -> float:
            """Test accuracy of the network within the limit that is best by ``accuracy``."""
            maybe = every[predicted_ms < _WITHIN * limit]
            falling = maybe[np.argsort(-accuracy(maybe), kind="stable")]
            best = next(row for row in falling if within(row, Budget(latency_ms=limit)))
            return float(benchmark.test(best[None])[0])

        quantiles = (np.arange(options.budgets) + 0.5) / options.budgets
        columns = f"{'budget ms':>10} {'p50 ms':>8} {'within':>7} {'look-ups':>9} {'accuracy':>9} {'best':>9}"
        print(f"{columns} {'regret':>7} {'oracle':>7}")
        for limit in np.quantile(predicted_ms, quantiles).tolist():
            problem = Problem(space, costs, Budget(latency_ms=limit), 0)
            settings = SearchSection(evaluations=_LOOKUPS, generation=5)
            with tempfile.TemporaryDirectory() as folder, Journal(Path(folder, "journal.jsonl"), {}) as journal:
                target = Target(device, profile, predictor, costs, problem.budget)
                chosen = finalist.find(problem, benchmark.table, [target], settings, journal)
                looked_up = sum(len(unit["genotypes"]) for unit in journal.units if unit["unit"] == "generation")
            reached = float(benchmark.test(chosen.genotype[None])[0])
            optimum, oracle = first_within(benchmark.test, limit), first_within(benchmark.table.accuracy, limit)
            rows.append((100 * (optimum - reached), 100 * (optimum - oracle)))
            over += chosen.excess > 0
            kept = "yes" if chosen.excess == 0 else "no"
            cells = (
                f"{limit:10.3f} {chosen.measured['p50_ms']:8.3f} {kept:>7} {looked_up:9} {reached:9.2%} {optimum:9.2%}"
            )
            print(f"{cells} {rows[-1][0]:7.2f} {rows[-1][1]:7.2f}", flush=True)
    regret, oracle_regret = np.array(rows).T
    print(f"median regret {np.median(regret):.2f} points, highest {regret.max():.2f}; over budget as measured: {over}")
    print(f"with all accuracies of the first training known: median regret {np.median(oracle_regret):.2f} points")


if __name__ == "__main__":
    main()
