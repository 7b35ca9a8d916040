"""Device specifications: ``RUNTIME`` or ``RUNTIME:setting=value,setting=value``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devices.plugins import require_known


@dataclass(frozen=True)
class Setting:
    """One setting of a runtime that changes time.

    Attributes:
        parse: makes the value of its text; raises ValueError with what is needed.
        bare: may be given by its value alone, in front: ``torch:cuda`` is ``torch:device=cuda``.
    """

    name: str
    default: Any
    parse: Callable[[str], Any]
    help: str
    bare: bool = False


def split(spec: str) -> tuple[str, dict[str, str]]:
    """Runtime's name and the settings' texts; a value without a name, which can stand in front, is under ``""``.

    Raises:
        ValueError: another setting without ``=``, or one given twice.
    """
    runtime, colon, rest = spec.partition(":")
    given: dict[str, str] = {}
    for i, part in enumerate(rest.split(",")) if colon else ():
        name, equals, value = (p.strip() for p in part.partition("="))
        if i == 0 and name and not equals:
            given[""] = name
            continue
        if not equals or not name or not value:
            raise ValueError(f"device {spec!r}: settings are written NAME=VALUE with commas between, got {part!r}")
        if name in given:
            raise ValueError(f"device {spec!r}: setting {name!r} is given twice")
        given[name] = value
    return runtime.strip(), given


def runtime_of(spec: str) -> str:
    """Name of a device's runtime, wherever the device is."""
    return spec.rpartition("/")[2].partition(":")[0].strip()


def resolve(runtime: str, settings: Sequence[Setting], given: Mapping[str, str]) -> dict[str, Any]:
    """Every setting with its value.

    Raises:
        ValueError: an unknown setting (with the nearest match) or a bad value.
    """
    given = _named(runtime, settings, given)
    require_known(f"device {runtime!r} has no setting", given, [s.name for s in settings])
    values = {}
    for setting in settings:
        try:
            values[setting.name] = setting.parse(given[setting.name]) if setting.name in given else setting.default
        except ValueError as error:
            raise ValueError(f"device {runtime!r}: {setting.name} {error}, got {given[setting.name]!r}") from None
    return values


def _named(runtime: str, settings: Sequence[Setting], given: Mapping[str, str]) -> dict[str, str]:
    """With a name for the value that has none."""
    named = dict(given)
    value = named.pop("", None)
    if value is None:
        return named
    bare = next((s.name for s in settings if s.bare), None)
    if bare is None:
        raise ValueError(f"device {runtime!r}: settings are written NAME=VALUE with commas between, got {value!r}")
    if bare in named:
        raise ValueError(f"device {runtime!r}: setting {bare!r} is given twice")
    return {bare: value, **named}


def canonical(runtime: str, settings: Mapping[str, Any]) -> str:
    """The specification with every setting spelt out."""
    return ":".join(filter(None, (runtime, ",".join(f"{name}={value}" for name, value in settings.items()))))


def count(text: str) -> int:
    """Parser of a positive whole number."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError("must be a whole number, 1 or more")
    return int(text)


def choice(*known: str) -> Callable[[str], str]:
    """Parser of one of several words."""

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return text

    return parse
