"""Whole-network latency from few measurements, on published tables, by HELP's protocol (Lee et al. 2021, section 4).

Networks to learn from are drawn at random from the first 900 rows, networks to predict are rows 900 to 1899, both without the
tenth at either end of latency. Figures are Spearman's rank correlations, means over draws. Sources are the first 900 rows of the
table's other devices, without those of the same hardware at another batch size. Beside ours stands ridge regression on the counts
of operations.

    python benchmarks/few_shot.py --tables FOLDER [--draws 20]

``pixel3`` is left out of the means: in NAS-Bench-201's table the runtime folded 183 of its networks away, and FBNet's is the sum
of a look-up table. Its rows are printed.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from hwnas.spaces.fbnet import FBNet
from hwnas.spaces.nasbench201 import NasBench201
from predictors import FewShotPredictor, GraphFeatures, LatencyTable, graph_features

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Predict = Callable[[int, Rows, Rows], Floats]  # device, networks measured, networks to predict: latencies

SAMPLES = (10, 20, 50)
LEARN, ALL, ENDS = 900, 1900, 0.1
ALPHAS = (0.1, 1.0)
NO_DEVICE = "pixel3"


def main() -> None:
    """Print a table per space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=os.environ.get("HWNAS_TABLES"), help="default: HWNAS_TABLES")
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    if options.tables is None or not Path(options.tables).is_dir():
        parser.error("the folder of the published tables is needed: --tables FOLDER")
    for name, file, letter in (("NAS-Bench-201", "nasbench201", "e"), ("FBNet", "fbnet_latency", "op")):
        table = pd.read_parquet(Path(options.tables) / f"{file}.parquet")[:ALL]
        genes = [column for column in table if re.fullmatch(rf"{letter}\d+", column)]
        genotypes = np.asarray(table[genes], np.int64)
        draw = NasBench201((3, 32, 32), 10).published if letter == "e" else FBNet((3, 32, 32), 100).graph
        report(name, table, genotypes, graph_features([draw(g) for g in genotypes]), options.draws)


def report(name: str, table: pd.DataFrame, genotypes: NDArray[np.int64], networks: GraphFeatures, draws: int) -> None:
    """The table of one space: a row per device, and the means."""
    columns = [column for column in table if re.match(r"lat\w*_", column)]
    devices = [re.sub(r"^lat(ency)?_|_ms$", "", column) for column in columns]
    latency = np.asarray(table[columns], np.float64)
    counts = np.stack([(genotypes == option).sum(axis=1) for option in range(genotypes.max() + 1)], axis=1)

    def ridge(alpha: float) -> Predict:
        def predict(device: int, measured: Rows, asked: Rows) -> Floats:
            return regression(counts[measured], latency[measured, device], counts[asked], alpha)

        return predict

    def alone(device: int, measured: Rows, asked: Rows) -> Floats:
        predictor = FewShotPredictor().fit(networks[measured], latency[measured, device])
        return predictor.predict(networks[asked]).latency_ms

    def transfer(device: int, measured: Rows, asked: Rows) -> Floats:
        others = [i for i, other in enumerate(devices) if hardware(other) != hardware(devices[device])]
        sources = [LatencyTable(networks[:LEARN], latency[:LEARN, others])]
        predictor = FewShotPredictor().fit(networks[measured], latency[measured, device], sources)
        return predictor.predict(networks[asked]).latency_ms

    ways: dict[str, Predict] = {f"ridge α={alpha:g}": ridge(alpha) for alpha in ALPHAS}
    ways |= {"ours": alone, "ours, sources": transfer}
    found = np.array(
        [[correlations(way, i, latency[:, i], draws) for way in ways.values()] for i in range(len(devices))]
    )
    print(f"\n{name}: {draws} draws, samples {', '.join(map(str, SAMPLES))}")
    print(f"{'device':18s}" + "".join(f"{way:>24s}" for way in ways))
    counted = [i for i, device in enumerate(devices) if device != NO_DEVICE]
    for device, rows in [*zip(devices, found, strict=True), (f"mean of {len(counted)}", found[counted].mean(axis=0))]:
        print(f"{device:18s}" + "".join(f"{'  '.join(f'{value:.4f}' for value in row):>24s}" for row in rows))


def correlations(way: Predict, device: int, latency: Floats, draws: int) -> list[float]:
    """Mean correlation for each number of samples; every way sees the same draws."""
    pool, asked = middle(latency, 0, LEARN), middle(latency, LEARN, ALL)
    rng = np.random.default_rng(device)
    means = []
    for samples in SAMPLES:
        drawn = [rng.choice(pool, samples, replace=False) for _ in range(draws)]
        means.append(float(np.mean([spearmanr(way(device, rows, asked), latency[asked]).statistic for rows in drawn])))
    return means


def middle(latency: Floats, first: int, last: int) -> Rows:
    """Rows from ``first`` to ``last`` without the tenth at either end of latency."""
    order = first + np.argsort(latency[first:last], kind="stable")
    cut = int(len(order) * ENDS)
    return order[cut:-cut]


def hardware(device: str) -> str:
    """Name without the batch size."""
    return re.sub(r"_(1|32|64|256)$", "", device)


def regression(x: NDArray[np.int64], y: Floats, asked: NDArray[np.int64], alpha: float) -> Floats:
    """Ridge regression on standardised columns."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(x, y)
    return np.asarray(model.predict(asked), np.float64)


if __name__ == "__main__":
    main()
