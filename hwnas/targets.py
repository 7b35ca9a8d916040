"""The devices that a run is for: each is profiled, predicted, and has limits in absolute numbers, once and for all of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import predictors
from devices import profile as profile_files
from devices.errors import ProvenanceMismatch
from devices.events import Note, OnEvent
from devices.spec import runtime_of
from hwnas import profiles
from hwnas.budget import Budget
from hwnas.bundle.certificate import sha256
from hwnas.costs import compile_costs
from hwnas.errors import InvalidConfig
from hwnas.int8 import flavours
from hwnas.worst_case import WorstCase
from predictors.errors import NotFitted

if TYPE_CHECKING:
    from devices import Device, Profile
    from hwnas.config import BudgetSection, Config, DeviceSection
    from hwnas.costs import CostModel
    from hwnas.space import SearchSpace
    from hwnas.steps import Steps
    from predictors import LatencyPredictor

_LIMITS_AT_MOST = 5  # a slow machine gets so many times the time limit before there is too little to learn from


@dataclass(frozen=True)
class Target:
    """A device that the network is for.

    Attributes:
        device: opened.
        profile: of it.
        predictor: fitted to the profile.
        costs: of the networks searched, as predicted.
        budget: the limits there.
    """

    device: Device
    profile: Profile
    predictor: LatencyPredictor
    costs: CostModel
    budget: Budget


def check(config: Config) -> None:
    """Whether one network can be for all devices of a configuration, before anything is done for it.

    Raises:
        InvalidConfig: a further device cannot run the files made for the first.
    """
    first = config.device.spec
    for also in config.also:
        if runtime_of(also.spec) == "torch":
            raise InvalidConfig(
                f"[[also]] {also.spec} runs no ONNX files, and those are what all devices have in common.",
                hint="Name it in [device], where its program is made, and the others in [[also]].",
            )
        apart = flavours.of(also.spec) is not flavours.of(first)
        if config.search.precision == "int8" and apart:
            raise InvalidConfig(
                f"INT8 files for {first} are not those for {also.spec}, so one search cannot be for both.",
                hint='Set [search] precision = "float32", or name devices of one runtime.',
            )


def prepare(
    config: Config,
    folder: Path,
    space: SearchSpace,
    opened: Sequence[Device],
    steps: Steps,
    on_event: OnEvent,
) -> list[Target]:
    """The targets of a run.

    Args:
        config: the run's.
        folder: the run's, for profiles that the configuration names no place for.
        space: what is searched.
        opened: the devices of ``[device]`` and ``[[also]]``, in that order.
        steps: where it is recorded what the profiles and the limits were.
        on_event: told of progress.

    Raises:
        ProvenanceMismatch: a profile is of another device, or not what it was when the run began.
        DeviceError: a device is gone.
    """
    sections = [(config.device, config.budget), *((also, also.budget(config.budget)) for also in config.also)]
    targets = []
    for number, (device, (section, limits)) in enumerate(zip(opened, sections, strict=True), start=1):
        suffix = f" {number}" if number > 1 else ""
        path = section.profile or folder / profiles.PROFILE.replace(
            "device", f"device-{number}" if suffix else "device"
        )
        _profiled(section, path, space, device, f"profile{suffix}", config.seed, steps, on_event)
        profile = profile_files.load(path)
        device.info.require_same(profile.info, what=f"the profile {path}")
        predictor = predictors.load_or_fit(path, seed=config.seed)
        guarantee = config.search.guarantee
        costs = compile_costs(space, predictor, device, seed=config.seed, guarantee=guarantee, on_event=on_event)
        budget = _budget(limits, space, costs, profile, f"budget{suffix}", steps)
        targets.append(Target(device, profile, predictor, costs, budget))
    return targets


def costs_of(targets: Sequence[Target]) -> CostModel:
    """What networks cost on one target; on several, where they are worst off."""
    first, *others = targets
    names = [target.device.info.spec for target in targets]
    return WorstCase([(target.costs, target.budget) for target in targets], names) if others else first.costs


def _profiled(
    section: DeviceSection,
    path: Path,
    space: SearchSpace,
    device: Device,
    step: str,
    seed: int,
    steps: Steps,
    on_event: OnEvent,
) -> None:
    """Make the profile if there is none; it must stay as it is from then on."""
    recorded = steps.recorded(step)
    if recorded is None and not path.exists():
        unfinished = path.with_name(f".partial-{path.name}")
        limit = section.profile_time_limit_s
        for left in reversed(range(_LIMITS_AT_MOST)):
            profiles.make(device, unfinished, space=space, seed=seed, time_limit_s=limit, on_event=on_event)
            try:
                predictors.load_or_fit(unfinished, seed=seed)
                break
            except NotFitted as error:
                if not left:
                    raise
                on_event(Note(f"{error.message} The profile goes on."))
        if predictors.predictor_path(unfinished).exists():
            predictors.predictor_path(unfinished).replace(predictors.predictor_path(path))
        unfinished.replace(path)
    found = sha256(path) if path.exists() else None
    if recorded is None:
        steps.once(step, lambda: {"sha256": found})
    elif recorded["sha256"] != found:
        raise ProvenanceMismatch(
            f"{path} is not what it was when this run began; it",
            [f"sha256: found {found}, wanted {recorded['sha256']}"],
            hint="Put the old profile back, or use another output folder.",
        )


def _budget(
    section: BudgetSection, space: SearchSpace, costs: CostModel, profile: Profile, step: str, steps: Steps
) -> Budget:
    """The limits in absolute numbers."""

    def resolve() -> dict[str, dict[str, float | None]]:
        latency = section.latency_ms
        if section.latency_fraction_of_largest is not None:
            timing = profile.timings.get(space.graph(space.largest()).digest())
            largest = timing.p50_ms if timing else float(costs.costs(space.largest()[None]).p50_ms[0])
            latency = section.latency_fraction_of_largest * largest
        limits = {"memory_bytes": section.memory_bytes, "model_bytes": section.model_bytes}
        return {"budget": {"latency_ms": latency, **limits}}

    return Budget(**steps.once(step, resolve)["budget"])
