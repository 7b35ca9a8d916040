"""The search: one loop for every searcher and every accuracy model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from devices.events import OnEvent, Progress, ignore
from hwnas.candidates import Candidates
from hwnas.errors import JournalMismatch, SearchError
from hwnas.problem import Problem, keys

if TYPE_CHECKING:
    from devices.journal import Journal
    from hwnas.space import Genotypes


class AccuracyModel(Protocol):
    """Says how accurate networks would be. ``source`` is the word for what its numbers are, e.g. ``"supernet"``."""

    source: str

    def accuracy(self, genotypes: Genotypes) -> NDArray[np.float64]:
        """``(n,)`` fractions on validation data, a function of the genotype alone."""


class Searcher(ABC):
    """Proposes networks and learns from results.

    A searcher is a function of the problem's seed and of what it was told: asked again and told the same, it proposes the same.
    That is what makes a search resumable without saving a searcher. It proposes only what :meth:`Problem.admit` lets pass.

    Attributes:
        predictor_tau: rank correlation on held-out networks of the accuracy predictor that made the last proposals; None where
            none did.
    """

    predictor_tau: float | None = None

    @abstractmethod
    def ask(self, n: int) -> Genotypes:
        """Up to ``n`` networks ``(m, G)`` never asked before; none when the searcher finds no more."""

    @abstractmethod
    def tell(self, candidates: Candidates) -> None:
        """Results, in the order asked, never in the order finished."""


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
    journal: Journal,
    attempt: int = 0,
    on_event: OnEvent = ignore,
) -> Result:
    """Ask, evaluate, tell, until ``evaluations`` networks were evaluated or the searcher finds no more.

    Each generation is one unit of the journal. Generations that the journal already has are replayed: asked again, compared,
    told, but not evaluated.

    Args:
        generation: how many networks are asked for at a time.
        attempt: 0, or how often the costs were corrected before. What earlier attempts evaluated is told first, as far as it
            is still within the budget, and not evaluated again.

    Raises:
        InfeasibleBudget: no network meets the budget; nothing was evaluated.
        JournalMismatch: the journal has other networks than the searcher asks for.
        SearchError: the searcher proposed a network that is over budget, or one twice.
    """
    problem.require_feasible()
    told = _earlier(problem, journal, attempt, accuracy.source)
    searcher.tell(told)
    recorded = [unit for unit in journal.units if unit["unit"] == "generation" and unit["attempt"] == attempt]
    first, target = len(told), len(told) + evaluations
    while len(told) < target and len(asked := searcher.ask(min(generation, target - len(told)))):
        if len(problem.admit(asked, set(keys(told.genotypes)))) < len(asked):
            raise SearchError(f"searcher {type(searcher).__name__} proposed a network that is over budget or not new.")
        unit = recorded.pop(0) if recorded else None
        accuracies = accuracy.accuracy(asked) if unit is None else _replayed(unit, asked)
        results = Candidates(asked, accuracies, accuracy.source, problem.costs.costs(asked))
        if unit is None:
            journal.append(_unit(attempt, results, searcher.predictor_tau))
        searcher.tell(results)
        told = told.followed_by(results)
        on_event(Progress("search", len(told) - first, evaluations, f"best {told.accuracy.max():.2%}"))
    return Result(told, told.best())


def _unit(attempt: int, results: Candidates, predictor_tau: float | None) -> dict[str, Any]:
    unit = {
        "unit": "generation",
        "attempt": attempt,
        "genotypes": results.genotypes.tolist(),
        "accuracy": results.accuracy.tolist(),
        "accuracy_source": results.accuracy_source,
        "costs": {name: _known(values) for name, values in asdict(results.costs).items()},
    }
    return unit if predictor_tau is None else unit | {"predictor_tau": predictor_tau}


def _known(values: NDArray[np.float64]) -> list[float | None]:
    """As JSON has it: null for what is not known."""
    return [None if np.isnan(value) else value for value in values.tolist()]


def _earlier(problem: Problem, journal: Journal, attempt: int, source: str) -> Candidates:
    units = [unit for unit in journal.units if unit["unit"] == "generation" and unit["attempt"] < attempt]
    rows = [row for unit in units for row in unit["genotypes"]]
    genotypes = np.array(rows, np.int64).reshape(len(rows), len(problem.space.genes))
    accuracy = np.array([a for unit in units for a in unit["accuracy"]], np.float64)
    told = Candidates(genotypes, accuracy, source, problem.costs.costs(genotypes))
    return told[problem.budget.feasible(told.costs)]


def _replayed(unit: dict[str, Any], asked: Genotypes) -> NDArray[np.float64]:
    if unit["genotypes"] != asked.tolist():
        raise JournalMismatch(
            f"The search asks for {asked[0].tolist()}, …; its journal has {unit['genotypes'][0]}, … at this place.",
            hint="The journal was written by another version or with another profile: use a new output folder.",
        )
    return np.asarray(unit["accuracy"], np.float64)
