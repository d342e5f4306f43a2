"""Orders go first, and nobody waits long for them (MON-09)."""

from __future__ import annotations

import asyncio

import pytest

from ibkr_mcp_server.operations import precedence
from ibkr_mcp_server.operations.precedence import Precedence
from tests.quiescence import until_idle


async def test_a_read_waits_until_the_last_of_the_orders_on_their_way_is_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precedence, "LONGEST_SECONDS", 3_600)
    line = Precedence()
    with line.of_an_order():
        with line.of_an_order():
            reading = asyncio.create_task(line.give_way())
            await until_idle()
        await until_idle()
        assert not reading.done()
    await reading


async def test_a_read_does_not_wait_for_an_order_that_the_broker_keeps_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "LONGEST_SECONDS", 0)
    line = Precedence()
    with line.of_an_order():
        await line.give_way()


async def test_an_order_that_fails_holds_nobody_up() -> None:
    line = Precedence()
    with pytest.raises(ValueError, match="refused"), line.of_an_order():
        raise ValueError("refused")
    await line.give_way()
