"""The network that a search chose, measured on the device before it is trained: latency and memory do not depend on weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

import profilers
from devices.events import Note, OnEvent, ignore
from hwnas.candidates import Candidates
from hwnas.costs import CostModel, Costs
from hwnas.errors import InfeasibleBudget
from hwnas.problem import Problem
from hwnas.search import AccuracyModel, search
from hwnas.worst_case import worst

if TYPE_CHECKING:
    from devices import Device, Profile
    from devices.journal import Journal
    from hwnas.config import SearchSection
    from hwnas.space import Genotypes, SearchSpace
    from hwnas.targets import Target

MEASURED = 3
"""How many candidates a run measures at most."""


@dataclass(frozen=True)
class Finalist:
    """A chosen network with what the device says of it.

    Attributes:
        genotype: ``(G,)``.
        accuracy: as the search saw it.
        predicted, measured: costs by the names of :class:`hwnas.costs.Costs`.
        excess: largest relative excess of the measured costs over the budget; 0 if it keeps it.
        on: of every device its ``device``, ``budget``, what was ``measured`` there, and ``within_budget``. With several devices
            the figures above are those where the network is worst off, as :class:`hwnas.worst_case.WorstCase` has them.
    """

    genotype: NDArray[np.int64]
    accuracy: float
    predicted: Mapping[str, float]
    measured: Mapping[str, float]
    excess: float
    on: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; :func:`from_json` is the inverse."""
        return asdict(self) | {"genotype": self.genotype.tolist(), "on": list(self.on)}


def from_json(value: Mapping[str, Any]) -> Finalist:
    """Inverse of :meth:`Finalist.to_json`; other keys are ignored."""
    genotype = np.array(value["genotype"], np.int64)
    on = tuple(value["on"])
    return Finalist(genotype, value["accuracy"], value["predicted"], value["measured"], value["excess"], on)


@dataclass(frozen=True)
class Correction:
    """Factors by which predicted costs are scaled after a measurement; never below 1."""

    latency: float
    memory: float
    model: float

    def applied(self, costs: Costs) -> Costs:
        """The costs, scaled."""
        return Costs(
            costs.latency_ms * self.latency,
            costs.p50_ms * self.latency,
            costs.upper_ms * self.latency,
            costs.memory_bytes * self.memory,
            costs.model_bytes * self.model,
        )


def corrections(measured: Sequence[Mapping[str, Any]]) -> list[Correction]:
    """What the journal's ``measured`` units corrected, in their order: the measured network then costs what was measured."""
    made = []
    for unit in measured:
        if unit["excess"] > 0:
            factor = {name: max(1.0, value / unit["predicted"][name]) for name, value in unit["measured"].items()}
            made.append(Correction(factor["upper_ms"], factor["memory_bytes"], factor["model_bytes"]))
    return made


@final
@dataclass(frozen=True)
class CorrectedCosts:
    """A cost model with a correction."""

    model: CostModel
    correction: Correction
    source: ClassVar[str] = "predicted, corrected"

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` genotypes."""
        return self.correction.applied(self.model.costs(genotypes))


def find(
    problem: Problem,
    accuracy: AccuracyModel,
    targets: Sequence[Target],
    settings: SearchSection,
    journal: Journal,
    on_event: OnEvent = ignore,
) -> Finalist:
    """Search, measure the best, and where it breaks the budget correct the costs by the measurement and search on.

    At most :data:`MEASURED` candidates are measured, on every target; if none keeps the budget, the one that breaks it least is
    returned. Each measurement is a unit of the journal.

    Raises:
        InfeasibleBudget: the predictor knows no network within the budget, before any measurement.
    """
    from hwnas import searchers

    found: list[Finalist] = []
    for attempt in range(MEASURED):
        searcher = searchers.open(settings.searcher, problem, **settings.settings)
        evaluations = settings.evaluations if attempt == 0 else max(1, settings.evaluations // 4)
        try:
            result = search(
                problem,
                searcher,
                accuracy,
                evaluations=evaluations,
                generation=settings.generation,
                journal=journal,
                attempt=attempt,
                on_event=on_event,
            )
        except InfeasibleBudget:
            if not found:
                raise
            break
        chosen = result.candidates[[result.best]]
        finalist = _measured(problem, chosen, targets, journal, attempt)
        found.append(finalist)
        if finalist.excess == 0:
            return finalist
        on_event(Note(f"Measured, the candidate is {finalist.excess:.1%} over the budget; its costs are corrected."))
        (correction,) = corrections([finalist.to_json()])
        problem = replace(problem, costs=CorrectedCosts(problem.costs, correction))
    return min(found, key=lambda f: f.excess)


def measure(device: Device, space: SearchSpace, genotype: NDArray[np.int64], profile: Profile) -> Costs:
    """Costs ``(1,)`` of one network with made-up weights, as the device has them."""
    graph = space.graph(genotype)
    (timing,) = profilers.measure_graphs(device, [graph], profile=profile)
    with device.load(graph) as session:
        memory = session.memory()
    native = device.native(graph)
    size = graph.to_onnx().ByteSize() if native is None else len(native)
    row = (timing.latency_ms, timing.p50_ms, timing.p50_high_ms, memory.memory_bytes, size)
    return Costs(*(np.array([float(value)]) for value in row))


def _measured(
    problem: Problem, chosen: Candidates, targets: Sequence[Target], journal: Journal, attempt: int
) -> Finalist:
    """Of the one candidate ``chosen``, on all targets; from the journal where it has it."""
    for unit in journal.units:
        if unit["unit"] == "measured" and unit["attempt"] == attempt:
            return from_json(unit)
    costs = [measure(target.device, problem.space, chosen.genotypes[0], target.profile) for target in targets]
    measured = worst([(each, target.budget) for each, target in zip(costs, targets, strict=True)])
    finalist = Finalist(
        chosen.genotypes[0],
        float(chosen.accuracy[0]),
        _row(chosen.costs),
        _row(measured),
        float(problem.budget.excess(measured)[0]),
        tuple(
            {
                "device": target.device.info.spec,
                "budget": asdict(target.budget),
                "measured": _row(each),
                "within_budget": bool(target.budget.feasible(each)[0]),
            }
            for each, target in zip(costs, targets, strict=True)
        ),
    )
    journal.append({"unit": "measured", "attempt": attempt, **finalist.to_json()})
    return finalist


def _row(costs: Costs) -> dict[str, float]:
    return {name: float(values[0]) for name, values in asdict(costs).items()}
