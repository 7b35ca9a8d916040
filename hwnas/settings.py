"""What all values have in common that a user gives in a configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


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
