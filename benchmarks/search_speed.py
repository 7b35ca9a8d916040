"""How many architectures a second does a compiled space cost? Latency, its upper bound, memory and file size at once; and their
accuracy, by a predictor that knows 300 networks?

    python benchmarks/search_speed.py [--profile NAME.profile.jsonl] [--device onnxruntime:threads=1] [--networks 1000000]

Without a profile one of 20 s is made for the purpose: speed does not depend on how good it is.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

import devices
import hwnas.profiles
from benchmarks import space_options
from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.costs import compile_costs
from predictors import load_or_fit


def main() -> None:
    """Run it."""
    parser = space_options.parser(__doc__)
    parser.add_argument("--networks", type=int, default=1_000_000)
    parser.add_argument("--profile", type=Path)
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


if __name__ == "__main__":
    main()
