"""A run's folder as the records that its report shows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import devices
from devices import DeviceInfo
from devices import journal as journals
from devices import profile as profile_files
from hwnas import finalist
from hwnas.budget import Budget
from hwnas.bundle import certificate as certificates
from hwnas.bundle.certificate import FLOAT, Certificate
from hwnas.candidates import Candidates
from hwnas.costs import Costs
from hwnas.errors import InvalidData
from hwnas.profiles import PROFILE
from hwnas.report import comparison, places
from hwnas.report.data import ReportCandidates, ReportCheck, ReportData, ReportHistory, ReportKernel, ReportMistakes
from hwnas.report.effects import Effects, main_effects
from hwnas.worst_case import together

Unit = Mapping[str, Any]


def report_data(run: str | os.PathLike[str], baselines: str | os.PathLike[str] | None = None) -> ReportData:
    """What a run's files say.

    Args:
        run: its folder.
        baselines: ``comparison.json`` of ``benchmarks/against_hand_designed.py``.

    Raises:
        InvalidData: the folder holds no run that has searched.
        JournalDamaged: a line of its journal cannot be read.
    """
    folder = Path(run)
    header, units = read(folder)
    if header["config"]["seeds"] > 1:
        return replace(
            report_data(delivered(folder, units), baselines),
            title=folder.resolve().name,
            certificate=certificates.read(folder / "bundle").to_json(),
            config=(folder / "config.toml").read_text(encoding="utf-8"),
        )
    chosen, trained, certified = (last(units, name) for name in ("chosen", "trained", "certified"))
    budget = budget_of(units, folder)
    certificate = certificates.read(folder / "bundle") if certified else None
    measured = [unit for unit in units if unit["unit"] == "measured"]
    noise_floor, checks = _checks(Path(header["config"]["device"]["profile"] or folder / PROFILE))
    if certificate is not None:
        checks += [
            ReportCheck(name, f.predicted_p50_ms, f.p50_ms, "exported")
            for name, f in certificate.files.items()
            if f.predicted_p50_ms is not None
        ]
    kernels = tuple(
        ReportKernel(k["kind"], tuple(k["nodes"]), k["latency_ms"], k["bound"], tuple(k.get("reads", ())))
        for k in (certified["kernels"] if certified else ())
    )
    return ReportData(
        title=folder.resolve().name,
        task=header["config"]["task"]["name"],
        device=DeviceInfo.from_json(header["device"]),
        budget=budget,
        candidates=_candidates(units, budget, chosen, folder),
        choices=chosen["genes"] if chosen else None,
        checks=tuple(checks),
        noise_floor=noise_floor,
        kernels=kernels,
        places=places.places(devices.load_onnx(folder / "bundle" / FLOAT), kernels) if certified else (),
        histories=_histories(trained) if trained else (),
        effects=_effects(units, folder),
        mistakes=_mistakes(certified, certificate) if certified and certificate else None,
        comparison=None if baselines is None else comparison.read(baselines),
        quantized=last(units, "quantized"),
        certificate=None if certificate is None else certificate.to_json(),
        config=(folder / "config.toml").read_text(encoding="utf-8"),
        notes=(*_several(header), *(_over_budget(unit) for unit in measured if unit["excess"] > 0)),
    )


def read(folder: Path) -> tuple[Unit, Sequence[Unit]]:
    """Header and units of a run's journal.

    Raises:
        InvalidData: the folder holds no run.
    """
    path = folder / "journal.jsonl"
    if not path.is_file():
        raise InvalidData(f"{folder} holds no run: there is no {path.name}.", hint="Give the folder that was --out.")
    return journals.read(path)


def seed_folder(folder: Path, seed: int) -> Path:
    """Folder of one seed's run."""
    return folder / f"seed-{seed}"


def seed_runs(folder: Path) -> list[Path]:
    """A run's folder, or the folders of its seeds as far as they have begun."""
    config = read(folder)[0]["config"]
    own = [seed_folder(folder, config["seed"] + i) for i in range(config["seeds"])]
    return [folder] if len(own) == 1 else [seed for seed in own if (seed / "journal.jsonl").is_file()]


def budget_of(units: Sequence[Unit], folder: Path) -> Budget:
    """What a run's networks are held against: the limits of all its devices, see :class:`hwnas.worst_case.WorstCase`.

    Raises:
        InvalidData: it has not searched yet.
    """
    _required(units, "budget", folder)
    return together([Budget(**unit["budget"]) for unit in units if unit["unit"].startswith("budget")])


def delivered(folder: Path, units: Sequence[Unit]) -> Path:
    """The run of the seed whose file is delivered.

    Raises:
        InvalidData: not all seeds have finished.
    """
    unit = last(units, "delivered")
    if unit is None:
        raise InvalidData(
            f"The run in {folder} has several seeds, and not all have finished.",
            hint="Each is a run of its own, in a folder named for it: give that one, or go on: hwnas run CONFIG --out RUN",
        )
    return seed_folder(folder, unit["seed"])


def last(units: Sequence[Unit], name: str) -> Unit | None:
    """The last unit of that name."""
    return next((unit for unit in reversed(units) if unit["unit"] == name), None)


