"""pymoo's NSGA-II (Blank & Deb 2020, "pymoo: multi-objective optimization in Python"), with the budget as a constraint. Needs the
extra ``pymoo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.candidates import Candidates
from hwnas.problem import Problem, keys
from hwnas.search import Searcher

if TYPE_CHECKING:
    from hwnas.space import Genotypes

_GENERATIONS = 20  # of pymoo's without a new network within the budget, then it has converged
_OVER = 1e9  # stands for a loss, and for an excess, that is not known


class Pymoo(Searcher):
    """One population after another. Networks over budget are told as such without being evaluated, known ones as what is known
    of them. Operators are those that pymoo documents for integer variables.

    Args:
        problem: what is searched.
        population: how many networks survive, and how many children they have.

    Raises:
        ValueError: fewer than two survive.
    """

    def __init__(self, problem: Problem, *, population: int = 20) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem as Variables
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.operators.sampling.rnd import IntegerRandomSampling
        from pymoo.termination import get_termination

        if population < 2:
            raise ValueError(f"population must be at least 2, got {population}")
        self._problem = problem
        genes = problem.space.genes
        self._objectives = problem.objective.losses(Candidates.none(len(genes))).shape[1]
        self._variables = Variables(
            n_var=len(genes),
            n_obj=self._objectives,
            n_ieq_constr=1,
            xl=np.zeros(len(genes)),
            xu=np.array([len(gene.options) - 1 for gene in genes]),
            vtype=int,
        )
        self._algorithm = NSGA2(
            pop_size=population,
            sampling=IntegerRandomSampling(),
            crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        )
        never = get_termination("n_gen", np.inf)
        self._algorithm.setup(self._variables, termination=never, seed=problem.seed, verbose=False)
        self._children: Any = None
        self._losses: dict[bytes, list[float]] = {}

    def ask(self, n: int) -> Genotypes:
        """What is not known of the present children, within the budget; when all is known, of the next ones."""
        problem = self._problem
        for _ in range(_GENERATIONS):
            if self._children is None:
                self._children = self._algorithm.ask()
            if self._children is None or not len(self._children):  # it finds no other networks
                break
            rows = problem.space.canonical(self._children.get("X").astype(np.int64))
            excess = problem.excess(rows)
            names = keys(rows)
            unknown = [i for i, key in enumerate(names) if excess[i] == 0 and key not in self._losses]
            if unknown:
                return rows[unknown][:n]
            self._told([self._losses.get(key, [_OVER] * self._objectives) for key in names], excess)
        return problem.space.sample(np.random.default_rng(0), 0)

    def tell(self, candidates: Candidates) -> None:
        """Remembered until all children are known."""
        losses = self._problem.objective.losses(candidates).tolist()
        self._losses.update(zip(keys(candidates.genotypes), losses, strict=True))

    def _told(self, losses: list[list[float]], excess: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        over = np.nan_to_num(excess, posinf=_OVER)[:, None]
        Evaluator().eval(StaticProblem(self._variables, F=np.array(losses), G=over), self._children)
        self._algorithm.tell(infills=self._children)
        self._children = None


PLUGIN = Pymoo
