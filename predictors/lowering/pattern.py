"""Patterns: small graphs of operators that a runtime executes as one unit, and where they occur."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from predictors.lowering.view import View

Operand = tuple[Any, ...]
"""``()`` missing · ``("n", node of the pattern, its result)`` · ``("x", tensor from outside, is it fixed)`` · ``("many",)``"""
Entry = tuple[str, str, tuple[Operand, ...], bool]
"""Domain, operator, operands, whether its results are seen outside."""
Pattern = tuple[Entry, ...]
"""The node with the unit's result first, then those that make its operands, breadth first."""

_COMMUTATIVE = frozenset({"Add", "And", "Max", "Mean", "Min", "Mul", "Or", "Sum", "Xor"})
_VARIADIC = frozenset(
    {"Concat", "Max", "Mean", "Min", "Sum"}
)  # any number of operands of one sort, by the ONNX standard


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern at one place.

    Attributes:
        nodes: positions of the graph's nodes, in the order of the pattern.
        outside: tensors that it reads.
        results: tensors of its first node.
    """

    nodes: tuple[int, ...]
    outside: tuple[str, ...]
    results: tuple[str, ...]


def outline(view: View, nodes: Collection[int], root: int) -> tuple[Pattern, Match]:
    """The pattern of ``root`` and those of ``nodes`` that it is made of."""
    order, outside, entries = [root], list[str](), list[Entry]()
    for i in order:  # grows
        node = view.nodes[i]
        operands: list[Operand] = []
        names = view.inputs(i)
        if i == root and _many(view, i, names, nodes):
            operands.append(("many",))
            outside += names
            names = []
        if node.op in _COMMUTATIVE:
            names.sort(key=lambda name: _order(view, name, nodes))
        for name in names:
            maker = view.maker.get(name) if name else None
            if not name:
                operands.append(())
            elif maker is not None and maker in nodes:
                if maker not in order:
                    order.append(maker)
                operands.append(("n", order.index(maker), view.nodes[maker].outputs.index(name)))
            else:
                if name not in outside:
                    outside.append(name)
                operands.append(("x", outside.index(name), view.fixed(name)))
        entries.append((node.domain, node.op, tuple(operands), i == root or _seen(view, i, nodes)))
    return tuple(entries), Match(tuple(order), tuple(outside), _results(view, root))


def matches(
    view: View, pattern: Pattern, root: int, free: Collection[int], doubled: Collection[str]
) -> Iterator[Match]:
    """Where the pattern lies if its first node is ``root``: in several ways if operands of commutative nodes can change places.

    Args:
        view: the graph.
        pattern: what to look for.
        root: position of the node with the unit's result.
        free: positions of the nodes that are in no unit yet.
        doubled: operators that the runtime executes once for each reader, so that others may read them too.
    """
    for order, outside in _matched(view, pattern, (root,), (), 0, free, doubled):
        if any(view.maker.get(name) in order for name in outside):
            continue
        hidden = (i for i, (_, op, _, seen) in zip(order, pattern, strict=True) if not seen and op not in doubled)
        if not any(_seen(view, i, order) for i in hidden):
            yield Match(order, outside, _results(view, root))


def _matched(
    view: View,
    pattern: Pattern,
    order: tuple[int, ...],
    outside: tuple[str, ...],
    k: int,
    free: Collection[int],
    doubled: Collection[str],
) -> Iterator[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Nodes, and tensors from outside, of the pattern from its node ``k`` on."""
    if k == len(pattern):
        yield order, outside
        return
    domain, op, operands, _ = pattern[k]
    node = view.nodes[order[k]]
    if node.op != op or node.domain != domain:
        return
    names = view.inputs(order[k])
    if operands == (("many",),):
        if _many(view, order[k], names, ()):
            yield from _matched(view, pattern, order, (*outside, *names), k + 1, free, doubled)
        return
    if len(names) != len(operands):
        return
    swapped = op in _COMMUTATIVE and len(names) == 2
    for tried in (names, names[::-1]) if swapped else (names,):
        bound = _bound(view, tried, operands, order, outside, free, doubled)
        if bound is not None:
            yield from _matched(view, pattern, *bound, k + 1, free, doubled)


def _bound(
    view: View,
    names: list[str],
    operands: tuple[Operand, ...],
    order: tuple[int, ...],
    outside: tuple[str, ...],
    free: Collection[int],
    doubled: Collection[str],
) -> tuple[tuple[int, ...], tuple[str, ...]] | None:
    """With the operands of one node; None if they do not fit."""
    for name, operand in zip(names, operands, strict=True):
        if not operand or not name:
            if operand or name:
                return None
        elif operand[0] == "n":
            maker = view.maker.get(name)
            if maker is None or view.nodes[maker].outputs.index(name) != operand[2]:
                return None
            if operand[1] == len(order):
                if maker in order or (maker not in free and view.nodes[maker].op not in doubled):
                    return None
                order = (*order, maker)
            elif operand[1] > len(order) or order[operand[1]] != maker:
                return None
        else:
            if view.fixed(name) != operand[2]:
                return None
            if operand[1] == len(outside):
                if name in outside:
                    return None
                outside = (*outside, name)
            elif operand[1] > len(outside) or outside[operand[1]] != name:
                return None
    return order, outside


def _order(view: View, name: str, inside: Collection[int]) -> tuple[int, str]:
    """A key that brings two operands into an order that does not depend on how they are written down."""
    maker = view.maker.get(name)
    if maker is not None and maker in inside:
        return 0, view.nodes[maker].op
    return 1 + view.fixed(name), ""


def _many(view: View, i: int, names: list[str], inside: Collection[int]) -> bool:
    """Whether a node reads several tensors that differ in nothing but their number."""
    return (
        view.nodes[i].op in _VARIADIC
        and len(names) > 1
        and not any(view.fixed(name) or view.maker.get(name) in inside for name in names)
    )


def _seen(view: View, i: int, inside: Collection[int]) -> bool:
    return any(
        name in view.outputs or any(reader not in inside for reader in view.readers.get(name, ()))
        for name in view.nodes[i].outputs
        if name
    )


def _results(view: View, root: int) -> tuple[str, ...]:
    return tuple(name for name in view.nodes[root].outputs if name)
