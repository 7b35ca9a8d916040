"""Are budgets kept by networks found by prediction? A case is a space, a budget, a precision and a number of threads.

    python benchmarks/budget_fidelity.py --keep FOLDER [--devices onnxruntime:threads=1 onnxruntime:threads=2]
        [--spaces mobile:1x28x28 mobile:3x32x32 mobile:3x64x64] [--precisions float32 int8] [--budgets 9] [--profile-seconds 40]
        [--out FILE]

Nothing is trained: multiply-accumulates stand for accuracy, so the search wants the largest network that the predictor lets
pass, and finds where it errs. Budgets are spread between the predicted latencies of small and large networks of the space.
The chosen network is measured as exported, with made-up weights. *One shot* is the first one chosen, by the upper bound of
p50 that holds for 95 % of networks; *closed loop* is what a run delivers, which measures up to eight and corrects its costs
in between. A case is kept if the measured p50 is within the budget; its use is that p50 as a share of the budget. The same
command goes on from what FOLDER holds.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

import devices
import hwnas.profiles
import hwnas.spaces
from devices import Device, Graph
from devices.journal import Journal
from devices.profile import load as load_profile
from hwnas import finalist
from hwnas.budget import Budget
from hwnas.config import SearchSection
from hwnas.costs import compile_costs
from hwnas.errors import InfeasibleBudget
from hwnas.int8.search import Int8Space
from hwnas.problem import Problem
from hwnas.space import Genotypes, SearchSpace
from hwnas.targets import Target
from predictors import load_or_fit

CLASSES = 10
SEARCH = SearchSection(searcher="evolution", evaluations=400, generation=50)
DRAWN = 5000
ENDS = 0.02, 0.98  # quantiles of random networks' p50 between which budgets are spread


@dataclass(frozen=True)
class Case:
    """One search under one budget.

    Attributes:
        setting: device, space and precision.
        one_shot_ms, closed_loop_ms: p50 of the network that was chosen first, and of the one that was chosen in the end.
        measured: how many candidates were measured.
    """

    setting: str
    budget_ms: float
    one_shot_ms: float
    closed_loop_ms: float
    measured: int


@final
@dataclass(frozen=True)
class Work:
    """Stands for accuracy: multiply-accumulates as a share of the largest network's."""

    space: SearchSpace
    source = "multiply-accumulates"

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` shares."""
        most = macs(self.space.graph(self.space.largest()))
        return np.array([macs(self.space.graph(g)) / most for g in genotypes], np.float64)


def macs(graph: Graph) -> int:
    """Multiply-accumulates of the convolutions and products with weights."""
    total = 0
    for node in graph.nodes:
        if node.op in ("Conv", "Gemm", "MatMul") and node.inputs[1] in graph.constants:
            weight, out = graph.tensors[node.inputs[1]], graph.tensors[node.outputs[0]]
            of_output = math.prod(weight.shape[1:]) if node.op == "Conv" else weight.size // out.shape[-1]
            total += out.size * of_output
    return total


def cases(device: Device, name: str, precision: str, folder: Path, budgets: int, profile_s: float) -> list[Case]:
    """All budgets on one space."""
    folder.mkdir(parents=True, exist_ok=True)
    kept, path = folder / "cases.json", folder / "space.profile.jsonl"
    if kept.exists():
        return [Case(**case) for case in json.loads(kept.read_text())]
    name, _, shape = name.partition(":")
    channels, height, width = (int(n) for n in shape.split("x"))
    plain = hwnas.spaces.open(name, (channels, height, width), CLASSES)
    space = Int8Space(plain) if precision == "int8" else plain
    if not path.exists():
        hwnas.profiles.make(device, path, space=space, time_limit_s=profile_s)
    profile, predictor = load_profile(path), load_or_fit(path)
    costs = compile_costs(space, predictor, device)
    drawn = costs.costs(space.sample(np.random.default_rng(0), DRAWN))
    found = []
    low, high = np.quantile(drawn.upper_ms, ENDS)
    for budget_ms in np.geomspace(low, high, budgets).tolist():
        problem = Problem(space, costs, Budget(latency_ms=budget_ms), seed=0)
        target = Target(device, profile, predictor, costs, problem.budget)
        with Journal(folder / f"{budget_ms:.6f}.jsonl", {"budget_ms": budget_ms}) as journal:
            try:
                chosen = finalist.find(problem, Work(plain), [target], SEARCH, journal)
            except InfeasibleBudget as error:
                print(f"{folder.name}, {budget_ms:.4f} ms: {error.message}")
                continue
            first, *more = [unit for unit in journal.units if unit["unit"] == "measured"]
        shots = first["measured"]["p50_ms"], chosen.measured["p50_ms"]
        found.append(Case(folder.name, budget_ms, *shots, measured=1 + len(more)))
    kept.write_text(json.dumps([asdict(case) for case in found]))
    return found


def table(found: Sequence[Case]) -> list[str]:
    """A line for each setting, and one for all."""
    lines = [f"{'':48} {'one shot':>28}    {'closed loop':>24}"]
    lines.append(
        f"{'':42} {'cases':>5}    {'kept':>7} {'use':>7} {'worst':>7}    {'kept':>7} {'use':>7} {'measured':>8}"
    )
    for setting in [*dict.fromkeys(case.setting for case in found), "all"]:
        of = [case for case in found if setting in (case.setting, "all")]
        once = np.array([case.one_shot_ms / case.budget_ms for case in of])
        loop = np.array([case.closed_loop_ms / case.budget_ms for case in of])
        lines.append(
            f"{setting:42} {len(of):5}    {np.mean(once <= 1):7.1%} {np.median(once):7.1%} {once.max() - 1:+7.1%}    "
            f"{np.mean(loop <= 1):7.1%} {np.median(loop):7.1%} {np.mean([case.measured for case in of]):8.1f}"
        )
    return lines


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--devices", nargs="+", default=["onnxruntime:threads=1", "onnxruntime:threads=2"])
    parser.add_argument("--spaces", nargs="+", default=["mobile:1x28x28", "mobile:3x32x32", "mobile:3x64x64"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"], choices=("float32", "int8"))
    parser.add_argument("--budgets", type=int, default=9)
    parser.add_argument("--profile-seconds", type=float, default=40)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: list[Case] = []
    for spec in given.devices:
        for space in given.spaces:
            for precision in given.precisions:
                folder = given.keep / f"{spec} {space} {precision}".replace("/", "-")
                with devices.open(spec) as device:
                    found += cases(device, space, precision, folder, given.budgets, given.profile_seconds)
                print(table(found)[-2], flush=True)
    print("\n".join(table(found)))
    if given.out:
        given.out.write_text(json.dumps([asdict(case) for case in found], indent=1))


if __name__ == "__main__":
    main()
