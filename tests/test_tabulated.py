"""Tables of networks: every way to name a network, look-ups, what is missing, and a search on one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import hwnas.accuracy
import hwnas.spaces
import hwnas.tasks
from devices.journal import Journal
from hwnas import Budget, Problem, objectives, searchers, tabulated
from hwnas.accuracy_predictor import AccuracyPredictor
from hwnas.errors import InfeasibleBudget, InvalidData, SearchError
from hwnas.search import search
from hwnas.space import Gene, SearchSpace
from hwnas.table_cells import CellColumns
from hwnas.tabulated import TabulatedCosts
from hwnas.training.distribution import even


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
    genotypes = np.unique(space.sample(np.random.default_rng(0), 50), axis=0)
    names = [gene.name for gene in space.genes]
    spelt = np.array([[gene.options[g] for gene, g in zip(space.genes, row, strict=True)] for row in genotypes])
    figures = {"figure": np.arange(float(len(genotypes)))}
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
    assert found.rows(np.array([canonical, equal, other, [0, 1, 0, 3, 0, 0]])).tolist() == [2, 0, -1, 2]
    rows[:2].assign(figure=[1, 2]).to_csv(path, index=False)
    assert tabulated.load(path, space).rows(np.array([canonical, other])).tolist() == [0, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,accuracy\n03120,90\n", "row 0: 03120 is no network"),
        ("arch,accuracy\n031204,90\n031205,90\n", "row 1: 031205 is no network"),
        ("edge01,edge02,edge12,edge03,edge13,edge23,accuracy\n0,1,conv,3,0,0,90\n", "row 0: 0, 1, conv"),
        ("edge01,edge02,edge12,edge03,edge13,edge23,accuracy\n0,1,,3,0,0,90\n", "row 0: 0, 1, , 3"),
        ("arch,accuracy\n031204,90\n|none~0|,90\n", "row 1: |none~0| is no network"),
        ("arch,accuracy\n", "has no rows"),
        ("net,accuracy\n031204,90\n", "does not say which networks its rows are"),
        ("arch,acuracy\n031204,90\n", "no column 'accuracy', did you mean 'acuracy'"),
        ("arch,accuracy\n031204,good\n", "column 'accuracy': "),
        ("arch,accuracy\n031204,900\n", "is no accuracy: it goes from 900 to 900"),
        ("arch,accuracy\n031204,-1\n", "is no accuracy: it goes from -1 to -1"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(space: SearchSpace, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InvalidData, match=re.escape(message)) as caught:
        model(space, path)
    assert caught.value.hint


@pytest.fixture(scope="module")
def numbers() -> SearchSpace:
    """A space whose options are numbers: depths and widths, and a resolution and an activation that are fixed."""
    return hwnas.spaces.open("mobile", (1, 8, 8), 10, **NUMBERS)


NUMBERS: dict[str, Any] = {
    "resolutions": [8], "activations": ["relu"], "widths": [[8, 16, 24]], "depths": [1, 2, 3], "kernels": [3, 5],
    "expansions": [1, 2, 3], "squeeze_excite": [False],
}  # fmt: skip
_FIXED = {"resolution": [8, 8], "activation": ["relu", "relu"], "stage1.squeeze_excite": [False, False]}
_NAMES = {"stage1.depth": [1, 2], "stage1.width": [8, 24], "stage1.kernel": [3, 5], "stage1.expansion": [2, 1]}
_POSITIONS = {"stage1.depth": [1, 2], "stage1.width": [0, 2], "stage1.kernel": [0, 1], "stage1.expansion": [2, 1]}
_AS_NAMES = [[0, 0, 0, 0, 0, 1, 0], [0, 0, 1, 2, 1, 0, 0]]
_AS_POSITIONS = [[0, 0, 1, 0, 0, 2, 0], [0, 0, 2, 2, 1, 1, 0]]


@pytest.mark.parametrize(
    ("columns", "genotypes"),
    [
        (_FIXED | _NAMES, _AS_NAMES),
        (_FIXED | _POSITIONS | {name: [0, 0] for name in _FIXED}, _AS_POSITIONS),
        ({"genotype": ["8-relu-1-8-3-2-False", "8-relu-2-24-5-1-False"]}, _AS_NAMES),
        ({"genotype": ["[0, 0, 1, 0, 0, 2, 0]", "[0, 0, 2, 2, 1, 1, 0]"]}, _AS_POSITIONS),
        ({"genotype": ["0010020", "0022110"]}, _AS_POSITIONS),
    ],
)
def test_numbers_are_names_or_positions_in_all_rows(
    numbers: SearchSpace, tmp_path: Path, columns: dict[str, Any], genotypes: list[list[int]]
) -> None:
    path = tmp_path / "table.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    assert tabulated.load(path, numbers).genotypes.tolist() == genotypes


@pytest.mark.parametrize(
    "read", [CellColumns.of_all, lambda cells, genes: CellColumns.of_each([[1, 2], [2, 1.0]], genes)]
)
def test_numbers_that_can_be_both_are_what_one_says_that_they_are(read: Any) -> None:
    columns = read(["1 2", "2 1"], [Gene("depth", (1, 2, 3)), Gene("width", (1.0, 2.0, 3.0))])
    names = ["net", "width"][: len(columns.together)]
    with pytest.raises(InvalidData, match="column 'net': its numbers can be names of options, or positions") as caught:
        columns.genotypes("table", names, None)
    assert 'cells = "names"' in caught.value.hint
    assert columns.genotypes("table", names, "names").tolist() == [[0, 1], [1, 0]]
    assert columns.genotypes("table", names, "positions").tolist() == [[1, 2], [2, 1]]


def test_columns_of_both_kinds_do_not_tell_what_others_are(numbers: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    pd.DataFrame(_FIXED | _NAMES | {"activation": [0, 0]}).to_csv(path, index=False)
    with pytest.raises(InvalidData, match=r"column 'stage1\.depth': its numbers can be names"):
        tabulated.load(path, numbers)
    pd.DataFrame(_FIXED | _NAMES).to_csv(path, index=False)
    with pytest.raises(InvalidData, match="row 0: 8, relu, 1, 8, 3, 2, False is no network"):
        tabulated.load(path, numbers, cells="positions")


def test_what_did_not_run_is_over_any_budget(space: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("arch,latency,bytes\n031204,-1,100\n031203,0,-1\n031202,5,0\n")
    table = tabulated.load(path, space)
    costs = TabulatedCosts(table, latency_ms="latency", memory_bytes="bytes", model_bytes="bytes").costs(
        table.genotypes
    )
    for values in (costs.latency_ms, costs.p50_ms, costs.upper_ms):
        np.testing.assert_array_equal(values, [np.nan, np.nan, 5])
    np.testing.assert_array_equal(costs.memory_bytes, [100, np.nan, np.nan])
    np.testing.assert_array_equal(costs.model_bytes, [100, np.nan, np.nan])


def test_genes_of_hundreds_of_options_are_told_apart(tmp_path: Path) -> None:
    widths = {"widths": [list(range(8, 8 * 521, 8))]}
    space = hwnas.spaces.open("mobile", (1, 8, 8), 10, **{**NUMBERS, "depths": [1], **widths})
    genotypes = np.zeros((520, len(space.genes)), np.int64)
    genotypes[:, 3] = np.arange(520)
    path = tmp_path / "table.csv"
    pd.DataFrame({"genotype": [str(row.tolist()) for row in genotypes]}).to_csv(path, index=False)
    assert tabulated.load(path, space).rows(genotypes).tolist() == list(range(520))


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


def test_a_search_on_a_table_finds_the_best_of_its_rows(
    space: SearchSpace, table: pd.DataFrame, tmp_path: Path
) -> None:
    path, partial = tmp_path / "table.parquet", tmp_path / "partial.parquet"
    table = table.assign(accuracy=table.accuracy + np.random.default_rng(0).uniform(0, 0.5, len(table)))
    table.to_parquet(path)
    table.sample(2000, random_state=0).to_parquet(partial)
    for file in (path, partial):
        found = tabulated.load(file, space, accuracy="accuracy")
        costs = TabulatedCosts(found, latency_ms="latency_ms")
        problem = Problem(found.space, costs, Budget(latency_ms=8), seed=0)
        assert problem.listed is not None
        within = found.columns[found.columns.latency_ms <= 8]
        assert len(problem.listed) == len(within), "rows that compute the same are several networks"
        with Journal(file.with_suffix(".jsonl"), {"seed": 0}) as journal:
            searcher = searchers.open("guided", problem, initial=20)
            result = search(problem, searcher, found, evaluations=100, generation=10, journal=journal)
        assert len(result.candidates) == 100
        assert result.candidates.costs.p50_ms.max() <= 8
        assert np.isnan(result.candidates.costs.memory_bytes).all()
        best = within.accuracy.max() / 100
        assert result.candidates.accuracy[result.best] > best - 0.002
        build = found.space.build(result.candidates.genotypes[result.best])
        assert build(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_predictor_knows_which_rows_compute_the_same(space: SearchSpace, table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    found = tabulated.load(path, space, accuracy="accuracy").space
    equal = np.array([[0, 0, 0, 3, 0, 0], [1, 0, 3, 0, 0, 1]])
    np.testing.assert_array_equal(found.canonical(equal), equal)
    np.testing.assert_array_equal(*found.features(equal))
    fitted = AccuracyPredictor(found).fit(space.sample(np.random.default_rng(0), 30), np.linspace(0, 1, 30))
    assert np.ptp(fitted.accuracy(equal)) == 0


def test_rows_of_a_space_too_large_to_list_are_its_networks(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    fbnet = hwnas.spaces.open("fbnet", (3, 32, 32), 10)
    genotypes = np.unique(np.random.default_rng(0).integers(0, 9, (60, 22)), axis=0)
    columns = dict(zip([gene.name for gene in fbnet.genes], genotypes.T, strict=True))
    heavy = genotypes.sum(axis=1)
    pd.DataFrame(columns | {"ms": heavy, "accuracy": heavy / 200}).to_csv(path, index=False)
    found = tabulated.load(path, fbnet, accuracy="accuracy", cells="positions")
    limit = float(np.median(heavy))
    for name in searchers.names():
        problem = Problem(found.space, TabulatedCosts(found, latency_ms="ms"), Budget(latency_ms=limit), seed=0)
        even(found.space).save(tmp_path / "even.json", found.space)
        given: dict[str, dict[str, Any]] = {
            "evolution": {"population": 10, "sample": 3},
            "gradient": {"distribution": str(tmp_path / "even.json")},
        }
        searcher = searchers.open(name, problem, **given.get(name, {}))
        result = search(problem, searcher, found, evaluations=100, generation=10)
        assert len(result.candidates) == (heavy <= limit).sum(), name
        assert (found.space.has(result.candidates.genotypes)).all()
    problem = Problem(found.space, TabulatedCosts(found, latency_ms="ms"), Budget(), seed=0)
    assert len(problem.sample(np.random.default_rng(0), 100)) == len(genotypes)
    assert not problem.feasible(fbnet.largest()[None]).any(), "without a limit either"


def test_genes_of_ones_own_need_no_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text(
        " depth\tkernel \tblock\taccuracy\tms\n"
        "10\t3\tNone\t0.5\t1\n2 \t3\tmb\t0.6\t2\n2\t5\tmb\t0.7\t3\n10\t5.0\tmb\t0.9\t9\n"
    )
    found = tabulated.load(path, genotype=["depth", "kernel", "block"], accuracy="accuracy")
    assert [gene.options for gene in found.space.genes] == [(2, 10), (3, 5), ("None", "mb")]
    assert found.genotypes.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]]
    problem = Problem(found.space, TabulatedCosts(found, latency_ms="ms"), Budget(latency_ms=5), seed=0)
    result = search(problem, searchers.open("guided", problem), found, evaluations=10, generation=2)
    assert found.space.describe(result.candidates.genotypes[result.best]) == {"depth": 2, "kernel": 5, "block": "mb"}
    assert len(result.candidates) == 3
    with pytest.raises(SearchError, match="known by their table alone"):
        found.space.build(result.candidates.genotypes[0])
    with pytest.raises(InvalidData, match="without a space nothing says which columns are the genes"):
        tabulated.load(path)
    path.write_text("depth\tms\n1\t1\n\t2\n")
    with pytest.raises(InvalidData, match="row 1: column 'depth' is empty"):
        tabulated.load(path, genotype=["depth"])


def test_rows_without_an_accuracy_are_left_out(space: SearchSpace, table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    names = [gene.name for gene in space.genes]
    holes = table.sample(3000, random_state=0).reset_index(drop=True)
    holes.accuracy = holes.accuracy.astype(object)
    holes.loc[::3, "accuracy"] = ""
    holes.loc[1::300, "accuracy"] = "inf"
    holes.to_csv(path, index=False)
    found = tabulated.load(path, space, accuracy="accuracy")
    assert len(found.genotypes) == 3000 - 1000 - 10
    problem = Problem(found.space, TabulatedCosts(found, latency_ms="latency_ms"), Budget(latency_ms=4), seed=0)
    result = search(problem, searchers.open("random", problem), found, evaluations=10_000, generation=500)
    kept = holes[(holes.latency_ms <= 4) & ~holes.accuracy.isin(["", "inf"])]
    assert {tuple(row) for row in result.candidates.genotypes.tolist()} == set(
        kept[names].itertuples(index=False, name=None)
    )
    known = model(space, path).space
    canonical = space.canonical(found.genotypes)
    assert known.has(canonical).all()
    assert len(known.networks()) == len(np.unique(canonical, axis=0))


def test_one_network_has_one_figure(space: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("arch,seed,accuracy,ms\n031204,0,,1\n031204,1,90,1\n031202,0,80,1\n031202,1,70,1\n")
    assert tabulated.load(path, space).values("ms").tolist() == [1, 1, 1, 1]
    with pytest.raises(InvalidData, match="rows 2 and 3 are one network with two figures, 80 and 70") as caught:
        tabulated.load(path, space, accuracy="accuracy")
    assert "aggregate" in caught.value.hint


@pytest.mark.parametrize("accuracies", ["0.8,0.9,1.2", "0.7,0.8,90", "1.01,1.3,0.9"])
def test_a_slip_among_fractions_does_not_make_them_percent(space: SearchSpace, tmp_path: Path, accuracies: str) -> None:
    path = tmp_path / "table.csv"
    rows = zip(["031204", "031203", "031202"], accuracies.split(","), strict=True)
    path.write_text("arch,accuracy\n" + "".join(f"{arch},{value}\n" for arch, value in rows))
    with pytest.raises(InvalidData, match="neither fractions nor percent"):
        tabulated.load(path, space, accuracy="accuracy")


def test_digits_that_were_stored_as_numbers_get_their_zeros_back(space: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame({"arch": [31204, 4]}).to_parquet(path)
    assert tabulated.load(path, space).genotypes.tolist() == [[0, 3, 1, 2, 0, 4], [0, 0, 0, 0, 0, 4]]


@pytest.mark.parametrize("aim", ["weighted", "pareto"])
def test_an_objective_on_what_the_table_does_not_have_is_refused(space: SearchSpace, tmp_path: Path, aim: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text("arch,ms,accuracy\n031204,1,90\n")
    found = tabulated.load(path, space, accuracy="accuracy")
    weight = {"cost_weight": 1.0} if aim == "weighted" else {}
    objective = objectives.open(aim, cost="memory_bytes", **weight)
    problem = Problem(found.space, TabulatedCosts(found, latency_ms="ms"), Budget(latency_ms=4), 0, objective)
    with pytest.raises(SearchError, match="counts memory_bytes, which is not known of any network"):
        search(problem, searchers.open("random", problem), found, evaluations=1, generation=1)


def test_a_limit_on_what_the_table_does_not_have_cannot_be_met(
    space: SearchSpace, table: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    costs = TabulatedCosts(tabulated.load(path, space), latency_ms="latency_ms")
    with pytest.raises(InfeasibleBudget, match="memory_bytes unknown") as caught:
        Problem(space, costs, Budget(memory_bytes=1000), seed=0).require_feasible()
    assert caught.value.closest["memory_bytes"] is None
