"""Does a supernet rank networks as training them alone would? Kendall's τ beside the τ between two trainings alone.

    python benchmarks/supernet_ranking.py --keep FOLDER [--task fashion_mnist] [--networks 16] [--supernet-epochs 8] [--epochs 8]

Networks are drawn uniformly from the space and evaluated on the whole validation split: with weights from the supernet, and
trained from scratch with two seeds. Two trainings alone do not agree either; their τ is what a perfect supernet would reach. What
is in FOLDER is not done again: the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

import hwnas.accuracy
import hwnas.spaces
import hwnas.tasks
from devices.events import Note, Progress

SEEDS = (1, 2)


def tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kendall's rank correlation."""
    return float(kendalltau(a, b).statistic)


def show(event: Progress | Note) -> None:
    """One line that is written over."""
    if isinstance(event, Progress):
        print(f"\r{event.stage} {event.done}/{event.total}  ", end="", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--task", default="fashion_mnist")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--schedule", default="sandwich", choices=("sandwich", "progressive"))
    parser.add_argument("--supernet-epochs", type=int, default=8)
    parser.add_argument("--random-networks", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=8, help="of each network alone")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    task = hwnas.tasks.open(options.task)
    space = hwnas.spaces.open(options.space, task.input_shape, len(task.classes))
    genotypes = space.sample(np.random.default_rng(options.seed), options.networks)
    common = {"batch_size": options.batch_size, "validation_images": len(task.validation)}

    def evaluated(name: str, model: str, settings: dict[str, Any], seed: int) -> NDArray[np.float64]:
        folder = options.keep / name
        opened = hwnas.accuracy.open(
            model, space, task, settings=common | settings, seed=seed, folder=folder, on_event=show
        )
        found = opened.accuracy(genotypes)
        print(f"\r{name}: {found.min():.2%} … {found.max():.2%}" + " " * 30)
        return found

    of_supernet = {
        "schedule": options.schedule,
        "epochs": options.supernet_epochs,
        "random_networks": options.random_networks,
    }
    shared = evaluated(options.schedule, "supernet", of_supernet, options.seed)
    alone = [evaluated(f"alone-{seed}", "short_training", {"epochs": options.epochs}, seed) for seed in SEEDS]
    results = {"options": vars(options) | {"keep": str(options.keep)}, "genotypes": genotypes.tolist()}
    results |= {"supernet": shared.tolist(), "alone": [a.tolist() for a in alone]}
    (options.keep / f"{options.schedule}.json").write_text(json.dumps(results, indent=1))

    with_alone, between = float(np.mean([tau(shared, a) for a in alone])), tau(*alone)
    print(f"\n{options.task}, {options.networks} networks, {options.supernet_epochs} and {options.epochs} epochs")
    print(f"{'τ of supernet and training alone':40} {with_alone:6.3f}   (mean over two seeds)")
    print(f"{'τ of supernet and the mean of the two':40} {tau(shared, np.mean(alone, axis=0)):6.3f}")
    print(f"{'τ between two trainings alone':40} {between:6.3f}")
    print(f"{'ratio of the first and the last':40} {with_alone / between:6.3f}")


if __name__ == "__main__":
    main()
