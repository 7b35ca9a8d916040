"""Tables of networks: every way to name a network, look-ups, what is missing, and a search on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hwnas.accuracy
import hwnas.spaces
import hwnas.tasks
from devices.journal import Journal
from hwnas import Budget, Problem, searchers, tabulated
from hwnas.errors import InfeasibleBudget, InvalidData
from hwnas.search import search
from hwnas.space import SearchSpace
from hwnas.tabulated import TabulatedCosts


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.spaces.open("nasbench201", (3, 32, 32), 10)


@pytest.fixture(scope="module")
def table(space: SearchSpace) -> pd.DataFrame:
    """Every cell, with figures that follow from it."""
    genotypes = np.array(np.meshgrid(*[range(5)] * 6)).reshape(6, -1).T
    convolutions = (genotypes == 2).sum(axis=1) + 3 * (genotypes == 3).sum(axis=1)
    columns: dict[str, Any] = {gene.name: genotypes[:, i] for i, gene in enumerate(space.genes)}
    return pd.DataFrame({**columns, "accuracy": 60 + 30 * np.sqrt(convolutions / 18), "latency_ms": 1 + convolutions})


def model(space: SearchSpace, path: Path, **settings: Any) -> Any:
    task = hwnas.tasks.open("digits")
    settings = {"table": str(path), **settings}
    return hwnas.accuracy.open("tabulated", space, task, settings=settings, seed=0, folder=path.parent)


def published_string(space: SearchSpace, genotype: Any) -> str:
    names = [gene.options[g] for gene, g in zip(space.genes, genotype, strict=True)]
    return f"|{names[0]}~0|+|{names[1]}~0|{names[2]}~1|+|{names[3]}~0|{names[4]}~1|{names[5]}~2|"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_way_to_name_a_network(space: SearchSpace, tmp_path: Path, suffix: str) -> None:
    genotypes = space.sample(np.random.default_rng(0), 50)
    names = [gene.name for gene in space.genes]
    spelt = np.array([[gene.options[g] for gene, g in zip(space.genes, row, strict=True)] for row in genotypes])
    figures = {"figure": np.arange(50.0)}
    ways: list[tuple[dict[str, Any], Any]] = [
        (dict(zip(names, genotypes.T, strict=True)), None),
        (dict(zip(names, spelt.T, strict=True)), None),
        ({f"e{i}": genotypes[:, i] for i in range(6)}, [f"e{i}" for i in range(6)]),
        ({"arch": ["".join(map(str, row)) for row in genotypes]}, None),
        ({"genotype": [str(row.tolist()) for row in genotypes]}, None),
        ({"my name": [published_string(space, row) for row in genotypes]}, "my name"),
        ({"net": ["".join(map(str, row)) for row in genotypes]}, "net"),
    ]
    for columns, genotype in ways:
        frame, path = pd.DataFrame(columns | figures), tmp_path / f"table.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
        found = tabulated.load(path, space, genotype=genotype)
        assert np.array_equal(found.genotypes, genotypes)
        assert found.values("figure").tolist() == figures["figure"].tolist()


def test_a_network_has_its_own_row_or_that_of_an_equal_one(space: SearchSpace, tmp_path: Path) -> None:
    canonical, equal, other = [0, 0, 0, 3, 0, 0], [1, 0, 3, 0, 0, 1], [0, 0, 0, 2, 0, 0]
    path = tmp_path / "table.csv"
    rows = pd.DataFrame([equal, equal, canonical], columns=[gene.name for gene in space.genes])
    rows.assign(figure=[1, 2, 3]).to_csv(path, index=False)
    found = tabulated.load(path, space)
    assert found.rows(np.array([canonical, equal, other])).tolist() == [2, 2, -1]
    rows[:2].assign(figure=[1, 2]).to_csv(path, index=False)
    assert tabulated.load(path, space).rows(np.array([canonical, other])).tolist() == [0, -1]
    rows[:0].assign(figure=[]).to_csv(path, index=False)
    assert tabulated.load(path, space).rows(np.array([canonical])).tolist() == [-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,accuracy\n03120,90\n", r"row 0: 3120 is no network|row 0: 0, 3, 1, 2, 0"),
        ("arch,accuracy\n031204,90\n031205,90\n", r"row 1: 0, 3, 1, 2, 0, 5 is no network"),
        ("edge01,edge02,edge12,edge03,edge13,edge23,accuracy\n0,1,conv,3,0,0,90\n", "row 0: 0, 1, conv"),
        ("edge01,edge02,edge12,edge03,edge13,edge23,accuracy\n0,1,,3,0,0,90\n", "row 0: 0, 1, nan"),
        ("net,accuracy\n031204,90\n", "does not say which networks its rows are"),
        ("arch,acuracy\n031204,90\n", "no column 'accuracy', did you mean 'acuracy'"),
        ("arch,accuracy\n031204,good\n", "column 'accuracy': "),
        ("arch,accuracy\n031204,900\n", "is no accuracy: it goes from 0 to 900"),
        ("arch,accuracy\n031204,-1\n", "is no accuracy: it goes from -1 to 0"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(space: SearchSpace, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InvalidData, match=message) as caught:
        model(space, path)
    assert caught.value.hint


def test_files_and_columns_that_are_not_there(space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="There is no file"):
        tabulated.load(tmp_path / "table.csv", space)
    broken = tmp_path / "table.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(InvalidData, match="cannot be read"):
        tabulated.load(broken, space)
    path = tmp_path / "table.csv"
    path.write_text("e0,e1\n0,1\n")
    with pytest.raises(InvalidData, match="has no column 'e2', did you mean"):
        tabulated.load(path, space, genotype=["e0", "e1", "e2"])
    with pytest.raises(InvalidData, match="The space has 6 genes, got 2 columns"):
        tabulated.load(path, space, genotype=["e0", "e1"])


def test_accuracies_are_fractions_or_percent(space: SearchSpace, tmp_path: Path) -> None:
    genotypes = np.array([[0, 3, 1, 2, 0, 4], [0, 0, 0, 3, 0, 0]])
    for unit in (1, 100):
        path = tmp_path / "table.csv"
        pd.DataFrame({"arch": ["031204", "000300"], "test": [0.9 * unit, 0.5 * unit]}).to_csv(path, index=False)
        found = model(space, path, column="test")
        assert found.source == "tabulated"
        np.testing.assert_allclose(found.accuracy(genotypes), [0.9, 0.5])
        with pytest.raises(InvalidData, match=r"has no accuracy of \{'edge01': 'nor_conv_3x3'"):
            found.accuracy(space.largest()[None])


def test_a_search_on_a_table_keeps_the_budget(space: SearchSpace, table: pd.DataFrame, tmp_path: Path) -> None:
    path, partial = tmp_path / "table.parquet", tmp_path / "partial.parquet"
    table.to_parquet(path)
    table.sample(2000, random_state=0).to_parquet(partial)
    for file in (path, partial):
        costs = TabulatedCosts(tabulated.load(file, space), latency_ms="latency_ms")
        problem = Problem(space, costs, Budget(latency_ms=8), seed=0)
        with Journal(file.with_suffix(".jsonl"), {"seed": 0}) as journal:
            searcher = searchers.open("guided", problem, initial=20)
            result = search(problem, searcher, model(space, file), evaluations=60, generation=10, journal=journal)
        assert len(result.candidates) == 60
        assert result.candidates.costs.p50_ms.max() <= 8
        assert np.isnan(result.candidates.costs.memory_bytes).all()
        best = table[table.latency_ms <= 8].accuracy.max() / 100
        assert result.candidates.accuracy[result.best] == pytest.approx(best)


def test_a_limit_on_what_the_table_does_not_have_cannot_be_met(
    space: SearchSpace, table: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    costs = TabulatedCosts(tabulated.load(path, space), latency_ms="latency_ms")
    with pytest.raises(InfeasibleBudget, match="memory_bytes unknown") as caught:
        Problem(space, costs, Budget(memory_bytes=1000), seed=0).require_feasible()
    assert caught.value.closest["memory_bytes"] is None
