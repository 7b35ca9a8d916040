"""Choices that a runtime makes by what it sees around a pattern: decision trees (Breiman et al. 1984), kept as plain numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from devices import TensorType
from predictors.lowering.pattern import Match
from predictors.lowering.view import View

Features = Mapping[str, float]
_ABSENT = -1.0
_LARGEST = 1e38  # trees take 32-bit floats: values like a minus infinity that is padded with
_FEWEST = 3  # examples for a tree of their own
_MODULI = (4, 16)
_RANK = "r0 rank"
_OF_OTHERS = re.compile(r"\d in | by | for |readers|leaves|value|\.\d$")


Splits = tuple[tuple[str, float, int, int] | tuple[int], ...]
"""Feature, threshold, and which split is next if it is at most that, and if it is more; a leaf has the answer."""


@dataclass(frozen=True)
class Choice:
    """Trees over named features, one for each number of axes of the result; a feature that is absent counts as -1.

    Attributes:
        trees: by number of axes; -1 is the tree of all examples together.
    """

    trees: Mapping[int, Splits]

    @classmethod
    def always(cls, answer: int) -> Self:
        """One that does not depend on anything."""
        return cls({-1: ((answer,),)})

    @classmethod
    def fit(cls, examples: Sequence[Features], answers: Sequence[int], *, by_rank: bool = True) -> Self:
        """Learn which answer belongs to which features; with ``by_rank`` for each number of axes apart."""
        if len(set(answers)) == 1:
            return cls.always(answers[0])
        ranks = np.array([int(example.get(_RANK, -1)) for example in examples])
        trees = {-1: _tree(examples, answers)}
        for rank in set(ranks.tolist()) if by_rank else ():
            of = np.flatnonzero(ranks == rank).tolist()
            if len(of) >= _FEWEST:
                trees[rank] = _tree([examples[i] for i in of], [answers[i] for i in of])
        return cls(trees)

    @property
    def certain(self) -> bool:
        """Whether the answer is always the same."""
        return len(self.trees) == 1 and len(self.trees[-1]) == 1

    def of(self, features: Features) -> int:
        """The answer."""
        splits = self.trees.get(int(features.get(_RANK, -1)), self.trees[-1])
        at = splits[0]
        while len(at) == 4:
            at = splits[at[2] if features.get(at[0], _ABSENT) <= at[1] else at[3]]
        return at[0]

    def to_json(self) -> dict[str, Any]:
        """As a JSON value; :meth:`from_json` is the inverse."""
        return {str(rank): [list(split) for split in splits] for rank, splits in self.trees.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[Sequence[Any]]]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(
            {
                int(rank): tuple((s[0], s[1], s[2], s[3]) if len(s) == 4 else (s[0],) for s in splits)
                for rank, splits in value.items()
            }
        )


def _tree(examples: Sequence[Features], answers: Sequence[int]) -> Splits:
    if len(set(answers)) == 1:
        return ((answers[0],),)
    from sklearn.tree import DecisionTreeClassifier

    names = sorted({name for example in examples for name in example})
    column = {name: i for i, name in enumerate(names)}
    rows = np.full((len(examples), len(names)), _ABSENT)
    for row, example in zip(rows, examples, strict=True):
        row[[column[name] for name in example]] = list(example.values())
    rows = np.clip(np.nan_to_num(rows, nan=_ABSENT), -_LARGEST, _LARGEST)
    with warnings.catch_warnings():  # of few examples most answers may differ, which is no mistake
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        tree = DecisionTreeClassifier(random_state=0, min_impurity_decrease=1e-4).fit(rows, answers).tree_
    classes = sorted(set(answers))
    splits: list[tuple[str, float, int, int] | tuple[int]] = []
    for i in range(tree.node_count):
        left, right = int(tree.children_left[i]), int(tree.children_right[i])
        if left < 0:
            splits.append((classes[int(np.argmax(tree.value[i][0]))],))
        else:
            splits.append((names[tree.feature[i]], float(tree.threshold[i]), left, right))
    return tuple(splits)


def features(view: View, found: Match) -> dict[str, float]:
    """What can decide about a match: operators and layouts around it, attributes, and of sizes what runtimes look at."""
    seen: dict[str, float] = {}
    layouts = set()
    channels = [0]
    for i, name in enumerate(found.outside):
        prefix = f"x{i}"
        kind = _tensor(seen, prefix, view, name)
        maker = view.maker.get(name)
        seen[f"{prefix} by {view.nodes[maker].op if maker is not None else ''}"] = 1.0
        if not view.fixed(name):
            seen[f"{prefix} readers"] = len(view.readers.get(name, ()))
            layout = view.layout.get(name, "")
            seen[f"{prefix} in {layout}"] = 1.0
            layouts.add(layout)
            channels += kind.shape[1:2]
    makers = [view.maker.get(name, -1) for name in found.outside]
    seen["is late"] = float(len(found.nodes) > 1 and found.nodes[1] > max(makers, default=-1))
    seen["doubled"] = float(any(i >= 0 and view.nodes[i].op in view.doubled for i in makers))
    seen |= {f"any in {layout}": 1.0 for layout in layouts}
    seen |= {f"any channels mod {m}": max(size % m for size in channels) for m in _MODULI}
    for i, name in enumerate(found.results):
        _tensor(seen, f"r{i}", view, name)
        seen[f"r{i} leaves"] = float(name in view.outputs)
        seen |= {f"r{i} for {view.nodes[reader].op}": 1.0 for reader in view.readers.get(name, ())}
    for i, at in enumerate(found.nodes):
        node = view.nodes[at]
        seen[f"n{i} in {view.layout.get(node.outputs[0], '')}"] = 1.0
        if node.inputs and node.inputs[0] in found.outside:
            seen[f"n{i} first"] = found.outside.index(node.inputs[0])
        for name, value in node.attributes.items():
            if isinstance(value, str):
                seen[f"n{i} {name}={value}"] = 1.0
            elif isinstance(value, tuple):
                seen |= {f"n{i} {name}.{k}": float(n) for k, n in enumerate(value) if isinstance(n, (int, float))}
            else:
                seen[f"n{i} {name}"] = value
                for x, tensor in enumerate(found.outside):
                    if view.fixed(tensor) and value in view.type(tensor).shape:
                        seen[f"n{i} {name} is x{x}.{view.type(tensor).shape.index(value)}"] = 1.0
    return seen


def _tensor(seen: dict[str, float], prefix: str, view: View, name: str) -> TensorType:
    kind = view.type(name)
    fixed = view.fixed(name)
    seen[f"{prefix} is {kind.dtype}"] = 1.0
    seen[f"{prefix} fixed"] = float(fixed)
    seen[f"{prefix} rank"] = len(kind.shape)
    for axis, size in enumerate(kind.shape[:5]):
        if size == 1:
            seen[f"{prefix}.{axis} is 1"] = 1.0
        if axis == 1 or fixed:
            seen |= {f"{prefix}.{axis} mod {m}": size % m for m in _MODULI}
        if axis < 2:
            seen[f"{prefix}.{axis}"] = size
    value = view.graph.constants.get(name) if fixed else None
    if value is not None and value.size == 1 and value.dtype.kind in "iuf":
        seen[f"{prefix} value"] = float(value.item())
    return kind


def layout_features(view: View, found: Match) -> dict[str, float]:
    """What can decide about the layout of a node's result: the layouts that it reads, its attributes, and whether sizes fit."""
    return {name: value for name, value in features(view, found).items() if not _OF_OTHERS.search(name)}
