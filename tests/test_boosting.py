"""Trees in a file are checked before XGBoost reads them: it would crash on some."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from predictors.boosting import boosted, trees_from_json, trees_to_json

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def data() -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 5))
    return features, features[:, 0] * features[:, 1] + np.sin(features[:, 2])


@pytest.fixture(scope="module")
def written(data: tuple[Floats, Floats]) -> dict[str, Any]:
    features, target = data
    trees = {"max_depth": 5, "eta": 0.1, "subsample": 0.8, "gamma": 0.05}
    return trees_to_json(boosted(features, target, np.ones(400), trees=trees, rounds=20, seed=0))


def test_trees_come_back_as_they_were(data: tuple[Floats, Floats], written: dict[str, Any]) -> None:
    features, target = data
    read = trees_from_json(written)
    assert trees_to_json(read)["learner"]["gradient_booster"] == written["learner"]["gradient_booster"]
    assert np.corrcoef(read.inplace_predict(features), target)[0, 1] > 0.8


def every_child(to: Callable[[int], int]) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        tree["left_children"] = [to(child) if child >= 0 else child for child in tree["left_children"]]

    return change


@pytest.mark.parametrize(
    "change",
    [
        every_child(lambda child: 10**8),
        every_child(lambda child: 0),
        every_child(lambda child: -7),
        lambda tree: tree.update(split_indices=[10**6] * len(tree["split_indices"])),
        lambda tree: tree.update(split_indices=tree["split_indices"][:-1]),
        lambda tree: tree.update(split_conditions=[]),
        lambda tree: tree.update(left_children="x"),
        lambda tree: tree.update(split_type=[1] * len(tree["split_type"])),
        lambda tree: tree.pop("parents"),
        lambda tree: tree["tree_param"].update(num_nodes="1000000"),
        lambda tree: tree["tree_param"].update(size_leaf_vector="8"),
    ],
)
def test_trees_that_xgboost_would_follow_out_of_its_memory_are_refused(
    written: dict[str, Any], change: Callable[[dict[str, Any]], None]
) -> None:
    value = deepcopy(written)
    change(value["learner"]["gradient_booster"]["model"]["trees"][0])
    with pytest.raises((KeyError, TypeError, ValueError)):
        trees_from_json(value)


def test_a_model_that_is_not_of_its_trees_is_refused(written: dict[str, Any]) -> None:
    for key, wrong in (("num_trees", "99"), ("num_parallel_tree", "3")):
        value = deepcopy(written)
        value["learner"]["gradient_booster"]["model"]["gbtree_model_param"][key] = wrong
        with pytest.raises(ValueError, match="XGBoost did not write"):
            trees_from_json(value)
    with pytest.raises(KeyError):
        trees_from_json({})
