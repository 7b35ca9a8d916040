"""What all values have in common that a user gives in a configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen; unknown keys, and values of another type, are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
