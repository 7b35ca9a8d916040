"""Learning rules from the lowerings in a profile."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from devices import Kernel
from predictors.lowering.choice import Choice, features, layout_features
from predictors.lowering.pattern import Match, Pattern, matches
from predictors.lowering.recipe import Recipe, Types, learn_attribute, learn_type
from predictors.lowering.rules import KernelRecipe, Rule, Variant, alone
from predictors.lowering.units import Conversion, Dissection, Source, Unit
from predictors.lowering.view import View, foldable
from predictors.lowering.writing import owning, types_of


def learn_removed(parts: Sequence[Dissection]) -> tuple[dict[str, bool], dict[str, Choice]]:
    """Which operators are folded into constants where all operands are fixed, and when others are removed."""
    folds: dict[str, Counter[bool]] = defaultdict(Counter)
    examples: dict[str, list[tuple[dict[str, float], int]]] = defaultdict(list)
    for part in parts:
        graph = part.view.graph
        fixed = set(graph.constants)
        gone = set()
        for i, node in enumerate(graph.nodes):
            if foldable(node, fixed):
                folds[node.op][i in part.removed] += 1
                if i in part.removed:
                    fixed.update(node.outputs)
                    gone.add(i)
        view = View(graph, gone, {})
        for i in view.left:
            examples[graph.nodes[i].op].append((features(view, alone(view, i)), int(i in part.removed)))
    folded = {op: seen[True] >= seen[False] for op, seen in folds.items()}
    removed = {
        op: Choice.fit(*zip(*found, strict=True)) for op, found in examples.items() if any(gone for _, gone in found)
    }
    return folded, removed


def learn_doubled(parts: Sequence[Dissection]) -> frozenset[str]:
    """Operators with several readers that are mostly executed once for each."""
    seen: dict[str, Counter[bool]] = defaultdict(Counter)
    for part in parts:
        for i in part.view.left:
            node = part.view.nodes[i]
            if len(part.view.readers.get(node.outputs[0], ())) > 1:
                seen[node.op][i in part.doubled] += 1
    return frozenset(op for op, count in seen.items() if count[True] > count[False])


def learn_layouts(parts: Sequence[Dissection]) -> tuple[dict[str, Choice], list[str]]:
    """When operators have their results in another layout than the graph's; the answers are positions in the list of layouts."""
    names = sorted({layout for part in parts for layout in part.view.layout.values()} | {""})
    examples: dict[str, list[tuple[dict[str, float], int]]] = defaultdict(list)
    for part in parts:
        truth, part.view.layout = part.view.layout, {}
        for i in part.view.left:
            node = part.view.nodes[i]
            layout = truth.get(node.outputs[0], "")
            examples[node.op].append((layout_features(part.view, alone(part.view, i)), names.index(layout)))
            part.view.layout[node.outputs[0]] = layout
        part.view.layout = truth
    plain = names.index("")
    return {
        op: Choice.fit(*zip(*found, strict=True)) for op, found in examples.items() if any(n != plain for _, n in found)
    }, names


def learn_rules(
    parts: Sequence[Dissection], doubled: frozenset[str], padded: Mapping[str, Recipe]
) -> dict[str, list[Rule]]:
    """Rules by the operator that makes the result, in the order of trial. ``padded``: recipes of types, by layout."""
    units: dict[Pattern, list[tuple[View, Unit]]] = defaultdict(list)
    for part in parts:
        for unit in part.units.values():
            units[unit.pattern].append((part.view, unit))
    by_root: dict[str, list[Pattern]] = defaultdict(list)
    for pattern in sorted(units, key=lambda p: (-len(p), -len(units[p]))):
        by_root[pattern[0][1]].append(pattern)
    used: dict[Pattern, list[tuple[View, Match, int]]] = defaultdict(list)
    for part in parts:
        free = set(part.view.left)
        for root in sorted(part.units, reverse=True):
            truth = part.units[root]
            for pattern in by_root[part.view.nodes[root].op]:
                for found in matches(part.view, pattern, root, free, doubled):
                    right = set(found.nodes) == set(truth.match.nodes)
                    used[pattern].append((part.view, found, int(right)))
                if pattern == truth.pattern:
                    used[pattern].append((part.view, truth.match, 1))
                    break
            free.difference_update(n for n in truth.match.nodes if part.view.nodes[n].op not in doubled)
    kin: dict[Pattern, list[tuple[View, Unit]]] = defaultdict(list)
    for pattern, examples in units.items():
        kin[_but_root(pattern)] += examples
    return {
        op: [
            _learn_rule(pattern, units[pattern], kin[_but_root(pattern)], used[pattern], padded) for pattern in patterns
        ]
        for op, patterns in by_root.items()
    }


