"""The learned lowering: which kernels a runtime would make of a graph, from what it made of the graphs in a profile.

A profile says of every graph which nodes each kernel computes. From that are learnt

1. which nodes are *removed*, alone or because an equal one is executed;
2. *patterns* of nodes that are executed together, and when a pattern that occurs is used (:mod:`predictors.lowering.choice`);
3. for every pattern its *variants*: kernels, the layouts they read, and recipes for their types and attributes
   (:mod:`predictors.lowering.recipe`), and which of them is used when;
4. the kernels inserted where a tensor is made in one layout and read in another.

A new graph is covered from its outputs backwards with the largest patterns that are used there, then written down forwards. An
operator that the profile has never seen is a kernel of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any, Self, final

from devices import ExecutedKernel, Graph, Profile
from predictors.lowering.choice import Choice, features, layout_features
from predictors.lowering.learning import learn_conversion, learn_doubled, learn_layouts, learn_removed, learn_rules
from predictors.lowering.pattern import Match, matches
from predictors.lowering.rules import KernelRecipe, Rule, alone, recipe_from_json, unknown
from predictors.lowering.units import Conversion, dissect
from predictors.lowering.view import View, equal_nodes, foldable
from predictors.lowering.writing import Writer


@final
class LearnedLowering:
    """Makes kernels of graphs as a runtime would that is not here.

    Attributes:
        folded: for each operator whose operands are all fixed, whether it is removed.
        removed: for each operator that is removed at times, 1 where it is.
        twins: whether only one of equal nodes is executed.
        doubled: operators that are executed once for each reader.
        layouts: for each operator whose results are not always in the graph's layout, position in ``names`` of that layout.
        names: of layouts.
        rules: by the operator that makes the result, the largest patterns first.
        conversions: by layout before and after, and number of axes.
    """

    def __init__(
        self,
        folded: Mapping[str, bool],
        removed: Mapping[str, Choice],
        twins: bool,
        doubled: frozenset[str],
        layouts: Mapping[str, Choice],
        names: Sequence[str],
        rules: Mapping[str, Sequence[Rule]],
        conversions: Mapping[tuple[str, str, int], KernelRecipe],
    ) -> None:
        self.folded = folded
        self.removed = removed
        self.twins = twins
        self.doubled = doubled
        self.layouts = layouts
        self.names = names
        self.rules = rules
        self.conversions = conversions

    @classmethod
    def fit(cls, profile: Profile) -> Self:
        """Learn from the lowerings in a profile."""
        parts = [dissect(graph, profile.lowerings[digest]) for digest, graph in profile.graphs.items()]
        folded, removed = learn_removed(parts)
        doubled = learn_doubled(parts)
        for part in parts:
            part.view.doubled = doubled
        told = [part.twins for part in parts if part.twins is not None]
        conversions: dict[tuple[str, str, int], list[Conversion]] = defaultdict(list)
        for part in parts:
            for conversion in part.conversions:
                axes = len(conversion.tensor.shape)
                conversions[conversion.before, conversion.executed.layout, axes].append(conversion)
        rarest_first = sorted(conversions.items(), key=lambda item: len(item[1]))
        inserted = {key: learn_conversion(found) for key, found in rarest_first}
        padded = {after: recipe.outputs[0] for (before, after, _), recipe in inserted.items() if not before}
        return cls(
            folded,
            removed,
            sum(told) * 2 > len(told),
            doubled,
            *learn_layouts(parts),
            learn_rules(parts, doubled, padded),
            inserted,
        )

    def kernels(self, graph: Graph) -> tuple[ExecutedKernel, ...]:
        """The kernels of a graph in the order of execution; they have no times."""
        view = self._view(graph)
        self._lay_out(view)
        writer = Writer(view, self.conversions)
        for rule, found in reversed(self._cover(view)):
            writer.write(rule, found)
        return writer.finished()

    def _view(self, graph: Graph) -> View:
        fixed, gone = set(graph.constants), set[int]()
        for i, node in enumerate(graph.nodes):
            if foldable(node, fixed) and self.folded.get(node.op, True):
                gone.add(i)
                fixed.update(node.outputs)
        twins = equal_nodes(graph) if self.twins else {}
        view = View(graph, gone, {i: first for i, first in twins.items() if i not in gone})
        aliases = {
            i
            for i in view.left
            if (choice := self.removed.get(graph.nodes[i].op)) and choice.of(features(view, alone(view, i)))
        }
        return (
            View(graph, gone | aliases, {i: first for i, first in twins.items() if i not in gone | aliases})
            if aliases
            else view
        )

    def _lay_out(self, view: View) -> None:
        view.doubled = self.doubled
        for i in view.left:
            choice = self.layouts.get(view.nodes[i].op)
            layout = self.names[choice.of(layout_features(view, alone(view, i)))] if choice else ""
            if layout:
                view.layout |= dict.fromkeys(view.nodes[i].outputs, layout)

    def _cover(self, view: View) -> list[tuple[Rule, Match]]:
        """Units from the last to the first."""
        needed, free = set(view.outputs), set(view.left)
        units = []
        for i in reversed(view.left):
            if needed.isdisjoint(view.nodes[i].outputs):
                continue
            rule, found = self._largest(view, i, free)
            free.difference_update(n for n in found.nodes if view.nodes[n].op not in self.doubled)
            needed.update(found.outside)
            units.append((rule, found))
        return units

    def _largest(self, view: View, root: int, free: set[int]) -> tuple[Rule, Match]:
        for rule in self.rules.get(view.nodes[root].op, ()):
            for found in matches(view, rule.pattern, root, free, self.doubled):
                if rule.fits(view, found):
                    return rule, found
        return unknown(view, root)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :meth:`from_json` is the inverse."""
        return {
            "folded": dict(self.folded),
            "removed": {op: choice.to_json() for op, choice in self.removed.items()},
            "twins": self.twins,
            "doubled": sorted(self.doubled),
            "layouts": {op: choice.to_json() for op, choice in self.layouts.items()},
            "names": list(self.names),
            "rules": {op: [rule.to_json() for rule in rules] for op, rules in self.rules.items()},
            "conversions": [[*key, astuple(recipe)] for key, recipe in self.conversions.items()],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(
            value["folded"],
            {op: Choice.from_json(choice) for op, choice in value["removed"].items()},
            value["twins"],
            frozenset(value["doubled"]),
            {op: Choice.from_json(choice) for op, choice in value["layouts"].items()},
            value["names"],
            {op: [Rule.from_json(rule) for rule in rules] for op, rules in value["rules"].items()},
            {(before, after, axes): recipe_from_json(recipe) for before, after, axes, recipe in value["conversions"]},
        )
