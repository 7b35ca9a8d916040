"""The spaces of published tables: networks as their papers have them, and which genotypes are the same network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import hwnas.spaces
from devices import Graph
from hwnas.spaces.fbnet import FBNet
from hwnas.spaces.nasbench201 import NasBench201
from hwnas.spaces.nasbench_macro import NasBenchMacro

CIFAR = (3, 32, 32)


def published(name: str) -> pd.DataFrame:
    """A published table, where the folder that holds it is known."""
    folder = os.environ.get("HWNAS_TABLES")
    if not folder:
        pytest.skip("needs HWNAS_TABLES, the folder of the published tables")
    return pd.read_parquet(Path(folder) / name)


def genes_of(table: pd.DataFrame, letter: str, genes: int) -> NDArray[np.int64]:
    return np.asarray(table[[f"{letter}{i}" for i in range(genes)]], np.int64)


def parameters(space: NasBench201 | NasBenchMacro, genotype: NDArray[np.int64]) -> int:
    return sum(p.numel() for p in space.build(genotype).parameters())


def macs(graph: Graph) -> int:
    weighted = [n for n in graph.nodes if n.op in ("Conv", "Gemm")]
    return sum(graph.tensors[n.inputs[1]].size * int(np.prod(graph.tensors[n.outputs[0]].shape[2:])) for n in weighted)


def operators(graph: Graph) -> dict[str, int]:
    names, counts = np.unique([node.op for node in graph.nodes], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def test_nasbench201_has_the_parameters_of_the_paper() -> None:
    space = NasBench201(CIFAR, 10)
    assert parameters(space, space.largest()) == 1_531_546
    assert parameters(space, np.array([4, 2, 1, 2, 1, 1])) == 129_306
    assert operators(space.graph(space.largest()))["Conv"] == 1 + 15 * 6 + 2 * 3 + 1  # the last is a batch norm
    assert operators(space.graph(space.smallest())).get("Add") == 2  # one in each reduction


def test_nasbench_macro_has_the_parameters_and_macs_of_the_paper() -> None:
    space = NasBenchMacro(CIFAR, 10)
    genotype = np.array([0, 2, 0, 1, 2, 1, 0, 0])
    assert parameters(space, genotype) == 890_666
    assert macs(space.graph(genotype)) == 47_327_744


def test_fbnet_follows_the_image_as_the_paper_and_the_tables_do() -> None:
    small, large = FBNet(CIFAR, 100), FBNet((3, 224, 224), 1000)
    shapes = [
        {graph.tensors[n.outputs[0]].shape[1:] for n in graph.nodes if n.op == "Add"}
        for graph in (space.graph(space.largest()) for space in (small, large))
    ]
    assert shapes[0] == {(16, 32, 32), (24, 32, 32), (32, 16, 16), (64, 8, 8), (112, 8, 8), (184, 4, 4)}
    assert shapes[1] == {(16, 112, 112), (24, 56, 56), (32, 28, 28), (64, 14, 14), (112, 14, 14), (184, 7, 7)}
    grouped = small.graph(np.full(22, FBNet.blocks.index("k3_e1_g2")))
    assert {n.attributes["group"] for n in grouped.nodes if n.op == "Conv"} >= {1, 2, 16, 184}
    assert operators(grouped)["Transpose"] == 22


def test_the_published_tables_agree() -> None:
    table = published("nasbench201.parquet")
    space = NasBench201(CIFAR, 10)
    genotypes = genes_of(table, "e", 6)
    for i in np.random.default_rng(0).choice(len(table), 40, replace=False):
        assert parameters(space, genotypes[i]) == round(table.params_m_cifar10[i] * 1e6)
    table = published("nasbench_macro.parquet")
    macro = NasBenchMacro(CIFAR, 10)
    genotypes = genes_of(table, "l", 8)
    for i in np.random.default_rng(0).choice(len(table), 40, replace=False):
        assert parameters(macro, genotypes[i]) == table.params[i]
        assert macs(macro.graph(genotypes[i])) == table.flops[i]


NONE, SKIP, CONV1, CONV3, POOL = range(5)


@pytest.mark.parametrize(
    ("genotype", "canonical"),
    [
        ([CONV3, POOL, CONV1, SKIP, NONE, NONE], [NONE, NONE, NONE, SKIP, NONE, NONE]),  # nothing reads nodes 1 and 2
        ([NONE, CONV3, CONV1, NONE, POOL, SKIP], [NONE, NONE, NONE, CONV3, NONE, NONE]),  # node 1 is zero
        ([SKIP, NONE, CONV3, NONE, NONE, SKIP], [NONE, NONE, NONE, CONV3, NONE, NONE]),
        ([CONV1, NONE, NONE, NONE, CONV3, NONE], [NONE, CONV1, NONE, NONE, NONE, CONV3]),  # nodes 1 and 2 change places
        ([CONV3, CONV3, CONV3, NONE, NONE, NONE], [NONE] * 6),
        ([CONV1, SKIP, CONV3, POOL, CONV3, CONV1], [CONV1, SKIP, CONV3, POOL, CONV3, CONV1]),
    ],
)
def test_cells_of_nasbench201_that_compute_the_same(genotype: list[int], canonical: list[int]) -> None:
    assert NasBench201(CIFAR, 10).canonical(np.array([genotype])).tolist() == [canonical]


def test_an_operation_read_twice_is_not_two_operations() -> None:
    shared = [CONV3, NONE, NONE, NONE, CONV1, NONE], [CONV3, SKIP, CONV1, NONE, SKIP, SKIP]
    two = [CONV3, CONV3, NONE, NONE, CONV1, POOL], [CONV3, NONE, SKIP, NONE, CONV1, POOL]
    space = NasBench201(CIFAR, 10)
    for pair in (shared, two):
        one, other = space.canonical(np.array(pair))
        assert one.tolist() != other.tolist()


def test_the_canonical_cell_computes_what_the_cell_computes() -> None:
    """Cells as linear maps: every convolution multiplies by a number of its own (equal ones can change places), pooling by
    another, so equal results are equal cells."""
    space = NasBench201(CIFAR, 10)
    genotypes = np.array(np.meshgrid(*[range(5)] * 6)).reshape(6, -1).T
    factor = np.array([0, 1, 0.37, 0.73, 0.61])

    def result(genotypes: NDArray[np.int64]) -> NDArray[np.float64]:
        e = factor[genotypes].T
        one = e[0]
        two = e[1] + e[2] * one
        return np.asarray(e[3] + e[4] * one + e[5] * two)

    canonical = space.canonical(genotypes)
    np.testing.assert_allclose(result(canonical), result(genotypes))
    assert np.array_equal(space.canonical(canonical), canonical)
    assert ((canonical > 0).sum(axis=1) <= (genotypes > 0).sum(axis=1)).all()
    assert len(np.unique(canonical, axis=0)) == 5425


def test_what_the_canonical_cell_leaves_out_is_drawn_where_it_is_asked_for() -> None:
    space = NasBench201(CIFAR, 10)
    dead = np.array([NONE, CONV3, CONV1, SKIP, NONE, NONE])
    drawn, canonical = (operators(space.graph(g)) for g in (dead, space.canonical(dead[None])[0]))
    assert drawn["Conv"] - canonical["Conv"] == 15 * 2
    assert drawn["Sub"] == 15  # the 1×1 convolution reads zeros
    assert "Sub" not in canonical


@pytest.mark.parametrize("name", ["nasbench_macro", "fbnet"])
def test_where_a_run_of_layers_passes_its_input_on_does_not_matter(name: str) -> None:
    space = hwnas.spaces.open(name, CIFAR, 10)
    idle = {"nasbench_macro": 0, "fbnet": 8}[name]
    genotypes = space.sample(np.random.default_rng(0), 300)
    shifted = genotypes.copy()
    columns = {"nasbench_macro": [3, 4], "fbnet": [2, 3, 4]}[name]  # a run of equal shapes
    shifted[:, columns] = genotypes[:, columns[::-1]]
    same = (np.sort(shifted[:, columns] == idle) & ((genotypes[:, columns] != idle).sum(axis=1) <= 1)[:, None]).any(1)
    assert same.sum() > 10
    for one, other in zip(genotypes[same], space.canonical(shifted[same]), strict=True):
        assert one.tolist() == other.tolist()
        assert space.graph(one).digest() == space.graph(other).digest()


def test_macro_distinct_networks() -> None:
    space = NasBenchMacro(CIFAR, 10)
    every = np.array(np.meshgrid(*[range(3)] * 8)).reshape(8, -1).T
    assert len(np.unique(space.canonical(every), axis=0)) == 3**3 * 3 * 7 * 7
