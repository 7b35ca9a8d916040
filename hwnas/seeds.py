"""A job repeated with several seeds: each is a run of its own in ``seed-N/``, and the best on validation is delivered.

The profile is measured once. Test images decide nothing: what each seed's file gets right of them is reported, with mean and
spread, in the certificate of the one that is delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devices.atomic import write_bytes, write_text
from devices.events import Note, OnEvent, Progress
from devices.journal import Journal
from hwnas.bundle import certificate as certificates
from hwnas.bundle.readme import readme
from hwnas.bundle.seed_records import SeedRecord, Seeds
from hwnas.report.run_folder import seed_folder
from hwnas.steps import Steps

if TYPE_CHECKING:
    from hwnas.config import Config
    from hwnas.result import RunResult

SCHEMA = 1
RunOne = Callable[["Config", Path, OnEvent], "RunResult"]


def run_seeds(config: Config, folder: Path, run_one: RunOne, on_event: OnEvent) -> RunResult:
    """Run every seed as far as ``run_one`` goes, and deliver the best one once all have a certificate.

    Raises:
        ProvenanceMismatch: the folder holds a run of another configuration.
        HwnasError: as ``run_one`` raises it; nothing finished is lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = {"schema": SCHEMA, "config": config.model_dump(mode="json")}
    with Journal(folder / "journal.jsonl", header) as journal:
        write_text(folder / "config.toml", config.to_toml())
        results: list[RunResult] = []
        for seed in range(config.seed, config.seed + config.seeds):
            on_event(Note(f"Seed {seed}: {len(results) + 1} of {config.seeds}."))
            own = seed_folder(folder, seed)
            if results:
                _share_profiles(results[0].folder, own)
            alone = config.model_copy(update={"seed": seed, "seeds": 1})
            results.append(run_one(alone, own, _named(seed, on_event)))
        best = max(results, key=_rank)
        if best.certificate is None:
            return replace(best, folder=folder)
        seeds = _summed(config.seed, results, results.index(best))
        return replace(best, folder=folder, certificate=_delivered(folder, best, seeds, Steps(journal)), report=None)


def _rank(result: RunResult) -> tuple[bool, float]:
    """Within the budget first, then by validation accuracy; by what the search saw where nothing was certified yet."""
    certificate = result.certificate
    if certificate is None:
        return result.within_budget, result.accuracy
    return certificate.within_budget, certificate.files[certificate.deploy].validation_accuracy


def _summed(first: int, results: Sequence[RunResult], best: int) -> Seeds:
    issued = [result.certificate for result in results if result.certificate is not None]
    runs = [
        SeedRecord(
            **c.files[c.deploy].model_dump(include=set(SeedRecord.model_fields))
            | {"seed": first + i, "deploy": c.deploy, "within_budget": c.within_budget}
        )
        for i, c in enumerate(issued)
    ]
    return Seeds.of(runs, delivered=first + best)


def _delivered(folder: Path, best: RunResult, seeds: Seeds, steps: Steps) -> certificates.Certificate:
    """Copy the best seed's bundle; its certificate says what the other seeds came to."""
    bundle = folder / "bundle"
    certificate = certificates.read(best.folder / "bundle").model_copy(update={"seeds": seeds})
    names = sorted(path.name for path in (best.folder / "bundle").glob("model.*"))

    def work() -> Mapping[str, Any]:
        bundle.mkdir(exist_ok=True)
        for name in names:
            write_bytes(bundle / name, (best.folder / "bundle" / name).read_bytes())
        certificate.save(bundle)
        write_text(bundle / "README.md", readme(certificate))
        return {"seed": seeds.delivered}

    steps.once("delivered", work, *(bundle / name for name in (*names, certificates.NAME)))
    return certificates.read(bundle)


def _share_profiles(first: Path, own: Path) -> None:
    """The profiles in the first seed's folder, so that all are measured against the same."""
    own.mkdir(exist_ok=True)
    for source in first.glob("device*.profile.jsonl"):
        if not (own / source.name).exists():
            write_bytes(own / source.name, source.read_bytes())


def _named(seed: int, on_event: OnEvent) -> OnEvent:
    def tell(event: Progress | Note) -> None:
        on_event(replace(event, stage=f"seed {seed}: {event.stage}") if isinstance(event, Progress) else event)

    return tell
