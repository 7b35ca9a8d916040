"""How far is the network that a search finds from the best within the budget? Public tables, where the truth is known.

    python benchmarks/search_regret.py TABLES [--space nasbench201] [--devices 21] [--seeds 30] [--lookups 50 100 200]
                                       [--searchers guided random …] [--dataset cifar10] [--front] [--keep FOLDER]

TABLES holds ``nasbench201.parquet`` and ``nasbench_macro.parquet``. All of a table's rows are networks, each with the
figures of its own training, also where several compute the same: budgets, optima and hypervolumes are over all of them. For
every device and budgets at the 10, 25, 50 and 75 % quantiles of its latencies each strategy may look up so many validation
accuracies; the network with the best one is chosen, and reported is how many points of *test* accuracy it lacks to the best
within the budget (regret), how many to the one that is chosen with all validation accuracies known (excess), and how many
points of *validation* accuracy to the best. Nobody's look-ups are spent over budget: all strategies, the peers' too, pass
through the same filter, and are told of what it held back where they have an interface for it.

With ``--front`` the aim is the front of validation error and latency instead, each scaled to the table's range, and
reported is which share of the whole table's hypervolume, up to (1, 1), was found after looking up 1 % of the table.

Optuna and pymoo take hours for all of it. With ``--keep`` every run's result is written into FOLDER, seed by seed, and the same
command goes on from there; several strategies may be run by several processes at the same time.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.journal import Journal
from hwnas import searchers, spaces
from hwnas.budget import Budget
from hwnas.candidates import hypervolume
from hwnas.costs import CostModel
from hwnas.errors import InfeasibleBudget
from hwnas.objectives import Pareto
from hwnas.problem import Problem
from hwnas.search import search
from hwnas.space import Genotypes
from hwnas.tabulated import Table, TabulatedCosts, load

Floats = NDArray[np.float64]

QUANTILES = (0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Strategy:
    """A searcher with settings; ``peer`` if it is not ours."""

    name: str
    searcher: str
    settings: dict[str, Any] = field(default_factory=dict)
    generation: int = 1
    peer: bool = False


STRATEGIES = (
    Strategy("guided", "guided", generation=5),
    Strategy("bayesian", "bayesian", generation=5),
    Strategy("predictor", "predictor", generation=5),
    Strategy("genetic", "genetic"),
    Strategy("nsga2", "nsga2"),
    Strategy("local_search", "local_search"),
    Strategy("greedy", "greedy"),
    Strategy("reinforce", "reinforce"),
    Strategy("evolution", "evolution"),
    Strategy("random", "random", generation=100),
    Strategy(
        "evolution, published", "evolution", {"population": 10, "sample": 3}, peer=True
    ),  # Dong & Yang 2020, section 5
    Strategy("Optuna TPE", "optuna", {"sampler": "tpe"}, peer=True),
    Strategy("Optuna NSGA-II", "optuna", {"sampler": "nsga2"}, peer=True),
    Strategy("pymoo NSGA-II", "pymoo", peer=True),
)


@dataclass(frozen=True)
class Benchmark:
    """A table.

    Attributes:
        table: its rows, with the validation accuracies that are looked up.
        tested: ``(n,)`` the test accuracies that count, fractions.
        devices: latencies by device.
    """

    table: Table
    tested: Floats
    devices: dict[str, CostModel]

    def test(self, genotypes: Genotypes) -> Floats:
        """``(n,)`` test accuracies of networks."""
        return self.tested[self.table.rows(genotypes)]


def opened(folder: Path, name: str, dataset: str) -> Benchmark:
    """The benchmark ``name``."""
    space = spaces.open(name, (3, 32, 32), 10)
    file = folder / f"{name}.parquet"
    if name == "nasbench201":
        table = load(file, space, genotype=[f"e{i}" for i in range(6)], accuracy=f"val_acc_200_{dataset}")
        latencies = [str(c) for c in table.columns.columns if str(c).startswith("latency_")]
        tested = table.values(f"test_acc_200_{dataset}") / 100
    else:
        table = load(file, space, genotype=[f"l{i}" for i in range(8)], accuracy="acc_s0")
        latencies = ["flops", "params"]
        tested = (table.values("acc_s1") + table.values("acc_s2")) / 200
    costs: dict[str, CostModel] = {
        c.removeprefix("latency_").removesuffix("_ms"): TabulatedCosts(table, latency_ms=c) for c in latencies
    }
    return Benchmark(table, tested, costs)


def regrets(benchmark: Benchmark, problem: Problem, strategy: Strategy, lookups: list[int]) -> list[list[float]]:
    """``(3, len(lookups))``: regret, excess, and what is lacking in validation accuracy, as fractions."""
    every = problem.listed
    assert every is not None
    validation, test = benchmark.table.accuracy(every), benchmark.test(every)
    searcher = searchers.open(strategy.searcher, problem, **strategy.settings)
    found = search(problem, searcher, benchmark.table, evaluations=max(lookups), generation=strategy.generation)
    if not problem.budget.feasible(found.candidates.costs).all():
        raise AssertionError(f"{strategy.name} looked at a network over budget")
    rows = []
    for n in lookups:
        first = found.candidates[:n]
        best = problem.best(first)
        reached = benchmark.test(first.genotypes[[best]])[0]
        oracle = test[validation.argmax()]
        rows.append((test.max() - reached, oracle - reached, validation.max() - first.accuracy[best]))
    columns: list[list[float]] = np.array(rows).T.tolist()
    return columns


def share_of_front(benchmark: Benchmark, costs: CostModel, strategy: Strategy, seed: int) -> float:
    """Share of the whole table's hypervolume after 1 % of it."""
    problem = Problem(benchmark.table.space, costs, Budget(), seed, Pareto())
    every = problem.listed
    assert every is not None
    accuracy, latency = benchmark.table.accuracy(every), costs.costs(every).p50_ms
    low, high = latency.min(), latency.max()
    worst, best = accuracy.min(), accuracy.max()

    def area(accuracy: Floats, latency: Floats) -> float:
        return hypervolume((accuracy - worst) / (best - worst), (latency - low) / (high - low), (0.0, 1.0))

    searcher = searchers.open(strategy.searcher, problem, **strategy.settings)
    found = search(
        problem,
        searcher,
        benchmark.table,
        evaluations=len(every) // 100,
        generation=strategy.generation,
    ).candidates
    return area(found.accuracy, found.costs.p50_ms) / area(accuracy, latency)


