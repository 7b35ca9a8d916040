"""The network that a search chose, measured on the device before it is trained: latency and memory do not depend on weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

import profilers
from devices.events import Note, OnEvent, ignore
from hwnas.accuracy import AccuracyModel
from hwnas.candidates import Candidates
from hwnas.costs import CostModel, Costs
from hwnas.errors import InfeasibleBudget, JournalMismatch
from hwnas.problem import Problem
from hwnas.search import search
from hwnas.worst_case import worst

if TYPE_CHECKING:
    from devices import Device, Profile
    from devices.journal import Journal
    from hwnas.config import SearchSection
    from hwnas.space import Genotypes, SearchSpace
    from hwnas.targets import Target

MEASURED = 8
"""How many candidates a run measures at most."""
_LATER = 16  # after each measurement, this part of the evaluations is for what comes within reach
_NEAR = 256  # networks whose neighbours are looked at for that


@dataclass(frozen=True)
class Finalist:
    """A chosen network with what the device says of it.

    Attributes:
        genotype: ``(G,)``.
        accuracy: as the search saw it.
        predicted, measured: costs by the names of :class:`hwnas.costs.Costs`; predicted before any correction.
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
class CostFactors:
    """Factors by which predicted costs are scaled after measurements."""

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

    def undone(self) -> CostFactors:
        """What scales corrected costs back."""
        return CostFactors(1 / self.latency, 1 / self.memory, 1 / self.model)


def cost_factors(measured: Sequence[Finalist]) -> CostFactors:
    """What measured networks say of all others: latency's upper bound is off as theirs was (geometric mean), memory and file are
    larger where one of theirs was."""
    if not measured:
        return CostFactors(1.0, 1.0, 1.0)

    def ratios(name: str) -> NDArray[np.float64]:
        return np.array([finalist.measured[name] / finalist.predicted[name] for finalist in measured])

    latency = np.exp(np.log(ratios("upper_ms")).mean())
    memory, model = (np.fmax.reduce(ratios(name), initial=1.0) for name in ("memory_bytes", "model_bytes"))
    return CostFactors(float(latency), float(memory), float(model))


def known(costs: Costs, genotypes: Genotypes, measured: Sequence[Finalist]) -> Costs:
    """The costs ``(n,)`` of ``(n, G)`` genotypes, but as measured where one was."""
    columns = asdict(costs)
    for finalist in measured:
        rows = (genotypes == finalist.genotype).all(axis=1)
        columns = {name: np.where(rows, finalist.measured[name], values) for name, values in columns.items()}
    return Costs(**columns)


def recorrected(costs: Costs, genotypes: Genotypes, then: Sequence[Finalist], now: Sequence[Finalist]) -> Costs:
    """Costs ``(n,)`` of ``(n, G)`` genotypes written down when ``then`` was measured, as they are with ``now`` measured."""
    predicted = cost_factors(then).undone().applied(costs)
    return known(cost_factors(now).applied(predicted), genotypes, now)


@final
@dataclass(frozen=True)
class CorrectedCosts:
    """A cost model that some networks were measured to correct. Those cost what was measured."""

    model: CostModel
    measured: tuple[Finalist, ...]
    source: ClassVar[str] = "predicted, corrected"

    def costs(self, genotypes: Genotypes) -> Costs:
        """Costs of ``(n, G)`` canonical genotypes."""
        return known(cost_factors(self.measured).applied(self.model.costs(genotypes)), genotypes, self.measured)


