"""The course of searches: what they had found after each evaluation, by strategy, with the spread over seeds."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices.atomic import write_text
from devices.journal import differences
from hwnas import objectives
from hwnas.candidates import Candidates, hypervolume
from hwnas.config import SearchSection
from hwnas.errors import InvalidData
from hwnas.report import plots
from hwnas.report.run_folder import budget_of, evaluated, read, seed_runs

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]

_SAME = ("task", "space", "objective", "accuracy")  # sections without which two runs' figures do not compare
_SEEDS = ("seed", "seeds")
_COLOURS = ("accent", "winner", "good", "memory", "muted", "ink", "soft")


@dataclass(frozen=True)
class Course:
    """One strategy's searches.

    Attributes:
        strategy: the searcher, with what it was set to, and in which other settings its runs differ from other strategies'.
        fitness: ``(seeds, evaluations)``: the best within the budget so far, of what the objective is; of a Pareto front, the
            accuracy. NaN before there is one.
        hypervolume: ``(seeds, evaluations)``: share of the rectangle between the worst and the best accuracy and p50 latency
            of all runs that the networks within the budget dominate.
    """

    strategy: str
    fitness: Floats
    hypervolume: Floats

    def to_json(self) -> dict[str, Any]:
        """Where it ended: means and standard deviations over the seeds; the latter null for one seed."""
        ends = {"fitness": self.fitness[:, -1], "hypervolume": self.hypervolume[:, -1]}
        seeds, evaluations = self.fitness.shape
        return {"strategy": self.strategy, "seeds": seeds, "evaluations": evaluations} | {
            name: {
                "mean": None if np.isnan(values).any() else float(values.mean()),
                "standard_deviation": None if seeds < 2 or np.isnan(values).any() else float(values.std(ddof=1)),
            }
            for name, values in ends.items()
        }


def searched(runs: Sequence[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """The folders of all seeds of runs, each once: those where networks were evaluated, and those where none were yet.

    Raises:
        InvalidData: a folder holds no run.
    """
    folders = {seed.resolve(): seed for run in runs for seed in (seed_runs(Path(run)) or [Path(run)])}
    begun = {folder: any(unit["unit"] == "generation" for unit in read(folder)[1]) for folder in folders.values()}
    return [folder for folder in begun if begun[folder]], [folder for folder in begun if not begun[folder]]


def courses(runs: Sequence[str | os.PathLike[str]]) -> list[Course]:
    """The courses of runs, by strategy, in the order in which the strategies come first. Runs are of one strategy if they differ
    in nothing but the seed; a run of several seeds is several, one that has not evaluated anything is none. Of runs of different
    length what the shortest evaluated counts.

    Raises:
        InvalidData: no folder holds a run that has searched, or runs of different data, spaces, objectives or accuracies.
    """
    folders, left_out = searched(runs)
    if not folders:
        raise InvalidData(
            f"The run in {left_out[0]} has not searched yet.", hint="Go on with it: hwnas run CONFIG --out RUN"
        )
    headers = [read(folder)[0]["config"] for folder in folders]
    for folder, header in zip(folders, headers, strict=True):
        own, first = ({name: config[name] for name in _SAME} for config in (header, headers[0]))
        differing = differences(own, first)
        if differing:
            raise InvalidData(
                f"{folder} does not compare with {folders[0]}; it differs in: " + "; ".join(differing),
                hint="Compare runs of the same task, space, objective and accuracy model.",
            )
    found = [_within(folder) for folder in folders]
    networks = Candidates.joined([candidates[within] for candidates, within in found])
    scale = _Scale(networks.accuracy, networks.costs.p50_ms) if len(networks) else None
    strategies: dict[str, list[tuple[Floats, Floats]]] = {}
    for name, header, (candidates, within) in zip(_strategies(headers), headers, found, strict=True):
        aim = objectives.open(header["objective"]["name"], **_settings(header["objective"], ("name",)))
        value = np.where(within, -aim.losses(candidates)[:, 0], np.nan)
        volume = np.zeros(len(candidates)) if scale is None else scale.volumes(candidates, within)
        strategies.setdefault(name, []).append((np.fmax.accumulate(value), volume))
    return [Course(name, *map(_stacked, zip(*of_seeds, strict=True))) for name, of_seeds in strategies.items()]


def write_plot(found: Sequence[Course], path: str | os.PathLike[str]) -> None:
    """Fitness and hypervolume of all courses side by side, as a page that needs nothing else."""
    write_text(Path(path), plot(found).to_html(include_plotlyjs=True, full_html=True))


def plot(found: Sequence[Course]) -> go.Figure:
    """The mean over seeds of each strategy; shaded, a standard deviation to both sides."""
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=2, subplot_titles=("best fitness so far", "hypervolume"))
    figure.update_layout(plots.figure("", "").layout.to_plotly_json() | {"xaxis": {}, "yaxis": {}, "height": 480})
    figure.update_layout(margin={"l": 40, "r": 20, "t": 60, "b": 40}, legend={"y": -0.2, "yanchor": "top"})
    figure.update_xaxes(title_text="networks evaluated", showgrid=False)
    figure.update_yaxes(gridcolor=plots.LINE, zeroline=False)
    for i, course in enumerate(found):
        colour = plots.COLOURS[_COLOURS[i % len(_COLOURS)]][0]
        name = html.escape(
            f"{course.strategy}, {len(course.fitness)} seed{'s' * (len(course.fitness) > 1)}", quote=False
        )
        for column, values in enumerate((course.fitness, course.hypervolume), start=1):
            x = np.arange(1, values.shape[1] + 1)
            mean = values.mean(axis=0)
            shared = {"x": x, "mode": "lines", "legendgroup": name}
            if len(values) > 1:
                spread = values.std(axis=0, ddof=1)
                hidden = {**shared, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
                figure.add_scatter(y=mean - spread, **hidden, row=1, col=column)
                figure.add_scatter(
                    y=mean + spread, **hidden, fill="tonexty", fillcolor=_pale(colour), row=1, col=column
                )
            line = {"color": colour, "width": 2, "shape": "hv"}
            figure.add_scatter(y=mean, **shared, name=name, line=line, showlegend=column == 1, row=1, col=column)
    return figure


@dataclass(frozen=True)
class _Scale:
    """The range of ``(n,)`` accuracies and costs that a hypervolume is measured in."""

    accuracy: Floats
    cost: Floats

    def volumes(self, candidates: Candidates, within: NDArray[np.bool_]) -> Floats:
        """``(n,)`` share of the range that the first 1, 2, … of the networks dominate."""
        accuracy = self._scaled(candidates.accuracy, self.accuracy)
        cost = self._scaled(candidates.costs.p50_ms, self.cost)
        volumes, kept = np.zeros(len(accuracy)), np.empty(0, np.int64)
        for i in range(len(accuracy)):
            if within[i]:
                kept = np.append(kept, i)
                volumes[i] = hypervolume(accuracy[kept], cost[kept], (0.0, 1.0))
            elif i:
                volumes[i] = volumes[i - 1]
        return volumes

    @staticmethod
    def _scaled(values: Floats, over: Floats) -> Floats:
        scaled: Floats = (values - over.min()) / (np.ptp(over) or 1.0)
        return scaled


def _within(folder: Path) -> tuple[Candidates, NDArray[np.bool_]]:
    """What a run evaluated, and which of it keeps the budget."""
    _, units = read(folder)
    candidates = evaluated(units, folder)
    return candidates, budget_of(units, folder).feasible(candidates.costs)


def _strategies(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The name of each run's strategy: its searcher with its settings, and what else of the configuration distinguishes runs of
    that searcher. Seeds do not."""
    named = [_strategy(config["search"]) for config in configs]
    values = [dict(_leaves({name: value for name, value in c.items() if name not in _SEEDS})) for c in configs]
    out = []
    for name, own in zip(named, values, strict=True):
        others = [value for other, value in zip(named, values, strict=True) if other == name]
        apart = [key for key in own if any(other.get(key) != own[key] for other in others)]
        words = ", ".join(f"{key} {own[key]}" for key in apart)
        out.append(f"{name}; {words}" if words else name)
    return out


def _strategy(search: Mapping[str, Any]) -> str:
    settings = _settings(search, SearchSection.model_fields)
    words = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"{search['searcher']} ({words})" if words else str(search["searcher"])


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """``("a.b", 1)`` for every value in tables within tables."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _settings(section: Mapping[str, Any], own: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a section that are the plug-in's."""
    return {key: value for key, value in section.items() if key not in own}


def _stacked(rows: Sequence[Floats]) -> Floats:
    """``(seeds, evaluations)``, as long as the shortest."""
    length = min(len(row) for row in rows)
    return np.stack([row[:length] for row in rows])


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