def infeasible(benchmark: Benchmark) -> str:
    """How long it takes to say that no network is fast enough."""
    costs = next(iter(benchmark.devices.values()))
    problem = Problem(benchmark.table.space, costs, Budget(latency_ms=1e-9), 0)
    started = time.perf_counter()
    try:
        problem.require_feasible()
    except InfeasibleBudget as error:
        taken = time.perf_counter() - started
        return f"infeasible budget: reported in {taken:.2f} s, closest {error.closest['latency_ms']:.4g}"
    raise AssertionError("no network takes no time")


class Kept:
    """Results of runs by what was run; with a journal, what that has is not run again."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._found = {unit["run"]: unit["result"] for unit in journal.units} if journal is not None else {}

    def result(self, name: str, run: Callable[[], Any]) -> Any:
        """Of the run of that name."""
        if name not in self._found:
            self._found[name] = run()
            if self._journal is not None:
                self._journal.append({"run": name, "result": self._found[name]})
        return self._found[name]


def kept_of(options: argparse.Namespace, strategy: Strategy) -> Kept:
    """What is known of a strategy from earlier."""
    if options.keep is None:
        return Kept(None)
    asked = "front" if options.front else "-".join(map(str, options.lookups))
    header = {"space": options.space, "dataset": options.dataset, "asked": asked, "strategy": strategy.name}
    return Kept(Journal(options.keep / f"{' '.join(header.values())}.jsonl", header))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--space", default="nasbench201", choices=["nasbench201", "nasbench_macro"])
    parser.add_argument("--dataset", default="cifar10", choices=["cifar10", "cifar100"], help="of nasbench201")
    parser.add_argument("--devices", type=int, default=21, help="so many, evenly spread over the table's")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--lookups", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--searchers", nargs="+", default=[s.name for s in STRATEGIES])
    parser.add_argument("--front", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", module="optuna")
    benchmark = opened(options.tables, options.space, options.dataset)
    names = list(benchmark.devices)
    names = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, options.devices).round().astype(int))]
    strategies = [s for s in STRATEGIES if s.name in options.searchers]
    print(f"{options.space}: {len(names)} devices, {options.seeds} seeds; {infeasible(benchmark)}")
    if options.front:
        print(f"{'strategy':22} {'share of the hypervolume':>25} {'lowest':>8} {'s/run':>7}")
        for strategy in strategies:
            kept, started = kept_of(options, strategy), time.perf_counter()
            shares = [
                kept.result(
                    f"{name} {seed}", partial(share_of_front, benchmark, benchmark.devices[name], strategy, seed)
                )
                for seed in range(options.seeds)
                for name in names
            ]
            each = (time.perf_counter() - started) / len(shares)
            print(f"{strategy.name:22} {np.mean(shares):25.2%} {min(shares):8.2%} {each:7.2f}", flush=True)
        return
    columns = " ".join(f"{f'{word} @{n}':>14}" for n in options.lookups for word in ("regret", "excess", "validation"))
    print(f"mean, points; ± is the standard error of the excess at {options.lookups[-1]}\n{'strategy':22} {columns}")
    budgets = {
        (name, quantile): float(np.quantile(costs.costs(benchmark.table.genotypes).p50_ms, quantile))
        for name, costs in benchmark.devices.items()
        if name in names
        for quantile in QUANTILES
    }
    for strategy in strategies:
        kept, started, results = kept_of(options, strategy), time.perf_counter(), []
        for seed in range(options.seeds):
            for (name, quantile), latency_ms in budgets.items():
                problem = Problem(benchmark.table.space, benchmark.devices[name], Budget(latency_ms=latency_ms), seed)
                run = partial(regrets, benchmark, problem, strategy, options.lookups)
                results.append(kept.result(f"{name} {quantile} {seed}", run))
        points = 100 * np.array(results)
        each, error = (time.perf_counter() - started) / len(results), points[:, 1, -1].std() / len(results) ** 0.5
        cells = " ".join(f"{value:14.3f}" for value in points.mean(axis=0).T.ravel())
        label = f"{strategy.name}{' (peer)' if strategy.peer else ''}"
        print(f"{label:22} {cells} ±{error:.3f} {each:6.2f} s/run", flush=True)


if __name__ == "__main__":
    main()
