"""Selection, crossover and mutation do what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import spaces
from hwnas.searchers._operators import CROSSOVERS, cross, mutate_each, mutate_one, select

SPACE = spaces.open("mobile", (1, 8, 8), 10)


def chances(fitness: list[float], kind: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    drawn = select(np.random.default_rng(0), np.array(fitness), 40_000, kind)
    return np.asarray(np.bincount(drawn, minlength=len(fitness)) / len(drawn))


def test_selection_prefers_the_fit_each_in_its_way() -> None:
    fitness = [1.0, 2.0, 5.0, 2.5]
    np.testing.assert_allclose(chances(fitness, "roulette"), np.array([0, 1, 4, 1.5]) / 6.5, atol=0.01)
    np.testing.assert_allclose(chances(fitness, "rank"), np.array([0, 1, 3, 2]) / 6, atol=0.01)
    np.testing.assert_allclose(chances(fitness, "tournament"), np.array([1, 3, 7, 5]) / 16, atol=0.01)
    np.testing.assert_allclose(chances([3.0, 3.0], "roulette"), [0.5, 0.5], atol=0.01)


def test_children_have_the_genes_of_their_parents() -> None:
    rng = np.random.default_rng(0)
    first, second = np.zeros((500, 9), np.int64), np.ones((500, 9), np.int64)
    for kind in CROSSOVERS:
        children = cross(rng, first, second, kind)
        assert set(np.unique(children)) == {0, 1}
        assert 0.4 < children.mean() < 0.6
    changes = np.abs(np.diff(cross(rng, first, second, "one_point"), axis=1)).sum(axis=1)
    assert (changes == 1).all(), "from one parent up to a place, from the other after it"


def test_mutation_changes_one_gene_or_each_at_its_rate() -> None:
    rng = np.random.default_rng(0)
    parents = SPACE.sample(rng, 400)
    assert ((mutate_one(SPACE, rng, parents) != parents).sum(axis=1) == 1).all()
    free = np.array([len(gene.options) > 1 for gene in SPACE.genes])
    changed = mutate_each(SPACE, rng, parents, 0.25) != parents
    assert changed[:, free].mean() == pytest.approx(0.25, abs=0.02)
    SPACE.canonical(mutate_each(SPACE, rng, parents, 1.0))
