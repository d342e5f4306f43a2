"""Short logs that are followed in parts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ibkr_mcp_server.audit import parts
from ibkr_mcp_server.audit.parts import Part


def divide(monkeypatch: pytest.MonkeyPatch, *, records: int = 2) -> list[Part]:
    """From now on parts have at least so many `records`, and are followed in this process; the list fills with them."""
    followed: list[Part] = []

    def in_turn(these: Sequence[Part]) -> list[set[str] | None]:
        followed.extend(these)
        return [parts.follow(part) for part in these]

    monkeypatch.setattr(parts, "PART", records)
    monkeypatch.setattr(parts, "in_processes", in_turn)
    return followed
