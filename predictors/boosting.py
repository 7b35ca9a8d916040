"""Boosted trees: fitted by XGBoost and kept as its own JSON, which is checked before XGBoost reads it, for XGBoost trusts it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float64]


def boosted(
    features: Floats, target: Floats, weight: Floats, *, trees: Mapping[str, float], rounds: int, seed: int
) -> xgboost.Booster:
    """Trees fitted to ``target`` ``(m,)``, errors weighted by ``weight`` ``(m,)``. One thread: they come out the same."""
    import xgboost

    fixed = {"objective": "reg:squarederror", "tree_method": "hist", "nthread": 1, "seed": seed, "base_score": 0.0}
    return xgboost.train({**trees, **fixed}, xgboost.DMatrix(features, target, weight=weight / weight.mean()), rounds)


def trees_to_json(booster: xgboost.Booster) -> dict[str, Any]:
    """XGBoost's own JSON; :func:`trees_from_json` is the inverse."""
    value: dict[str, Any] = json.loads(booster.save_raw("json"))
    return value


def trees_from_json(value: Mapping[str, Any]) -> xgboost.Booster:
    """Trees of numbers from XGBoost's own JSON.

    Raises:
        KeyError, TypeError, ValueError: it is not that of such trees.
    """
    import xgboost

    _check(value["learner"])
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(json.dumps(value).encode()))
    return booster


def _check(learner: Mapping[str, Any]) -> None:
    """Indices that XGBoost would follow out of its memory, or around for ever, do not get that far."""
    model, features = learner["gradient_booster"]["model"], int(learner["learner_model_param"]["num_feature"])
    trees = model["trees"]
    count = len(trees)
    _require(
        int(model["gbtree_model_param"]["num_trees"]) == count,
        int(model["gbtree_model_param"]["num_parallel_tree"]) == 1,
        model["tree_info"] == [0] * count,
        model["iteration_indptr"] == list(range(count + 1)),
    )
    for number, tree in enumerate(trees):
        left, right, split, parents = (
            np.array(tree[name], np.int64) for name in ("left_children", "right_children", "split_indices", "parents")
        )
        nodes = np.arange(len(left))
        inner = left != -1
        _require(
            tree["id"] == number,
            len(nodes) > 0,
            {len(values) for name, values in tree.items() if name in _PER_NODE} == {len(nodes)},
            not any(tree[name] for name in _CATEGORIES),
            not any(tree["split_type"]),
            int(tree["tree_param"]["num_nodes"]) == len(nodes),
            int(tree["tree_param"]["num_feature"]) == features,
            int(tree["tree_param"]["size_leaf_vector"]) in (0, 1),
            np.array_equal(inner, right != -1),
            np.all((nodes < left) & (left < len(nodes)) & (nodes < right) & (right < len(nodes)), where=inner),
            np.all((split >= 0) & (split < features)),
        )
        _require(
            np.array_equal(parents[left[inner]], nodes[inner]),
            np.array_equal(parents[right[inner]], nodes[inner]),
        )


_PER_NODE = (
    "base_weights", "default_left", "left_children", "loss_changes", "parents", "right_children", "split_conditions",
    "split_indices", "split_type", "sum_hessian",
)  # fmt: skip
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def _require(*true: object) -> None:
    if not all(true):
        raise ValueError("trees that XGBoost did not write")
