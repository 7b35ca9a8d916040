"""A search's evaluations on a local Ray cluster of two nodes, one of which is killed midway; beside one process and several.

    python benchmarks/ray_scaling.py [--evaluations 40] [--cores 1] [--epochs 1]

Networks of the digits space are trained briefly, by each worker with one thread. Prints the time of each way and
whether its journal is the one process's, byte for byte; exit status 1 if one is not. Needs the extra ray.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from devices.journal import Journal
from hwnas import judging, searchers, spaces, tasks
from hwnas.budget import Budget
from hwnas.config import Config
from hwnas.costs import Costs
from hwnas.problem import Problem
from hwnas.search import search
from hwnas.space import Genotypes
from hwnas.threads import thread_count
from hwnas.workers import spread

GENERATION = 10


class SumOfOptions:
    """Costs that need no device: every gene adds its option's position."""

    source: ClassVar[str] = "tabulated"

    def costs(self, genotypes: Genotypes) -> Costs:
        """See the class."""
        total = 1.0 + genotypes.sum(axis=1)
        return Costs(*[total] * 5)


def journal(workers: int | str | None, evaluations: int, epochs: int, threads: int = 1) -> tuple[bytes, float]:
    """What a search with those workers records, and how long it takes, in seconds."""
    config = Config.model_validate(
        {"budget": {"latency_ms": 20.0}, "accuracy": {"model": "short_training", "epochs": epochs}}
    )
    task = tasks.open("digits", seed=0)
    space = spaces.open("mobile", task.input_shape, len(task.classes))
    problem = Problem(space, SumOfOptions(), Budget(latency_ms=20.0), 0)
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        own = Path(folder)
        model = judging.ranking_model(config, judging.accuracy_model(config, space, task, own), space, task)
        started = time.perf_counter()
        with Journal(own / "journal", {}) as units, spread(workers, model, config, task, own, threads=threads) as judge:
            searcher = searchers.open("guided", problem)
            search(problem, searcher, judge, evaluations=evaluations, generation=GENERATION, journal=units)
        return (own / "journal").read_bytes(), time.perf_counter() - started


@contextmanager
def two_nodes(cores: int, *, kill_after_s: float | None) -> Iterator[None]:
    """A Ray cluster of this machine: a head that evaluates nothing, and two nodes, the first of which may be killed."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    first, _ = (cluster.add_node(num_cpus=cores) for _ in range(2))
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = cluster.address
    if kill_after_s is not None:
        threading.Timer(kill_after_s, lambda: cluster.remove_node(first, allow_graceful=False)).start()
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()
        del os.environ["RAY_ADDRESS"]


def main() -> int:
    """Compare the ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--cores", type=int, default=1, help="of each node")
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    cores = thread_count()
    print(f"without workers, {cores} threads: {journal(None, given.evaluations, given.epochs, cores)[1]:.1f} s")
    alone, alone_s = journal(1, given.evaluations, given.epochs)
    rows = [("1 process", alone, alone_s)]
    count = 2 * given.cores
    rows.append((f"{count} processes", *journal(count, given.evaluations, given.epochs)))
    with two_nodes(given.cores, kill_after_s=None):
        rows.append((f"Ray, 2 nodes of {given.cores}", *journal("ray", given.evaluations, given.epochs)))
    with two_nodes(given.cores, kill_after_s=rows[-1][2] / 2):
        rows.append(("Ray, one killed midway", *journal("ray", given.evaluations, given.epochs)))
    for name, found, seconds in rows:
        print(f"{name:24} {seconds:8.1f} s  {alone_s / seconds:5.2f} ×  {'same' if found == alone else 'DIFFERS'}")
    return int(not np.all([found == alone for _, found, _ in rows]))


if __name__ == "__main__":
    sys.exit(main())