def _required(units: Sequence[Unit], name: str, folder: Path) -> Unit:
    unit = last(units, name)
    if unit is None:
        raise InvalidData(
            f"The run in {folder} has not searched yet.", hint="Go on with it: hwnas run CONFIG --out RUN"
        )
    return unit


def evaluated(units: Sequence[Unit], folder: Path) -> Candidates:
    """All networks that a run evaluated; costs, and with them feasibility, as all measurements together corrected them.

    Raises:
        InvalidData: it has not searched yet.
    """
    generations = [unit for unit in units if unit["unit"] == "generation"]
    if not generations:
        _required(units, "generation", folder)
    measured = [(unit["attempt"], finalist.from_json(unit)) for unit in units if unit["unit"] == "measured"]
    every = [found for _, found in measured]
    parts = []
    for unit in generations:
        costs = Costs(**{name: np.array(values, np.float64) for name, values in unit["costs"].items()})
        genotypes = np.array(unit["genotypes"], np.int64)
        then = [found for attempt, found in measured if attempt < unit["attempt"]]
        costs = finalist.recorrected(costs, genotypes, then, every)
        accuracy = np.array(unit["accuracy"])
        parts.append(Candidates.of(genotypes, accuracy, costs, unit["accuracy_source"], "predicted"))
    return Candidates.joined(parts)


def _candidates(units: Sequence[Unit], budget: Budget, chosen: Unit | None, folder: Path) -> ReportCandidates:
    whole = evaluated(units, folder)
    generations = [unit for unit in units if unit["unit"] == "generation"]
    feasible = budget.feasible(whole.costs)
    positions = np.flatnonzero(feasible)
    winner = None
    if chosen is not None:
        winner = int(np.flatnonzero((whole.genotypes == np.array(chosen["genotype"])).all(axis=1))[0])
    return ReportCandidates(
        whole.costs.p50_ms,
        whole.accuracy,
        feasible,
        np.repeat(np.arange(len(generations)), [len(unit["accuracy"]) for unit in generations]),
        ", ".join(np.unique(whole.accuracy_source)),
        tuple(positions[whole[positions].front()].tolist()),
        winner,
        next((unit["predictor_tau"] for unit in reversed(generations) if "predictor_tau" in unit), None),
    )


def _checks(profile_path: Path) -> tuple[float | None, list[ReportCheck]]:
    """Noise floor, and the profile's timed networks as they were predicted without them; nothing where the profile is gone."""
    import predictors

    if not profile_path.exists():
        return None, []
    profile = profile_files.load(profile_path)
    predictor = predictors.load_or_fit(profile_path)
    p50 = predictor.calibration_.p50
    checks = [
        ReportCheck(digest[:8], predicted * p50, profile.timings[digest].p50_ms, "validation")
        for digest, predicted in predictor.held_out_ms_.items()
    ]
    return profile.noise_floor, checks


def _histories(trained: Unit) -> tuple[ReportHistory, ...]:
    """The trainings, the delivered one first."""
    start = trained["start"]
    found = {start: _history(start, trained)}
    if "from_scratch" in trained:
        found["scratch"] = _history("scratch", trained["from_scratch"])
    return tuple(found[key] for key in sorted(found, key=lambda key: key != trained["delivered"]))


def _history(start: str, training: Unit) -> ReportHistory:
    def series(key: str) -> NDArray[np.float64]:
        return np.array([np.nan if epoch[key] is None else epoch[key] for epoch in training["history"]])

    name = {"supernet": "from the supernet’s weights", "scratch": "from scratch"}[start]
    final = training["validation_accuracy"]
    return ReportHistory(name, series("loss"), series("accuracy"), series("validation_accuracy"), final)


def _effects(units: Sequence[Unit], folder: Path) -> Effects:
    """Over all networks of the search; their latencies as predicted, before any correction."""
    generations = [unit for unit in units if unit["unit"] == "generation"]
    genes = [(name, options) for name, options in _required(units, "space", folder)["genes"]]
    return main_effects(
        genes,
        np.concatenate([np.array(unit["genotypes"], np.int64) for unit in generations]),
        np.concatenate([np.array(unit["accuracy"], np.float64) for unit in generations]),
        np.concatenate([np.array(unit["costs"]["p50_ms"], np.float64) for unit in generations]),
    )


def _mistakes(certified: Unit, certificate: Certificate) -> ReportMistakes:
    counts = np.array(certified["confusion"], np.int64)
    return ReportMistakes(certificate.classes, counts, tuple(certified["worst"]))


def _several(header: Unit) -> tuple[str, ...]:
    """What the figures of candidates are where the network is for several devices."""
    others = header.get("also", ())
    specs = ", ".join(info["spec"] for info in (header["device"], *others))
    said = (
        f"The network is for several devices: {specs}. Latency and memory of the networks looked at are those where each is "
        "worst off, in terms of the first device."
    )
    return (said,) if others else ()


def _over_budget(unit: Unit) -> str:
    return (
        f"A candidate, measured before it was trained, was {unit['excess']:.1%} over the budget; "
        "what was predicted of others was corrected by that measurement."
    )
