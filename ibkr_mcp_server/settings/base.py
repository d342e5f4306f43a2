"""What every group of settings has in common, and what its variables are called."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

PREFIX = "IBKR_"


class SettingGroup(BaseModel):
    """The settings of one concern; `Settings` is made of all groups.

    A group's own validator is never used, so that none is built: the start stays light.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_default=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        defer_build=True,
    )


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"
