"""What all values have in common that a user gives in a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

Model = TypeVar("Model", bound=BaseModel)

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


class Settings(BaseModel):
    """Frozen; unknown keys, and values of another type, are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PluginSection(BaseModel):
    """A section whose further keys are the settings of the plug-in that it names."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    @property
    def settings(self) -> dict[str, Any]:
        """The keys that are the plug-in's."""
        return dict(self.model_extra or {})


def validated(kind: type[Model], values: Mapping[str, Any], whose: str) -> Model:
    """The settings of ``whose`` as their class has them, with defaults.

    Raises:
        ValueError: pydantic's first finding, in one line.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        finding = error.errors()[0]
        if not finding["loc"]:  # settings that do not go together
            raise ValueError(f"{whose}: {finding['msg'].removeprefix('Value error, ')}.") from None
        raise ValueError(f"{finding['loc'][0]}: {finding['msg']}, got {finding['input']!r}.") from None


def check_arguments(whose: str, plugin: Callable[..., Any], names: Iterable[str], settings: Mapping[str, Any]) -> None:
    """Whether ``settings`` can be given to a plug-in whose arguments they are.

    Args:
        whose: for the error: ``"space 'mobile'"``.
        plugin: a function or a class.
        names: of those of its arguments that are settings.
        settings: each one of them.

    Raises:
        ValueError: one is missing, or of another type than the argument's annotation says.
    """
    parameters = inspect.signature(plugin).parameters
    for name in names:
        if name not in settings and parameters[name].default is inspect.Parameter.empty:
            raise ValueError(f"{whose} needs a value for {name}.")
    function: Any = plugin
    if inspect.isclass(plugin):
        function = function.__init__
    annotated = SimpleNamespace(__annotations__={name: parameters[name].annotation for name in settings})
    types = get_type_hints(annotated, globalns=function.__globals__)
    for name, value in settings.items():
        try:
            TypeAdapter(types[name], config=_STRICT).validate_python(value)
        except ValidationError as error:
            finding = error.errors()[0]
            place = ".".join(map(str, (name, *finding["loc"])))
            raise ValueError(f"{whose}: {place}: {finding['msg']}, got {finding['input']!r}.") from None
