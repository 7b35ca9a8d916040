"""What is learnt about patterns: when one is used, and how the kernels that execute it are written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

from predictors.lowering.choice import Choice, features
from predictors.lowering.pattern import Match, Pattern, outline
from predictors.lowering.recipe import Recipe
from predictors.lowering.units import Source
from predictors.lowering.view import View

_ANY_RANK = 2  # a pattern that was used with so many different numbers of axes is used with any


@dataclass(frozen=True)
class KernelRecipe:
    """How to write down one kernel of a unit.

    Attributes:
        kind, layout: of the kernel.
        computes: whether the nodes are computed in it; false for what the runtime inserted.
        operands: for each where it comes from, and its type.
        outputs: types of its results.
        attributes: name and recipe of each.
    """

    kind: str
    layout: str
    computes: bool
    operands: tuple[tuple[Source, Recipe], ...]
    outputs: tuple[Recipe, ...]
    attributes: tuple[tuple[str, Recipe], ...]


@dataclass(frozen=True)
class Variant:
    """One way of executing a pattern: its kernels, and the layouts in which they read what comes from outside."""

    kernels: tuple[KernelRecipe, ...]
    layouts: tuple[str, ...]

    @property
    def reads_many(self) -> bool:
        """Whether it reads any number of tensors, all in the same way."""
        return any(source[0] == "many" for source, _ in self.kernels[0].operands[:1])

    def fits(self, view: View, found: Match) -> bool:
        """Whether it can be written down at this place."""
        if self.kernels[-1].layout != view.layout.get(found.results[0], ""):
            return False
        if self.reads_many:
            return True
        if len(self.layouts) != len(found.outside):
            return False
        axes = len(view.type(found.results[0]).shape)
        return all(recipe[0] != "sizes" or recipe[1] == axes for kernel in self.kernels for recipe in kernel.outputs)


@dataclass(frozen=True)
class Rule:
    """A pattern with what was learnt about it.

    Attributes:
        used: 1 where it is used, 0 where it is not although it occurs.
        ranks: numbers of axes of results with which it was used.
        which: position of the variant.
    """

    pattern: Pattern
    ranks: frozenset[int]
    used: Choice
    which: Choice
    variants: tuple[Variant, ...]

    def fits(self, view: View, found: Match) -> bool:
        """Whether the pattern is executed as one at this place."""
        rank = len(view.type(found.results[0]).shape)
        if len(self.pattern) > 1 and rank not in self.ranks and len(self.ranks) < _ANY_RANK:
            return False
        if not self.used.certain and not self.used.of(features(view, found)):
            return False
        return any(variant.fits(view, found) for variant in self.variants)

    def variant(self, view: View, found: Match) -> Variant:
        """The variant for a place that fits."""
        chosen = self.variants[0 if self.which.certain else self.which.of(features(view, found))]
        if chosen.fits(view, found):
            return chosen
        return next((v for v in self.variants if v.fits(view, found)), chosen)

    def to_json(self) -> list[Any]:
        """As a JSON value; :meth:`from_json` is the inverse."""
        variants = [astuple(variant) for variant in self.variants]
        return [self.pattern, sorted(self.ranks), self.used.to_json(), self.which.to_json(), variants]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        pattern, ranks, used, which, variants = value
        return cls(
            tuples(pattern),
            frozenset(ranks),
            Choice.from_json(used),
            Choice.from_json(which),
            tuple(Variant(tuple(map(recipe_from_json, kernels)), tuples(layouts)) for kernels, layouts in variants),
        )


def recipe_from_json(value: Sequence[Any]) -> KernelRecipe:
    """A recipe from the JSON value of its fields in order."""
    return KernelRecipe(*(tuples(field) for field in value))


def tuples(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    return tuple(map(tuples, value)) if isinstance(value, (list, tuple)) else value


def alone(view: View, i: int) -> Match:
    """The match of a single node."""
    return outline(view, {i}, i)[1]


def unknown(view: View, root: int) -> tuple[Rule, Match]:
    """A node that is a kernel of its own, as the graph has it."""
    pattern, found = outline(view, {root}, root)
    node = view.nodes[root]
    operands: list[tuple[Source, Recipe]] = []
    for name in filter(None, view.inputs(root)):
        i = found.outside.index(name)
        operands.append((("c" if view.fixed(name) else "x", i), ("like", ("own", 0))))
    recipe = KernelRecipe(
        f"{node.domain}:{node.op}" if node.domain else node.op,
        "",
        True,
        tuple(operands),
        (("results",),),
        tuple((name, ("of", 0)) for name in node.attributes),
    )
    layouts = ("",) * len(found.outside)
    return Rule(pattern, frozenset(), Choice.always(1), Choice.always(0), (Variant((recipe,), layouts),)), found
