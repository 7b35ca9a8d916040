"""Do scores of untrained networks rank as training does? Rank correlations with the accuracies of published tables.

    python benchmarks/zero_cost.py TABLES [--networks 300] [--inputs fashion_mnist] [--batch-size 64] [--seeds 1] [--keep FILE]

TABLES holds ``nasbench201.parquet`` and ``nasbench_macro.parquet``. Networks are drawn at random from each table and built as
they are here, with ten classes and 3×32×32 inputs. The images that the tables' networks were trained on are not needed: proxies
are shown Fashion-MNIST, with a border and the same in all three colours, or noise. Parameters and FLOPs are what a proxy has to
be better than. For comparison: the best that Abdelfattah et al. 2021, "Zero-cost proxies for lightweight NAS", report for
NAS-Bench-201 is a Spearman's ρ of 0.82, by three proxies that vote.

Scores are the means of ``--seeds`` drawings of weights and batch. Brackets are 95 % intervals over 1,000 bootstrap samples of the
networks. With ``--keep`` scores are kept in FILE, and the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

import hwnas.accuracy
from devices.journal import Journal
from hwnas import spaces, tasks
from hwnas.accuracy._proxies import PROXIES
from hwnas.accuracy.zero_cost import ZeroCost
from hwnas.tabulated import load
from hwnas.task import Split, Task, make_task

if TYPE_CHECKING:
    from hwnas.space import Genotypes, SearchSpace

Floats = NDArray[np.float64]

SHAPE, CLASSES = (3, 32, 32), 10
RESAMPLES = 1000


@dataclass(frozen=True)
class Trained:
    """Networks of a table with their accuracies by the name of the data, in percent; means of several trainings, on test
    images."""

    name: str
    space: SearchSpace
    genotypes: Genotypes
    accuracies: dict[str, Floats]


def drawn(folder: Path, name: str, networks: int, seed: int) -> Trained:
    """Networks of table ``name``."""
    space = spaces.open(name, SHAPE, CLASSES)
    letter = "e" if name == "nasbench201" else "l"
    genes = [f"{letter}{i}" for i in range(len(space.genes))]
    table = load(folder / f"{name}.parquet", space, genotype=genes)
    columns = {"CIFAR-10": "mean_acc"}
    if name == "nasbench201":
        columns = {"CIFAR-10": "test_acc_200_cifar10", "CIFAR-100": "test_acc_200_cifar100"}
    count = len(table.genotypes)
    rows = np.random.default_rng(seed).choice(count, min(networks, count), replace=False)
    accuracies = {data: table.values(column)[rows] for data, column in columns.items()}
    return Trained(name, space, table.genotypes[rows], accuracies)


def shown(inputs: str) -> Task:
    """The images, as those networks take them."""
    if inputs == "noise":
        rng = np.random.default_rng(0)
        noise = Split(rng.integers(0, 256, (2000, *SHAPE), np.uint8), rng.permutation(2000) % CLASSES)
        return make_task("noise", noise, None, seed=0, flip=False)
    task = tasks.open(inputs)
    border = [
        (0, 0),
        (0, 0),
        *(((size - have) // 2,) * 2 for size, have in zip(SHAPE[1:], task.input_shape[1:], strict=True)),
    ]
    coloured = np.pad(task.train.images, border).repeat(SHAPE[0], axis=1)
    return make_task(task.name, Split(coloured, task.train.labels), None, seed=0, flip=False)


def scored(networks: Trained, task: Task, proxy: str, batch_size: int, seeds: int, journal: Journal | None) -> Floats:
    """``(n,)`` scores, means over seeds; from the journal where it has them."""
    known = {} if journal is None else {unit["scores_of"]: unit["scores"] for unit in journal.units}
    found = []
    for seed in range(seeds):
        label = f"{networks.name} {proxy} {seed}"
        if label not in known:
            settings = {"proxy": proxy, "batch_size": batch_size}
            model = hwnas.accuracy.open(
                "zero_cost", networks.space, task, settings=settings, seed=seed, folder=Path("none")
            )
            assert isinstance(model, ZeroCost)
            scores = np.maximum(model.scores(networks.genotypes), np.finfo(np.float64).min)  # as JSON has it
            known[label] = scores.tolist()
            if journal is not None:
                journal.append({"scores_of": label, "scores": known[label]})
        found.append(known[label])
    return np.asarray(np.mean(found, axis=0))


def correlations(scores: Floats, accuracy: Floats) -> list[tuple[float, float, float]]:
    """Spearman's and Kendall's, each with the ends of its interval."""
    rows = np.random.default_rng(0).integers(0, len(scores), (RESAMPLES, len(scores)))
    out = []
    for statistic in (spearmanr, kendalltau):
        again = [statistic(scores[r], accuracy[r]).statistic for r in rows]
        low, high = np.nanquantile(again, (0.025, 0.975))
        out.append((float(statistic(scores, accuracy).statistic), float(low), float(high)))
    return out


def main() -> None:
    """Print a table per space and data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--inputs", default="fashion_mnist", choices=["fashion_mnist", "noise"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--spaces", nargs="+", default=["nasbench201", "nasbench_macro"])
    parser.add_argument("--proxies", nargs="+", default=list(PROXIES), choices=list(PROXIES))
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    header = {name: getattr(options, name) for name in ("networks", "inputs", "batch_size")}
    journal = None if options.keep is None else Journal(options.keep, header)
    task = shown(options.inputs)
    print(
        f"shown: {options.inputs}, batches of {options.batch_size}, {options.seeds} seed(s); 95 % intervals in brackets"
    )
    for name in options.spaces:
        networks = drawn(options.tables, name, options.networks, seed=0)
        scores = {
            proxy: scored(networks, task, proxy, options.batch_size, options.seeds, journal)
            for proxy in options.proxies
        }
        for data, accuracy in networks.accuracies.items():
            print(f"\n{name}, {len(accuracy)} networks, accuracies on {data}")
            print(f"{'proxy':12} {'Spearman ρ':>21} {'Kendall τ':>21}")
            for proxy, values in scores.items():
                cells = [f"{value:6.3f} [{low:.2f}, {high:.2f}]" for value, low, high in correlations(values, accuracy)]
                print(f"{proxy:12} {cells[0]:>21} {cells[1]:>21}", flush=True)


if __name__ == "__main__":
    main()