def _but_root(pattern: Pattern) -> Pattern:
    """Without the name of the operator at the end, if that only changes what the others make: activations that are fused are so
    in the same way."""
    domain, _, operands, seen = pattern[0]
    return ((domain, "", operands, seen), *pattern[1:]) if operands == (("n", 1, 0),) else pattern


def _learn_rule(
    pattern: Pattern,
    found: Sequence[tuple[View, Unit]],
    kin: Sequence[tuple[View, Unit]],
    used: Sequence[tuple[View, Match, int]],
    padded: Mapping[str, Recipe],
) -> Rule:
    """``kin``: units of this pattern and of those that end in another operator. How they are executed where this pattern was
    never seen is how it is there, but for what its own kernels are told."""
    alike = _alike(found)
    variants = sorted(alike, key=lambda key: -len(alike[key]))
    learnt = [_learn_variant(alike[key], padded) for key in variants]
    own = len(learnt)
    for key, examples in _alike(kin).items():
        if key not in alike:
            adopted = _told_alike(_learn_variant(examples, padded), learnt)
            if adopted is not None:
                alike[key] = examples
                variants.append(key)
                learnt.append(adopted)
    if len(learnt) > own:  # what tells them apart is seen where all occur
        alike |= {key: examples for key, examples in _alike(kin).items() if key in alike}
    number = {key: i for i, key in enumerate(variants)}
    choices = [(view, unit.match, number[key]) for key, of in alike.items() for view, unit in of]
    return Rule(
        pattern,
        frozenset(len(view.type(unit.match.results[0]).shape) for view, unit in found),
        _learn_choice(used),
        _learn_choice(choices, by_rank=False),
        tuple(learnt),
    )


def _alike(found: Sequence[tuple[View, Unit]]) -> dict[tuple[Any, ...], list[tuple[View, Unit]]]:
    """Units by what sets variants apart. Kernels that work on tensors in other shapes than the graph's have other rules for other
    numbers of axes."""
    alike: dict[tuple[Any, ...], list[tuple[View, Unit]]] = defaultdict(list)
    for view, unit in found:
        kernels = tuple((k.kernel.kind, k.layout, _flat(k.kernel)) for k in unit.kernels)
        known = {t.shape for t in types_of(view, unit.match).values()}
        shapes = {s for k in unit.kernels for s in _shapes(k.kernel)}
        axes = 0 if shapes <= known else len(view.type(unit.match.results[0]).shape)
        alike[kernels, unit.sources, unit.layouts, axes].append((view, unit))
    return alike


def _shapes(kernel: Kernel) -> Iterator[tuple[int, ...]]:
    """Of what is computed."""
    yield from (o.type.shape for o in kernel.inputs if not o.constant)
    yield from (t.shape for t in kernel.outputs)