def find(
    problem: Problem,
    accuracy: AccuracyModel,
    targets: Sequence[Target],
    settings: SearchSection,
    journal: Journal,
    on_event: OnEvent = ignore,
) -> Finalist:
    """Search, measure the best, correct all costs by the measurement and search on: within the budget after all if the network
    breaks it, closer to the limit if it leaves room.

    Most of the evaluations go to the first search; beyond their number it goes only as long as no network keeps the budget. At
    most :data:`MEASURED` candidates are measured, on every target; the fittest that keeps the budget is returned, or if none does
    the one that breaks it least. Each measurement is a unit of the journal.

    Raises:
        InfeasibleBudget: the predictor knows no network within the budget, before any measurement.
    """
    from hwnas import searchers

    measured: list[Finalist] = []
    corrected = problem
    left, later = settings.evaluations, max(1, settings.evaluations // _LATER)
    for attempt in range(MEASURED):
        if not left and any(finalist.excess == 0 for finalist in measured):
            break
        share = later if attempt else max(left // 2, left - (MEASURED - 1) * later)
        evaluations = max(1, min(share, left))
        left = max(0, left - evaluations)
        searcher = searchers.open(settings.searcher, corrected, **settings.settings)
        try:
            result = search(
                corrected,
                searcher,
                accuracy,
                evaluations=evaluations,
                generation=settings.generation,
                journal=journal,
                attempt=attempt,
                on_event=on_event,
            )
        except InfeasibleBudget:
            if not measured:
                raise
            break
        chosen = result.candidates.genotypes[result.best]
        if any(np.array_equal(chosen, finalist.genotype) for finalist in measured):
            continue
        finalist = _measured(problem, chosen, float(result.candidates.accuracy[result.best]), targets, journal, attempt)
        measured.append(finalist)
        corrected = replace(problem, costs=CorrectedCosts(problem.costs, tuple(measured)))
        if finalist.excess == 0 and not _reaches_further(corrected, problem, result.candidates):
            later = left  # no reason to measure every better network
        said = f"is {finalist.excess:.1%} over" if finalist.excess else "keeps"
        on_event(Note(f"Measured, the candidate {said} the budget; what others cost is corrected by it."))
    keeping = [finalist for finalist in measured if finalist.excess == 0]
    if not keeping:
        return min(measured, key=lambda finalist: finalist.excess)
    kept = [
        Candidates.of(
            f.genotype[None], np.array([f.accuracy]), _costs(f.measured), accuracy.source, CorrectedCosts.source
        )
        for f in keeping
    ]
    return keeping[problem.best(Candidates.joined(kept))]


def _reaches_further(corrected: Problem, problem: Problem, looked_at: Candidates) -> bool:
    """Whether a neighbour of the most accurate networks is within the corrected problem's budget and not within the other's."""
    best = np.argsort(-looked_at.accuracy, kind="stable")[:_NEAR]
    near = problem.neighbours(looked_at.genotypes[best]).reshape(-1, looked_at.genotypes.shape[1])
    return bool((corrected.feasible(near) & ~problem.feasible(near)).any())


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
    problem: Problem,
    genotype: NDArray[np.int64],
    accuracy: float,
    targets: Sequence[Target],
    journal: Journal,
    attempt: int,
) -> Finalist:
    """One candidate on all targets; from the journal where it has it.

    Raises:
        JournalMismatch: it has another one.
    """
    for unit in journal.units:
        if unit["unit"] == "measured" and unit["attempt"] == attempt:
            if unit["genotype"] != genotype.tolist():
                raise JournalMismatch(
                    f"The search chose {genotype.tolist()}; its journal has {unit['genotype']} measured at this place.",
                    hint="The journal was written by another version or with another profile: use a new output folder.",
                )
            return from_json(unit)
    costs = [measure(target.device, problem.space, genotype, target.profile) for target in targets]
    measured = worst([(each, target.budget) for each, target in zip(costs, targets, strict=True)])
    finalist = Finalist(
        genotype,
        accuracy,
        _row(problem.costs.costs(genotype[None])),
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


def _costs(row: Mapping[str, float]) -> Costs:
    return Costs(**{name: np.array([value]) for name, value in row.items()})


def _row(costs: Costs) -> dict[str, float]:
    return {name: float(values[0]) for name, values in asdict(costs).items()}
