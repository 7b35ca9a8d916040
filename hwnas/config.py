"""The configuration of a run: TOML in, checked values out. Every key has a default but the budget."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from devices.plugins import did_you_mean
from hwnas.errors import InvalidConfig
from hwnas.settings import PluginSection, Settings
from hwnas.training.settings import TrainSettings

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class DeviceSection(Settings):
    """The device, and where its profile is (or will be written); without a path it is kept in the run's folder."""

    spec: str = "onnxruntime:threads=1"
    profile: Path | None = Field(default=None, strict=False)
    profile_time_limit_s: PositiveFloat = 60.0


class TaskSection(PluginSection):
    """The data set; ``path`` is for tasks that read a file or folder, ``flip`` says whether a mirrored image keeps its class.
    Further keys are the task's own."""

    name: str = "digits"
    path: Path | None = Field(default=None, strict=False)
    flip: bool | None = None


class SpaceSection(PluginSection):
    """The search space and its options."""

    name: str = "mobile"


class _Limits(Settings):
    latency_ms: PositiveFloat | None = None
    latency_fraction_of_largest: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    memory_bytes: PositiveInt | None = None
    model_bytes: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_latency(self) -> Self:
        if self.latency_ms is not None and self.latency_fraction_of_largest is not None:
            raise ValueError("give latency_ms or latency_fraction_of_largest, not both")
        return self

    @property
    def limits(self) -> dict[str, float]:
        """Those that are given."""
        return {name: value for name in _Limits.model_fields if (value := getattr(self, name)) is not None}


class BudgetSection(_Limits):
    """Hard limits; at least one. Latency is the p50 of one example, in milliseconds or as a fraction of the p50 of the space's
    largest network, which suits a configuration that is to run on any machine."""

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if not self.limits:
            raise ValueError(f"at least one limit is needed: {', '.join(_Limits.model_fields)}")
        return self


class AlsoSection(DeviceSection, _Limits):
    """A further device that the network is for, with the keys of ``[device]`` and, where its limits are others, those of
    ``[budget]``."""

    spec: str

    def budget(self, first: BudgetSection) -> BudgetSection:
        """Its own limits, and the ``first`` device's for what it does not limit itself."""
        theirs = {name: limit for name, limit in first.limits.items() if _kind(name) not in map(_kind, self.limits)}
        return BudgetSection.model_validate(theirs | self.limits)


class ObjectiveSection(PluginSection):
    """What the search is for, with the objective's settings; as it stands, the most accurate network within the budget."""

    name: str = "weighted"


class SearchSection(PluginSection):
    """The searcher with its settings, how many networks it may evaluate, and how many at a time. With ``precision`` ``"int8"``
    the budget is on INT8 files, networks are compared after quantisation, and the profile has to be one made for that.
    ``guarantee`` is the probability with which a network that is taken for within the latency budget is."""

    precision: Literal["float32", "int8"] = "float32"
    searcher: str = "guided"
    evaluations: PositiveInt = 200
    generation: PositiveInt = 20
    guarantee: Annotated[float, Field(ge=0.5, lt=1)] = 0.95


class AccuracySection(PluginSection):
    """The accuracy model with its settings."""

    model: str = "supernet"


class QuantizeSection(Settings):
    """INT8: how many training images calibrate it, and how much accuracy (a fraction) the deployed file may lose by it."""

    calibration_images: PositiveInt = 256
    max_accuracy_drop: Fraction = 0.003


class ExportSection(Settings):
    """Whether TensorRT engines are built into the bundle, as they are if the device is TensorRT; and, with TensorRT for RTX, for
    which kinds of GPU: ``["sm86", "sm89"]``; all if none is named."""

    engine: bool = False
    targets: tuple[str, ...] = Field(default=(), strict=False)