def _told_alike(variant: Variant, own: Sequence[Variant]) -> Variant | None:
    """``variant``, of another operator, with the fixed attributes that kernels of those kinds have in ``own``; None if those
    have no such kernels."""
    kinds = [kernel.kind for kernel in variant.kernels]
    like = next((v for v in own if [kernel.kind for kernel in v.kernels] == kinds), None)
    if like is None:
        return None
    kernels = []
    for kernel, model in zip(variant.kernels, like.kernels, strict=True):
        learnt = dict(kernel.attributes)
        told = [
            (name, recipe if recipe[0] == "value" else learnt.get(name, recipe)) for name, recipe in model.attributes
        ]
        kernels.append(replace(kernel, attributes=tuple(told)))
    return replace(variant, kernels=tuple(kernels))


def _flat(kernel: Kernel) -> tuple[tuple[bool, ...], ...]:
    """Which axes of the constants have but one element: with them the constants' layouts differ."""
    return tuple(
        tuple(size == 1 for size in o.type.shape) for o in kernel.inputs if o.constant and len(o.type.shape) > 1
    )


def _learn_choice(found: Sequence[tuple[View, Match, int]], *, by_rank: bool = True) -> Choice:
    answers = [answer for *_, answer in found]
    if len(set(answers)) == 1:
        return Choice.always(answers[0])
    return Choice.fit([features(view, match) for view, match, _ in found], answers, by_rank=by_rank)


def _learn_variant(found: Sequence[tuple[View, Unit]], padded: Mapping[str, Recipe]) -> Variant:
    first = found[0][1]
    kernels = []
    for j, (executed, sources) in enumerate(zip(first.kernels, first.sources, strict=True)):
        examples = [(view, unit, unit.kernels[j].kernel, types_of(view, unit.match)) for view, unit in found]
        width = len(executed.kernel.inputs)
        operands: list[tuple[Source, Recipe]] = []
        for at, source in enumerate(sources):
            same = [
                (view, unit, k, t) for view, unit, k, t in examples if len(k.inputs) == width or source[0] == "many"
            ]
            typed = [
                (owning(view, unit.match, source, types), kernel.inputs[at].type) for view, unit, kernel, types in same
            ]
            layout = first.layouts[source[1]] if source[0] in ("x", "many") else ""
            operands.append((source, learn_type(typed, padded.get(layout))))
        count = len(executed.kernel.outputs)
        outputs = tuple(
            learn_type(
                [
                    ({("own", 0): t["r", o], **t} if ("r", o) in t else t, k.outputs[o])
                    for _, _, k, t in examples
                    if len(k.outputs) == count
                ],
                padded.get(executed.layout),
            )
            for o in range(count)
        )
        if all(recipe in (("like", ("own", 0)), ("like", ("r", o))) for o, recipe in enumerate(outputs)):
            outputs = (("results",),)
        names = sorted({name for _, _, k, _ in examples for name, _ in k.attributes})
        attributes = [
            (
                name,
                learn_attribute(
                    name, [([v.nodes[n] for n in u.match.nodes], t, k.attribute(name)) for v, u, k, t in examples]
                ),
            )
            for name in names
        ]
        kernels.append(
            KernelRecipe(
                executed.kernel.kind, executed.layout, bool(executed.nodes), tuple(operands), outputs, tuple(attributes)
            )
        )
    return Variant(tuple(kernels), first.layouts)


def learn_conversion(found: Sequence[Conversion]) -> KernelRecipe:
    """How a kernel that changes a layout is written down."""
    first = found[0].executed
    types: list[Types] = [{("own", 0): c.tensor} for c in found]
    kernels = [c.executed.kernel for c in found]
    names = sorted({name for k in kernels for name, _ in k.attributes})
    return KernelRecipe(
        first.kernel.kind,
        first.layout,
        False,
        ((("x", 0), learn_type([(t, k.inputs[0].type) for t, k in zip(types, kernels, strict=True)])),),
        (learn_type([(t, k.outputs[0]) for t, k in zip(types, kernels, strict=True)]),),
        tuple(
            (name, learn_attribute(name, [((), t, k.attribute(name)) for t, k in zip(types, kernels, strict=True)]))
            for name in names
        ),
    )
