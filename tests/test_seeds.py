"""Several seeds: each is a run of its own, the best on validation is delivered, and the certificate has mean and spread."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import fmean, stdev

import pytest

from devices import journal
from devices.errors import ProvenanceMismatch
from devices.events import Progress
from hwnas.bundle import certificate
from hwnas.bundle.certify import certify_again
from hwnas.config import Config, load
from hwnas.errors import InvalidData
from hwnas.report.run_folder import report_data
from hwnas.report.summary import summary
from hwnas.run import run


@pytest.fixture(scope="module")
def config(small_config: Path, small_run: Path) -> Config:
    """Two seeds, on the profile that the small run has made; trained next to nothing."""
    small = load(small_config)
    values = small.model_dump(mode="json", exclude_none=True) | {"seed": 4, "seeds": 2}
    values["search"] |= {"evaluations": 6}
    values["train"] |= {"epochs": 1}
    return Config.model_validate(values)


@pytest.fixture(scope="module")
def seeds(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    stages: set[str] = set()
    run(config, folder, on_event=lambda event: stages.add(event.stage) if isinstance(event, Progress) else None)
    assert {"seed 4: search", "seed 5: training"} <= stages
    return folder


def test_the_best_on_validation_is_delivered_with_mean_and_spread(seeds: Path) -> None:
    issued = certificate.read(seeds / "bundle")
    assert issued.seeds is not None
    own = {seed: certificate.read(seeds / f"seed-{seed}" / "bundle") for seed in (4, 5)}
    deployed = {seed: each.files[each.deploy] for seed, each in own.items()}
    within = {seed: each.within_budget for seed, each in own.items()}
    assert [r.seed for r in issued.seeds.runs] == [4, 5]
    for record in issued.seeds.runs:
        assert record.accuracy == deployed[record.seed].accuracy
        assert record.validation_accuracy == deployed[record.seed].validation_accuracy
    best = max(own, key=lambda seed: (within[seed], deployed[seed].validation_accuracy))
    assert issued.seeds.delivered == best
    assert issued.files == own[best].files
    for name in issued.files:
        assert (seeds / "bundle" / name).read_bytes() == (seeds / f"seed-{best}" / "bundle" / name).read_bytes()
    for name in ("validation_accuracy", "accuracy", "p50_ms"):
        values = [getattr(file, name) for file in deployed.values()]
        spread = getattr(issued.seeds, name)
        assert (spread.mean, spread.standard_deviation) == pytest.approx((fmean(values), stdev(values)))
    units = [journal.read(seeds / f"seed-{seed}" / "journal.jsonl")[1] for seed in (4, 5)]
    assert len({unit["sha256"] for own_units in units for unit in own_units if unit["unit"] == "profile"}) == 1


def test_report_and_comparison_have_them(seeds: Path) -> None:
    issued = certificate.read(seeds / "bundle")
    assert issued.seeds is not None
    data, line = report_data(seeds), summary(seeds)
    assert data.title == seeds.name
    assert data.certificate is not None
    assert data.certificate["seeds"]["accuracy"] == line["seeds"]["accuracy"]
    assert "seeds = 2" in data.config
    assert (seeds / "report.html").exists()
    assert line["run"] == str(seeds)
    assert line["seed"] == issued.seeds.delivered
    assert line["seeds"]["accuracy"]["mean"] == issued.seeds.accuracy.mean


def test_the_same_call_again_changes_nothing_and_brings_back_what_was_deleted(seeds: Path, config: Config) -> None:
    before = {p: p.read_bytes() for p in seeds.rglob("*") if p.is_file() and p.suffix != ".html"}
    (seeds / "bundle" / "model.onnx").unlink()
    result = run(config, seeds)
    changed = {p.relative_to(seeds).as_posix() for p, content in before.items() if p.read_bytes() != content}
    assert changed == {"journal.jsonl"}
    assert result.certificate == certificate.read(seeds / "bundle")
    assert result.report == seeds / "report.html"
    assert certify_again(seeds / "bundle").seeds == result.certificate.seeds


def test_what_is_not_finished_says_so_and_goes_on(seeds: Path, config: Config, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(seeds / "seed-4", half / "seed-4")
    (half / "seed-4" / "bundle" / "certificate.json").unlink()
    result = run(config, half, until="export")
    assert result.certificate is None
    with pytest.raises(InvalidData, match="not all have finished"):
        report_data(half)
    with pytest.raises(ProvenanceMismatch, match=r"config\.seeds: found 2, wanted 1"):
        run(config.model_copy(update={"seeds": 1}), half)
    whole, resumed = (
        [(folder / f"seed-{seed}" / "bundle" / "model.onnx").read_bytes() for seed in (4, 5)]
        for folder in (seeds, half)
    )
    assert resumed == whole
