"""What a caller sent, and what comes from elsewhere, made safe to show."""

from __future__ import annotations

import json
import math

from ibkr_mcp_server.domain.text import cleaned

__all__ = ["abridged", "cleaned", "shown"]

MOST_SHOWN = 60


def shown(value: object) -> str:
    """A caller's value as an error may quote it: JSON, ASCII, short."""
    if isinstance(value, str):
        value = value[: MOST_SHOWN + 1]
    elif isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    elif isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a huge number"
    text = json.dumps(value, default=lambda other: type(other).__name__)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def abridged(value: object, depth: int = 3) -> object:
    """What a client sent, small enough for the audit log."""
    if isinstance(value, str):
        return value if len(value) <= 200 else value[:199] + "…"
    if isinstance(value, dict):
        if depth == 0:
            return f"an object of {len(value)}"
        return {str(key)[:64]: abridged(item, depth - 1) for key, item in list(value.items())[:30]}
    if isinstance(value, list):
        return [abridged(item, depth - 1) for item in value[:60]] if depth else f"a list of {len(value)}"
    small = isinstance(value, bool | None) or (isinstance(value, int) and value.bit_length() <= 64)
    return value if small or (isinstance(value, float) and math.isfinite(value)) else shown(value)
