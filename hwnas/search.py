"""The search: one loop for every searcher, every objective and every accuracy model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent, Progress, ignore
from hwnas.accuracy import AccuracyModel, is_score, source_of
from hwnas.candidates import Candidates
from hwnas.errors import JournalMismatch, SearchError
from hwnas.problem import Problem, keys, unseen

if TYPE_CHECKING:
    from devices.journal import Journal
    from hwnas.space import Genotypes

_ASKED = 8  # times a searcher may propose, before what it proposes is repaired


class Searcher(ABC):
    """Proposes networks and learns from results.

    A searcher is a function of the problem's seed and of what it was told: asked again and told the same, it proposes the same.
    That is what makes a search resumable without saving a searcher. What it proposes need not be within the budget, canonical
    or new: the search sees to that, and tells it what became of its proposals.

    Attributes:
        predictor_tau: rank correlation on held-out networks of the accuracy predictor that made the last proposals; None where
            none did.
    """

    predictor_tau: float | None = None

    @abstractmethod
    def ask(self, n: int) -> Genotypes:
        """Proposals ``(m, G)``, the dearest wish first, of which the first ``n`` that are admitted will be evaluated. Where fewer
        are admitted it is asked again for the rest; the same proposals as before, or none, end that."""

    @abstractmethod
    def tell(self, candidates: Candidates) -> None:
        """Results, in the order asked, never in the order finished; to begin with, those of earlier searches, perhaps none."""


@dataclass(frozen=True)
class Result:
    """What a search found: every network it looked at, in the order told, and the position of the best."""

    candidates: Candidates
    best: int


def search(
    problem: Problem,
    searcher: Searcher,
    accuracy: AccuracyModel,
    *,
    evaluations: int,
    generation: int,
    journal: Journal | None = None,
    attempt: int = 0,
    on_event: OnEvent = ignore,
) -> Result:
    """Ask, evaluate, tell, until ``evaluations`` networks were evaluated or there are no more within the budget.

    Each generation is one unit of the journal. Generations that the journal already has are replayed: asked again, compared,
    told, but not evaluated.

    Args:
        generation: how many networks are evaluated at a time.
        journal: none for evaluations so cheap that they are better repeated.
        attempt: 0, or how often the costs were corrected before. What earlier attempts evaluated is told first, as far as it
            is still within the budget, and not evaluated again.
        on_event: told after each generation of the best network so far, by its fitness (of a Pareto front, the accuracy) and
            latency, of how well the predictor ranks, and of the share of the generation's proposals that were within the budget.

    Raises:
        InfeasibleBudget: no network meets the budget; nothing was evaluated.
        JournalMismatch: the journal has other networks than the searcher asks for.
        SearchError: the searcher proposed something else than genotypes, or an accuracy is no number.
        ValueError: nothing is to be evaluated.
    """
    if min(evaluations, generation) < 1:
        raise ValueError(f"evaluations and generation must be at least 1, got {evaluations} and {generation}.")
    problem.require_feasible()
    units = [] if journal is None else [unit for unit in journal.units if unit["unit"] == "generation"]
    recorded = [unit for unit in units if unit["attempt"] == attempt]
    told = [_earlier(problem, [unit for unit in units if unit["attempt"] < attempt])]
    searcher.tell(told[0])
    seen, done, best = set(keys(told[0].genotypes)), 0, told[0]
    while done < evaluations:
        asked, share_feasible = _asked(problem, searcher, min(generation, evaluations - done), seen)
        if not len(asked):
            break
        unit = recorded.pop(0) if recorded else None
        accuracies = _evaluated(problem, accuracy, asked) if unit is None else _replayed(unit, asked)
        source = source_of(accuracy, asked) if unit is None else unit["accuracy_source"]
        results = Candidates.of(asked, accuracies, problem.costs.costs(asked), source, problem.costs.source)
        if unit is None and journal is not None:
            journal.append(_unit(attempt, results, source, searcher.predictor_tau))
        searcher.tell(results)
        told.append(results)
        done, best = done + len(asked), Candidates.joined([best, results])
        best = best[[problem.best(best)]]
        figures = _figures(problem, searcher, best, share_feasible)
        stage = f"search {attempt + 1}" if attempt else "search"
        said = _described(accuracy, best, share_feasible)
        on_event(Progress(stage, done, evaluations, said, figures, repeated=unit is not None))
    found = Candidates.joined(told)
    return Result(found, problem.best(found))


def _figures(problem: Problem, searcher: Searcher, best: Candidates, share_feasible: float) -> dict[str, float]:
    """How the search stands, in numbers."""
    figures = {
        "best_fitness": -float(problem.objective.losses(best)[0, 0]),
        "best_p50_ms": float(best.costs.p50_ms[0]),
        "share_feasible": share_feasible,
    }
    tau = searcher.predictor_tau
    return figures if tau is None else figures | {"predictor_tau": tau}


def _described(model: AccuracyModel, best: Candidates, share_feasible: float) -> str:
    """How the search stands, in words."""
    (value,) = best.accuracy
    shown = f"{model.source} {100 * value:.2f} of 100" if is_score(model.source) else f"{value:.2%}"
    return f"best {shown}, {share_feasible:.0%} feasible"


def _asked(problem: Problem, searcher: Searcher, n: int, seen: set[bytes]) -> tuple[Genotypes, float]:
    """Up to ``n`` networks that may be evaluated: what the searcher proposes, asked again as long as that brings more; then what
    its last proposals become by repair. Where all that gives none, random ones; none only where no more are found. They are
    ``seen`` from then on. And the share of the searcher's proposals that were within the budget."""
    found = proposed = problem.space.sample(np.random.default_rng(0), 0)
    proposals = within = 0
    for _ in range(_ASKED):
        proposed = searcher.ask(n - len(found))
        if proposed.ndim != 2 or proposed.shape[1] != found.shape[1]:
            raise SearchError(
                f"{type(searcher).__name__} proposed an array {proposed.shape}, not (n, {found.shape[1]})."
            )
        proposed = problem.space.canonical(proposed)
        feasible = problem.feasible(proposed)
        proposals, within = proposals + len(proposed), within + int(feasible.sum())
        new = unseen(proposed[feasible], seen)[: n - len(found)]
        seen.update(keys(new))
        found = np.concatenate([found, new])
        if len(found) == n or not len(new):
            break
    share_feasible = within / max(proposals, 1)
    if len(found) == n:
        return found, share_feasible
    found = np.concatenate([found, problem.admit(problem.repair(proposed), seen)[: n - len(found)]])
    if not len(found):
        found = problem.sample(np.random.default_rng([problem.seed, len(seen)]), n, seen)
    seen.update(keys(found))
    return found, share_feasible


