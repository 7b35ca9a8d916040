"""What all values have in common that a user gives in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

Model = TypeVar("Model", bound=BaseModel)


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
