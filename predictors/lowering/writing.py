"""Writing down the kernels of a graph by rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from devices import ExecutedKernel, Kernel, Operand, TensorType
from predictors.lowering.pattern import Match
from predictors.lowering.recipe import Recipe, Types, make_attribute, make_type, own_type
from predictors.lowering.rules import KernelRecipe, Rule
from predictors.lowering.units import Source
from predictors.lowering.view import View

_LARGER = 32  # times: padding and windows do not make more of a tensor


def types_of(view: View, found: Match) -> Types:
    """Types of the tensors of a match."""
    types = {("x", i): view.type(name) for i, name in enumerate(found.outside)}
    types |= {("r", i): view.type(name) for i, name in enumerate(found.results)}
    return types | {("n", k): view.type(view.nodes[at].outputs[0]) for k, at in enumerate(found.nodes) if k}


def owning(view: View, found: Match, source: Source, types: Types) -> Types:
    """With the type of the tensor that an operand stands for in front. Constants alone decide what constants are like."""
    if source[0] == "c":
        fixed = {("x", i): types["x", i] for i, name in enumerate(found.outside) if view.fixed(name)}
        types = fixed or types
    match source:
        case ("x" | "c", i) if i >= 0:
            return {("own", 0): view.type(found.outside[i]), **types}
        case ("many", _):
            return {("own", 0): view.type(found.outside[0]), **types}
    return types


def _likely(recipe: Recipe, types: Types) -> TensorType | None:
    """What a recipe makes; None where it does not apply, and where that is far larger than the tensor that it stands for: then
    the recipe was a coincidence of sizes."""
    made, own = make_type(recipe, types), types.get(("own", 0))
    return None if made is not None and own is not None and made.size > _LARGER * own.size else made


@final
class Writer:
    """Writes kernels down in the order of execution."""

    def __init__(self, view: View, conversions: Mapping[tuple[str, str, int], KernelRecipe]) -> None:
        self._view = view
        self._conversions = conversions
        self._kernels: list[tuple[Kernel, tuple[str, ...], tuple[int, ...], str]] = []
        self._made: dict[tuple[str, str], int] = {}  # (tensor, layout) to kernel
        self._layout: dict[str, str] = {}  # in which a tensor was made

    def write(self, rule: Rule, found: Match) -> None:
        """The kernels of one unit, and what has to come before them."""
        variant = rule.variant(self._view, found)
        layouts = variant.layouts * len(found.outside) if variant.reads_many else variant.layouts
        read = [self._in_layout(name, layout) for name, layout in zip(found.outside, layouts, strict=True)]
        types, nodes = types_of(self._view, found), [self._view.nodes[n] for n in found.nodes]
        start = len(self._kernels)
        names = tuple(node.name for node in sorted(nodes, key=lambda n: self._view.position[n.name]))
        for recipe in variant.kernels:
            inputs: list[Operand] = []
            reads: list[int] = []
            for source, of_type in recipe.operands:
                for i in range(len(found.outside)) if source[0] == "many" else (source[1],):
                    own = ("x", i) if source[0] == "many" else source
                    of_own = owning(self._view, found, own, types)
                    made = make_type(of_type, of_own) if source[0] == "c" else _likely(of_type, of_own)
                    if own[0] == "k":
                        before = self._kernels[start + own[1]][0].outputs[0]
                        made = made if made is not None and made.size == before.size else before
                    inputs.append(Operand(made or self._view.type(found.results[0]), source[0] == "c"))
                    if own[0] != "c":
                        reads.append(start + i if own[0] == "k" else read[i])
            outputs = [self._view.type(name) for name in found.results]
            if recipe.outputs != (("results",),):
                owned = [
                    {("own", 0): types["r", o], **types} if ("r", o) in types else types
                    for o in range(len(recipe.outputs))
                ]
                outputs = [_likely(r, t) or own_type(t) for r, t in zip(recipe.outputs, owned, strict=True)]
            attributes = ((name, make_attribute(name, r, nodes, types)) for name, r in recipe.attributes)
            kernel = Kernel(
                recipe.kind,
                tuple(inputs),
                tuple(outputs),
                tuple((name, value) for name, value in attributes if value is not None),
            )
            self._kernels.append((kernel, names if recipe.computes else (), tuple(reads), recipe.layout))
        for at in found.nodes:
            for name in self._view.nodes[at].outputs:
                self._made[name, variant.kernels[-1].layout] = len(self._kernels) - 1
                self._layout[name] = variant.kernels[-1].layout

    def finished(self) -> tuple[ExecutedKernel, ...]:
        """All kernels; network outputs lie as the graph says."""
        leaving = {self._in_layout(name, "") for name in self._view.graph.outputs}
        return tuple(
            ExecutedKernel(kernel, nodes, reads, k in leaving, None, layout)
            for k, (kernel, nodes, reads, layout) in enumerate(self._kernels)
        )

    def _in_layout(self, name: str, layout: str) -> int:
        """The kernel that makes a tensor in a layout; one that converts it is inserted where needed."""
        name = self._view.resolved(name)
        before = self._layout.get(name)
        if before is None:
            before = ""
        made = self._made.get((name, layout), -1)
        if made >= 0 or before == layout or self._view.fixed(name):
            return made
        recipe = self._conversions.get((before, layout, len(self._view.type(name).shape)))
        if recipe is None:
            return self._made.get((name, before), -1)
        types: Types = {("own", 0): self._view.type(name)}
        ((_, of_operand),) = recipe.operands
        kernel = Kernel(
            recipe.kind,
            (Operand(make_type(of_operand, types) or self._view.type(name)),),
            (make_type(recipe.outputs[0], types) or self._view.type(name),),
            tuple((n, v) for n, r in recipe.attributes if (v := make_attribute(n, r, (), types)) is not None),
        )
        self._kernels.append((kernel, (), (self._made.get((name, before), -1),), layout))
        self._made[name, layout] = len(self._kernels) - 1
        return len(self._kernels) - 1