class Config(Settings):
    """Everything that decides a run's result, but the profile's content.

    Attributes:
        seed: of everything that is drawn.
        seeds: how often search and training are repeated, with ``seed``, ``seed + 1``, …; the best on validation is delivered.
        also: further devices, on each of which the network has to keep a budget.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    seeds: PositiveInt = 1
    device: DeviceSection = DeviceSection()
    also: tuple[AlsoSection, ...] = Field(default=(), strict=False)
    task: TaskSection = TaskSection()
    space: SpaceSection = SpaceSection()
    budget: BudgetSection
    objective: ObjectiveSection = ObjectiveSection()
    search: SearchSection = SearchSection()
    accuracy: AccuracySection = AccuracySection()
    train: TrainSettings = TrainSettings()
    quantize: QuantizeSection = QuantizeSection()
    export: ExportSection = ExportSection()

    @model_validator(mode="after")
    def _devices_together(self) -> Self:
        specs = [self.device.spec, *(also.spec for also in self.also)]
        if len(set(specs)) < len(specs):
            raise ValueError(f"a device is named twice: {', '.join(specs)}")
        return self

    def to_toml(self) -> str:
        """The resolved configuration, defaults included; :func:`load` reads it."""
        values = self.model_dump(mode="json", exclude_none=True)
        tables = [("[also]", table) for table in values.pop("also")]
        scalars = [f"{key} = {_toml(value)}\n" for key, value in values.items() if not isinstance(value, dict)]
        tables += [(name, section) for name, section in values.items() if isinstance(section, dict)]
        sections = [
            f"\n[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in section.items())
            for name, section in tables
        ]
        return "".join(scalars + sections)


_PATHS = (
    ("device", "profile"),
    ("also", "profile"),
    ("task", "path"),
    ("search", "distribution"),
    ("accuracy", "table"),
    ("accuracy", "members", "table"),
    ("accuracy", "of", "table"),
)


def load(path: str | Path) -> Config:
    """Read a configuration file. Paths in it are relative to its folder.

    Raises:
        InvalidConfig: not TOML, an unknown key, or a value that cannot be; the message names the line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise InvalidConfig(
            f"There is no file {file}.", hint="See examples/ for configurations to start from."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidConfig(f"{file} cannot be read as TOML: {error}.", hint="See examples/digits.toml.") from error
    for *sections, key in _PATHS:
        for table in _tables(values, sections):
            if isinstance(table.get(key), str):
                table[key] = str((file.parent / table[key]).resolve())
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _explained(error, file, text) from None


def _explained(error: ValidationError, file: Path, text: str) -> InvalidConfig:
    """The first of pydantic's findings, in words, with its line; a misspelt key before what is missing because of it."""
    finding = min(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    where = [part for part in finding["loc"] if isinstance(part, str)]
    number = next((part for part in finding["loc"][1:2] if isinstance(part, int)), 0)
    section, key = (where[0] if len(where) > 1 else ""), (where[-1] if where else "")
    line = _line(text, section, key, number)
    place = f"{file}, line {line}" if line else str(file)
    name = f"{key!r} in [{section}]" if section else repr(key)
    if finding["type"] == "extra_forbidden":
        kind = Config.model_fields[section].annotation if section else Config
        model = (*get_args(kind), kind)[0]  # of several tables, one
        known = list(getattr(model, "model_fields", {}))
        return InvalidConfig(
            f"{place}: unknown key {name}{did_you_mean(key, known)}", hint=f"Known keys: {', '.join(known)}."
        )
    got = f", got {finding['input']!r}" if not isinstance(finding["input"], dict) else ""
    return InvalidConfig(
        f"{place}: {f'{name}: ' if key else ''}{finding['msg'].removeprefix('Value error, ')}{got}.",
        hint="Correct it and repeat the command.",
    )


def _line(text: str, section: str, key: str, table: int) -> int | None:
    """Line of ``key = …`` in ``[section]``, else of the section's header; None if neither is spelt that way. Of several tables
    ``[[section]]``, in the one of that number."""
    current, header, tables = "", None, -1
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[{1,2}\s*([^\[\]]+?)\s*\]", line):
            current = match[1]
            if current in (section, key):
                tables += 1
                header = number if tables == table else header
        elif (
            current == section
            and (not section or tables == table)
            and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line)
        ):
            return number
    return header


def _kind(limit: str) -> str:
    """Of what a key of the budget is a limit: latency, memory or model."""
    return limit.partition("_")[0]


def _tables(value: Any, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The tables of that name within ``value``, of which each may be an array of tables."""
    for table in value if isinstance(value, list) else [value]:
        if isinstance(table, dict) and not names:
            yield table
        elif isinstance(table, dict):
            yield from _tables(table.get(names[0]), names[1:])


def _toml(value: Any) -> str:
    """JSON's spelling of strings, numbers and booleans is TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
