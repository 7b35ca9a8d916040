"""How the types and attributes of a kernel follow from the graph: the simplest rule that explains every example."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from devices import Node, TensorType
from devices.kernels import Attribute

Recipe = tuple[Any, ...]
Types = Mapping[tuple[str, int], TensorType]
"""Types of a match: ``("x", i)`` from outside, ``("r", j)`` results, ``("n", k)`` first result of node k, ``("own", 0)``."""

_MOSTLY = 0.9  # of the examples
_BLOCKS = (4, 8, 16, 32)
_MOST = 32  # examples looked at


def learn_type(examples: Sequence[tuple[Types, TensorType]], likely: Recipe | None = None) -> Recipe:
    """The recipe for a type that explains most examples, the simplest of these; ``likely`` first."""
    examples = list({(tuple(t.items()), w): (t, w) for t, w in examples}.values())
    types, wanted = next(((t, w) for t, w in examples if w not in t.values()), examples[0])
    recipes = ([likely] if likely else []) + list(_whole(*examples[0])) + list(_whole(types, wanted))
    scores = [sum(make_type(recipe, t) == w for t, w in examples) for recipe in recipes]
    if scores and max(scores) > _MOSTLY * len(examples):
        return recipes[scores.index(max(scores))]
    total, examples = len(examples), examples[:_MOST]
    dtypes: list[Recipe] = [("as", key) for key, t in types.items() if t.dtype == wanted.dtype]
    dtype = _best(dtypes, ("text", wanted.dtype), [(lambda r, t=t: _dtype(r, t), w.dtype) for t, w in examples])
    ranked = [(t, w) for t, w in examples if len(w.shape) == len(wanted.shape)]
    sizes = [
        _best(_sizes(types, size), ("number", size), [(lambda r, t=t: _size(r, t), w.shape[a]) for t, w in ranked])
        for a, size in enumerate(wanted.shape)
    ]
    detailed = ("sizes", _axes(types), dtype, tuple(sizes))
    explained = sum(make_type(detailed, t) == w for t, w in examples) / len(examples)
    return detailed if explained * total >= max(scores, default=0) else recipes[scores.index(max(scores))]


def make_type(recipe: Recipe, types: Types) -> TensorType | None:
    """What a recipe makes; None if it does not apply here."""
    match recipe:
        case ("like", key):
            return types.get(key)
        case ("padded", key, axis, block):
            of = types.get(key)
            if of is None or len(of.shape) <= axis:
                return None
            shape = list(of.shape)
            shape[axis] = -(-shape[axis] // block) * block
            return TensorType(of.dtype, tuple(shape))
        case ("sizes", axes, dtype, sizes):
            axes_here = _axes(types)
            if axes != axes_here and (len(sizes) >= min(axes, axes_here) or not all(map(_of_any_rank, sizes))):
                return None
            name, made = _dtype(dtype, types), [_size(s, types) for s in sizes]
            if name is None or any(size is None for size in made):
                return None
            return TensorType(name, tuple(size for size in made if size is not None))
    return None


def learn_attribute(name: str, examples: Sequence[tuple[Sequence[Node], Types, Attribute | None]]) -> Recipe:
    """The recipe for an attribute; None stands for one that is not there."""
    examples = examples[:_MOST]
    nodes, types, value = next((e for e in examples if e[2] is not None), examples[0])
    recipes: list[Recipe] = [("of", k) for k, node in enumerate(nodes) if node.attributes.get(name) == value]
    recipes.append(("value", value))
    if isinstance(value, int):
        recipes += _sizes(types, value)
    return _best(
        recipes, ("value", None), [(lambda r, n=n, t=t: make_attribute(name, r, n, t), v) for n, t, v in examples]
    )


def make_attribute(name: str, recipe: Recipe, nodes: Sequence[Node], types: Types) -> Attribute | None:
    """What a recipe makes; None if the attribute is not there."""
    match recipe:
        case ("value", value):
            return value  # type: ignore[no-any-return]
        case ("of", k):
            return nodes[k].attributes.get(name) if k < len(nodes) else None
    return _size(recipe, types)


def _best(recipes: list[Recipe], last: Recipe, examples: Sequence[tuple[Any, Any]]) -> Recipe:
    """The first of the recipes that explain most examples; ``last`` only if it explains more."""
    scores = [sum(make(recipe) == wanted for make, wanted in examples) for recipe in (*recipes, last)]
    return (*recipes, last)[scores.index(max(scores))]


def _whole(types: Types, wanted: TensorType) -> Iterator[Recipe]:
    for key, of in types.items():
        if of == wanted:
            yield ("like", key)
    for key, of in types.items():
        if of.dtype == wanted.dtype and len(of.shape) == len(wanted.shape) > 1:
            for block in _BLOCKS:
                for axis in (1, 0):
                    recipe = ("padded", key, axis, block)
                    if make_type(recipe, types) == wanted:
                        yield recipe


def _sizes(types: Types, size: int) -> list[Recipe]:
    found: list[Recipe] = []
    for key, of in types.items():
        rank = len(of.shape)
        for axis in (*range(min(rank, 1)), *range(-rank, 0), *range(1, rank)):
            found.append(("size", key, axis))
            found += [(kind, key, axis, block) for kind in ("blocks", "blocks or one") for block in _BLOCKS]
            found += [("before", key, axis), ("from", key, axis)]
    order = {"size": 0, "blocks": 1, "blocks or one": 2, "before": 3, "from": 4}
    found.sort(key=lambda r: order[r[0]])
    return [r for r in found if _size(r, types) == size]


def _of_any_rank(size: Recipe) -> bool:
    """Whether a size follows in the same way from tensors of more or fewer axes: from the first one, or counted from behind. That
    is so where axes were joined."""
    return size[0] == "number" or int(size[2]) <= 0


def _size(recipe: Recipe, types: Types) -> int | None:
    if recipe[0] == "number":
        return int(recipe[1])
    of = types.get(recipe[1])
    if of is None or not -len(of.shape) <= recipe[2] < len(of.shape):
        return None
    size = of.shape[recipe[2]]
    match recipe:
        case ("size", _, _):
            return size
        case ("blocks", _, _, block):
            return int(-(-size // block) * block)
        case ("blocks or one", _, _, block):
            return 1 if size == 1 else int(-(-size // block) * block)
        case ("before", _, axis):
            return math.prod(of.shape[:axis])
        case ("from", _, axis):
            return math.prod(of.shape[axis:])
    return None


def own_type(types: Types) -> TensorType:
    """Of the tensor that is asked for, as the graph has it: the one in front."""
    return next(iter(types.values()))


def _axes(types: Types) -> int:
    return len(own_type(types).shape)


def _dtype(recipe: Recipe, types: Types) -> str | None:
    if recipe[0] == "text":
        return str(recipe[1])
    of = types.get(recipe[1])
    return of.dtype if of is not None else None
