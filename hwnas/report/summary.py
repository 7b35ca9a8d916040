"""A run's folder as one line of a comparison."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwnas.budget import Budget
from hwnas.bundle import certificate as certificates
from hwnas.report.run_folder import Unit, delivered, last, read, seed_runs


def summary(run: str | os.PathLike[str]) -> dict[str, Any]:
    """One run in a comparison: JSON-able; None for what it has not reached.

    Raises:
        InvalidData: the folder holds no run.
    """
    folder = Path(run)
    header, units = read(folder)
    if header["config"]["seeds"] > 1:
        if last(units, "delivered") is None:
            return _unfinished(folder, header)
        best = summary(delivered(folder, units))
        return best | {"run": str(run), "seeds": certificates.read(folder / "bundle").to_json()["seeds"]}
    budget, chosen = last(units, "budget"), last(units, "chosen")
    certificate = certificates.read(folder / "bundle") if last(units, "certified") else None
    file = None if certificate is None else certificate.files[certificate.deploy]
    return {
        "run": str(run),
        "task": header["config"]["task"]["name"],
        "device": header["device"]["spec"],
        "seed": header["config"]["seed"],
        "searcher": header["config"]["search"]["searcher"],
        "evaluated": sum(len(unit["accuracy"]) for unit in units if unit["unit"] == "generation"),
        "budget": budget["budget"] if budget else asdict(Budget()),
        "genotype": chosen["genotype"] if chosen else None,
        "deploy": certificate.deploy if certificate else None,
        "p50_ms": file.p50_ms if file else None,
        "memory_bytes": file.memory_bytes if file else None,
        "model_bytes": file.bytes if file else None,
        "accuracy": file.accuracy if file else None,
        "within_budget": certificate.within_budget if certificate else None,
        "seeds": None,
    }


def _unfinished(folder: Path, header: Unit) -> dict[str, Any]:
    """A run of several seeds as far as it is."""
    begun = [summary(seed) for seed in seed_runs(folder)]
    config = header["config"]
    return {
        "run": str(folder),
        "task": config["task"]["name"],
        "device": config["device"]["spec"],
        "seed": config["seed"],
        "searcher": config["search"]["searcher"],
        "evaluated": sum(seed["evaluated"] for seed in begun),
        "budget": begun[0]["budget"] if begun else asdict(Budget()),
        **dict.fromkeys(
            ("genotype", "deploy", "p50_ms", "memory_bytes", "model_bytes", "accuracy", "within_budget", "seeds")
        ),
    }
