"""How many architectures a second does a compiled space cost: latency, its upper bound, memory and file size at once? How many a
predictor that knows 300 networks? And how long does a whole search of as many networks take, beside pymoo and Optuna?

    python benchmarks/search_speed.py [--profile NAME.profile.jsonl] [--device onnxruntime:threads=1] [--networks 1000000]

Without a profile one of 20 s is made for the purpose: speed does not depend on how good it is. All searches use the same
space, the same compiled costs and the same predictor, and the budget is the median latency. pymoo evaluates whole
populations at once, as we do; Optuna has trials only. Peers evaluate fewer networks (``--of-peers``), and their time is
scaled up.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import devices
import hwnas.profiles
from benchmarks import space_options
from hwnas import searchers
from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.budget import Budget
from hwnas.costs import compile_costs
from hwnas.problem import Problem
from hwnas.search import search
from predictors import load_or_fit

_POPULATION = 20_000


def main() -> None:
    """Run it."""
    parser = space_options.parser(__doc__)
    parser.add_argument("--networks", type=int, default=1_000_000)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--of-peers", type=int, default=500, help="trials of Optuna; pymoo has a hundred times as many")
    parser.set_defaults(space="fbnet", shape="3x32x32")  # has more networks than are looked at
    options = parser.parse_args()
    space = space_options.opened(options)
    with tempfile.TemporaryDirectory() as temporary, devices.open(options.device) as device:
        path = options.profile or Path(temporary, "space.profile.jsonl")
        if options.profile is None:
            hwnas.profiles.make(device, path, space=space, time_limit_s=20)
        predictor = load_or_fit(path)
        started = time.perf_counter()
        compiled = compile_costs(space, predictor, device)
        print(f"compiled {space.piece_count} pieces in {time.perf_counter() - started:.1f} s")
    genotypes = space.sample(np.random.default_rng(0), options.networks)
    known = space.sample(np.random.default_rng(1), 300)
    accuracy = AccuracyPredictor(space).fit(known, np.random.default_rng(2).random(len(known)))
    print(f"{'at once':>10} {'architectures/s':>16} {'accuracy predicted/s':>21}")
    for size in (100, 10_000, options.networks):
        repeats = max(1, min(200, options.networks // size))
        speeds = []
        for work in (compiled.costs, accuracy.accuracy):
            taken = []
            for _ in range(3):
                started = time.perf_counter()
                for i in range(repeats):
                    work(genotypes[i * size : (i + 1) * size])
                taken.append(time.perf_counter() - started)
            speeds.append(repeats * size / min(taken))
        print(f"{size:>10,} {speeds[0]:>16,.0f} {speeds[1]:>21,.0f}")
    budget = Budget(latency_ms=float(np.median(compiled.costs(genotypes[:10_000]).upper_ms)))
    problem = Problem(space, compiled, budget, 0)
    print(f"\n{'search of ' + format(options.networks, ','):28} {'s':>9} {'evaluated':>10} {'best':>7}")
    for name, run, evaluations in (
        ("hwnas evolution", hwnas_evolution, options.networks),
        ("pymoo NSGA-II", pymoo_nsga2, options.of_peers * 100),
        ("Optuna NSGA-II", partial(optuna_study, sampler="NSGAIISampler"), options.of_peers),
        ("Optuna TPE", partial(optuna_study, sampler="TPESampler"), options.of_peers),
    ):
        started = time.perf_counter()
        best = run(problem, accuracy, evaluations)
        taken = (time.perf_counter() - started) * options.networks / evaluations
        print(f"{name:28} {taken:9.1f} {evaluations:10,} {best:7.4f}", flush=True)


def hwnas_evolution(problem: Problem, accuracy: AccuracyPredictor, evaluations: int) -> float:
    """Each of them new and within the budget; the best accuracy."""
    searcher = searchers.open("evolution", problem, population=_POPULATION, sample=10)
    found = search(problem, searcher, accuracy, evaluations=evaluations, generation=_POPULATION)
    assert len(found.candidates) == evaluations
    return float(found.candidates.accuracy[found.best])


def pymoo_nsga2(problem: Problem, accuracy: AccuracyPredictor, evaluations: int) -> float:
    """The same with pymoo's own loop; what it repeats, and what is over budget, counts as evaluated."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem as Variables
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Networks(Variables):  # type: ignore[misc]  # pymoo has no types
        def _evaluate(self, x: Any, out: dict[str, Any]) -> None:
            rows = problem.space.canonical(x.astype(np.int64))
            out["F"] = -accuracy.accuracy(rows)[:, None]
            out["G"] = problem.excess(rows)[:, None]

    highest = np.array([len(gene.options) - 1 for gene in problem.space.genes])
    variables = Networks(n_var=len(highest), n_obj=1, n_ieq_constr=1, xl=0 * highest, xu=highest, vtype=int)
    algorithm = NSGA2(
        pop_size=min(_POPULATION, evaluations // 10),
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
    )
    return float(-minimize(variables, algorithm, ("n_eval", evaluations), seed=0).F.min())


def optuna_study(problem: Problem, accuracy: AccuracyPredictor, evaluations: int, *, sampler: str) -> float:
    """The same with Optuna's own loop."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=getattr(optuna.samplers, sampler)(seed=0))

    def evaluate(trial: optuna.Trial) -> float:
        chosen = [trial.suggest_categorical(g.name, range(len(g.options))) for g in problem.space.genes]
        rows = problem.space.canonical(np.array([chosen]))
        trial.set_constraint("budget", float(problem.excess(rows)[0]))
        return float(accuracy.accuracy(rows)[0])

    study.optimize(evaluate, n_trials=evaluations)
    return study.best_value


if __name__ == "__main__":
    main()
