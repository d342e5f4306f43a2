"""Real history through the gateway: a portfolio that is only held, in the days in which the autumn of 2008 began."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

from ibkr_mcp_server.safety.triggers.base import Level
from scripts.autumn_2008 import first_reached, replayed


async def test_the_autumn_of_2008_warns_pauses_and_kills_in_order_at_the_right_equity(tmp_path: Path) -> None:
    """CB-13, RM-02: the 29th of September, by the levels that are built in (`scripts/autumn_2008.py` draws it)."""
    moments = await replayed(tmp_path / "state", first=date(2008, 9, 26), last=date(2008, 9, 29))
    reached = first_reached(moments)
    assert list(reached) == [Level.WARN, Level.PAUSE, Level.KILL]
    assert len(set(reached.values())) == 3
    for level, share in ((Level.WARN, 2), (Level.PAUSE, 3), (Level.KILL, 5)):
        index = reached[level]
        now, before = moments[index], moments[index - 1]
        line = now.day_start * (100 - share) / 100
        assert now.equity < line <= before.equity
        assert Level[now.breaches["CB-13"]] is level
    assert all(moment.day_start > Decimal(2_000_000) for moment in moments)