def _evaluated(problem: Problem, model: AccuracyModel, asked: Genotypes) -> NDArray[np.float64]:
    """``(n,)`` what the model says of ``(n, G)`` networks."""
    found = model.accuracy(asked)
    odd = np.flatnonzero(~np.isfinite(found))
    if len(odd):
        raise SearchError(
            f"The accuracy model ({model.source}) says {found[odd[0]]} of {problem.space.describe(asked[odd[0]])}.",
            hint="A model has to give a number for every network of the space: leave out of the space what it does not know.",
        )
    return found


def _unit(attempt: int, results: Candidates, source: str | list[str], predictor_tau: float | None) -> dict[str, Any]:
    unit = {
        "unit": "generation",
        "attempt": attempt,
        "genotypes": results.genotypes.tolist(),
        "accuracy": results.accuracy.tolist(),
        "accuracy_source": source,
        "costs": {name: _known(values) for name, values in asdict(results.costs).items()},
    }
    return unit if predictor_tau is None else unit | {"predictor_tau": predictor_tau}


def _known(values: NDArray[np.float64]) -> list[float | None]:
    """As JSON has it: null for what is not known."""
    return [None if np.isnan(value) else value for value in values.tolist()]


def _earlier(problem: Problem, units: list[dict[str, Any]]) -> Candidates:
    """What the journal's ``units`` evaluated, as far as it is within the budget, at today's costs."""
    told = [Candidates.none(len(problem.space.genes))]
    for unit in units:
        genotypes, accuracy = np.array(unit["genotypes"], np.int64), np.array(unit["accuracy"], np.float64)
        costs = problem.costs.costs(genotypes)
        told.append(Candidates.of(genotypes, accuracy, costs, unit["accuracy_source"], problem.costs.source))
    found = Candidates.joined(told)
    return found[problem.budget.feasible(found.costs)]


def _replayed(unit: dict[str, Any], asked: Genotypes) -> NDArray[np.float64]:
    if len(unit["genotypes"]) != len(asked):
        raise JournalMismatch(
            f"The search asks for {len(asked)} networks; its journal has {len(unit['genotypes'])} at this place.",
            hint="A search goes on with the generation and at least the evaluations it began with: use those, or a new output "
            "folder.",
        )
    if unit["genotypes"] != asked.tolist():
        raise JournalMismatch(
            f"The search asks for {asked[0].tolist()}, …; its journal has {unit['genotypes'][0]}, … at this place.",
            hint="The journal was written by another version or with another profile: use a new output folder.",
        )
    return np.asarray(unit["accuracy"], np.float64)
