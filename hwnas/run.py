"""The whole job: from a device and a data set to a certified network. The same call again goes on where the last one stopped.

A run's folder holds ``config.toml`` (resolved), ``journal.jsonl``, ``report.html``, ``bundle/`` (what is shipped), the device's
profile unless the configuration names another place for it, and in ``work/`` the checkpoints that make resuming exact.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import devices
from devices.atomic import write_text
from devices.events import OnEvent, ignore
from devices.journal import Journal
from devices.versions import versions
from hwnas import accuracy, finalist, judging, objectives, searchers, spaces, targets, tasks
from hwnas.accuracy import KnowsSome
from hwnas.budget import Budget
from hwnas.bundle.files import runs_engines
from hwnas.config import SearchSection, TaskSection
from hwnas.costs import UnknownCosts
from hwnas.delivery import Delivery
from hwnas.errors import InvalidConfig
from hwnas.int8 import flavours
from hwnas.int8.search import Int8Space
from hwnas.problem import Problem
from hwnas.report.write import write_report
from hwnas.result import RunResult
from hwnas.seeds import run_seeds
from hwnas.steps import Steps
from hwnas.workers import check_workers, spread, threads_each
from hwnas.worst_case import together

if TYPE_CHECKING:
    from devices import Device
    from hwnas.config import Config
    from hwnas.space import SearchSpace
    from hwnas.task import Task
    from hwnas.training.settings import LearnSettings

Step = Literal["search", "train", "export", "certify", "report"]
SCHEMA = 1
_VERSIONS = ("hwnas", "numpy", "onnx", "onnxruntime", "scipy", "torch", "xgboost")


def run(
    config: Config,
    out: str | os.PathLike[str],
    *,
    task: Task | None = None,
    until: Step = "report",
    engine: bool = False,
    workers: int | str | None = None,
    on_event: OnEvent = ignore,
) -> RunResult:
    """Do the job.

    Args:
        config: what to do.
        out: the run's folder.
        task: the data, instead of what the configuration's section ``task`` names; see :func:`hwnas.datasets.as_task`.
        until: the last step to take.
        engine: build TensorRT engines into the bundle, whether the configuration asks for them or not.
        workers: who evaluates networks: a number of processes, ``"ray"`` or ``"ray://HOST:PORT"``, which all give the same
            result; None is this process. A run may be gone on with by others than it began with.
        on_event: told of progress.

    Raises:
        InvalidConfig: training or search need weights that the accuracy model does not have.
        InfeasibleBudget: no network of the space meets the budget; nothing was trained.
        ProvenanceMismatch: the folder holds a run of another configuration, device, version or profile.
        HwnasError: what went wrong, and what to do; nothing finished is lost.
    """
    check_workers(workers)
    folder = Path(out)
    if task is not None:
        config = config.model_copy(update={"task": TaskSection(name=task.name, flip=task.flip)})
    if config.seeds > 1:
        found = run_seeds(
            config, folder, partial(_run_one, task=task, until=until, engine=engine, workers=workers), on_event
        )
        return replace(found, report=write_report(folder)) if _reaches(until, "report") else found
    return _run_one(config, folder, on_event, task=task, until=until, engine=engine, workers=workers)


def _run_one(
    config: Config,
    folder: Path,
    on_event: OnEvent,
    *,
    task: Task | None,
    until: Step,
    engine: bool,
    workers: int | str | None,
) -> RunResult:
    """The job with one seed, as far as the step ``until``."""
    learning = searchers.check(config.search.searcher, config.search.settings)
    aim = objectives.open(config.objective.name, **config.objective.settings)
    accuracy.check(config.accuracy.model, config.accuracy.settings)
    _check_weights(config)
    targets.check(config)
    spaces.check(config.space.name, config.space.settings)
    if task is None:
        tasks.check(config.task.name, config.task.settings)
        task = tasks.open(
            config.task.name,
            path=config.task.path,
            flip=config.task.flip,
            seed=config.seed,
            on_event=on_event,
            **config.task.settings,
        )
    space = spaces.open(config.space.name, task.input_shape, len(task.classes), **config.space.settings)
    if learning is not None:
        _check_mixture(config, space)
    else:  # what its settings cannot be, or what it lacks, it says when it is made
        problem = Problem(space, UnknownCosts(), Budget(), config.seed, aim)
        searchers.open(config.search.searcher, problem, **config.search.settings)
    for part in (folder / "work", folder / "bundle"):
        part.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(devices.open(section.spec, on_event=on_event))
            for section in (config.device, *config.also)
        ]
        journal = stack.enter_context(Journal(folder / "journal.jsonl", _header(config, opened, task)))
        write_text(folder / "config.toml", config.to_toml())
        steps = Steps(journal)
        steps.once("space", lambda: {"genes": space.genes_to_json()})
        engine = engine or config.export.engine or runs_engines(config.device.spec)
        if engine:
            from hwnas.bundle.engines import check_space

            steps.once("engines possible", lambda: {"networks": check_space(space)})
        flavour = flavours.of(config.device.spec)
        searched = Int8Space(space, flavour) if config.search.precision == "int8" else space
        on = targets.prepare(config, folder, searched, opened, steps, on_event)
        budget = on[0].budget
        model = judging.accuracy_model(config, space, task, folder / "work", on_event)
        ranking = judging.ranking_model(config, model, space, task)
        if isinstance(model, KnowsSome):
            searched = model.space
        limits = together([target.budget for target in on])
        problem = Problem(searched, targets.costs_of(on), limits, config.seed, aim)
        section = config.search
        if learning is not None:
            section = _with_distribution(section, problem, task, learning, folder / "work", steps, on_event)
        threads = steps.once("evaluations", lambda: {"threads": threads_each(workers, ranking)})["threads"]
        with spread(workers, ranking, config, task, folder / "work", threads=threads, on_event=on_event) as spread_out:
            winner = finalist.find(problem, spread_out, on, section, journal, on_event)
        genes = space.describe(winner.genotype)
        steps.once("chosen", lambda: {"genes": genes, **winner.to_json()})
        delivery = Delivery(config, folder, task, space, winner.genotype, budget, model, steps, on_event)
        if _reaches(until, "train"):
            delivery.train()
        if _reaches(until, "export"):
            delivery.export()
            delivery.quantize(on[0].device, on[0].profile)
            delivery.translate(on[0].device)
            if engine:
                delivery.build_engines()
        certificate = delivery.certify(on) if _reaches(until, "certify") else None
    within = winner.excess == 0 if certificate is None else certificate.within_budget
    return RunResult(
        folder,
        budget,
        tuple(winner.genotype.tolist()),
        genes,
        winner.accuracy,
        spread_out.source,
        winner.predicted,
        winner.measured,
        within,
        certificate,
        write_report(folder) if _reaches(until, "report") else None,
    )


def _reaches(until: Step, step: Step) -> bool:
    """Whether a step is taken by who goes as far as another."""
    steps = get_args(Step)
    return steps.index(until) >= steps.index(step)


def _check_mixture(config: Config, space: SearchSpace) -> None:
    """Whether the space has what a distribution is learnt with."""
    from hwnas.training.differentiable import has_mixture

    if not has_mixture(space):
        raise InvalidConfig(
            f"[search] searcher = {config.search.searcher!r} learns with a supernet that is all its networks at once; that of "
            f"[space] name = {config.space.name!r} cannot be.",
            hint='Set [search] searcher = "guided", or [space] name = "mobile".',
        )


def _with_distribution(
    section: SearchSection,
    problem: Problem,
    task: Task,
    settings: LearnSettings,
    folder: Path,
    steps: Steps,
    on_event: OnEvent,
) -> SearchSection:
    """The section with the distribution that its searcher draws from; it is learnt now if it was not."""
    from hwnas.training.differentiable import learn

    path = folder / "distribution.json"

    def learnt() -> Mapping[str, Any]:
        checkpoint = path.with_suffix(".safetensors")
        learn(problem, task, settings=settings, checkpoint=checkpoint, on_event=on_event).save(path, problem.space)
        return {}

    steps.once("distribution", learnt, path)
    values = section.model_dump(include=set(SearchSection.model_fields))
    return SearchSection.model_validate(values | {"distribution": str(path)})


def _check_weights(config: Config) -> None:
    """Whether the accuracy model has weights, if they are needed."""
    if accuracy.has_weights(config.accuracy.model):
        return
    without = f"the accuracy model {config.accuracy.model!r} has no weights to inherit."
    if config.train.start == "supernet" or config.train.also_from_scratch:
        raise InvalidConfig(
            f"The training cannot start from a supernet: {without}",
            hint='Set [train] start = "scratch" without also_from_scratch, or [accuracy] model = "supernet".',
        )
    if config.search.precision == "int8":
        raise InvalidConfig(
            f"The search cannot quantise what it looks at: {without}",
            hint='Set [accuracy] model = "supernet", or [search] precision = "float32".',
        )


def _header(config: Config, opened: Sequence[Device], task: Task) -> dict[str, Any]:
    """Everything that decides the result: a folder belongs to one of it."""
    return {
        "schema": SCHEMA,
        "config": config.model_dump(mode="json"),
        "device": opened[0].info.to_json(),
        "also": [device.info.to_json() for device in opened[1:]],
        "data_crc32": task.validation.crc32(task.train.crc32()),
        "versions": versions(_VERSIONS),
    }
