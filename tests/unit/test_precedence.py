"""Orders go first, and nobody waits long for them (MON-09)."""

from __future__ import annotations

import asyncio

import pytest

from ibkr_mcp_server.operations import precedence
from ibkr_mcp_server.operations.precedence import Precedence


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No read passes while an order is on its way; otherwise each turn of the loop lets one pass."""
    monkeypatch.setattr(precedence, "LONGEST_SECONDS", 3_600)
    monkeypatch.setattr(precedence, "BREATH_SECONDS", 0)


@pytest.mark.usefixtures("patient")
async def test_a_read_waits_until_the_last_of_the_orders_on_their_way_is_through() -> None:
    line = Precedence()
    with line.of_an_order():
        with line.of_an_order():
            reading = asyncio.create_task(line.give_way())
            await _turns(3)
        await _turns(20)
        assert not reading.done()
    await reading


@pytest.mark.usefixtures("patient")
async def test_an_order_that_comes_between_waiting_reads_goes_before_the_rest_of_them() -> None:
    line = Precedence()
    sent = asyncio.Event()

    async def read_then_order() -> None:
        await line.give_way()
        with line.of_an_order():
            await sent.wait()

    with line.of_an_order():
        first = asyncio.create_task(read_then_order())
        second = asyncio.create_task(line.give_way())
        await _turns(3)
    await _turns(20)
    assert not second.done()
    sent.set()
    await asyncio.gather(first, second)


async def _turns(count: int) -> None:
    """Of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_of_many_reads_one_at_a_time_does_not_wait_for_an_order_that_the_broker_keeps_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(precedence, "BREATH_SECONDS", 0)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    line = Precedence()
    with line.of_an_order():
        reads = [asyncio.create_task(line.give_way()) for _ in range(3)]
        for passed in range(4):
            await _turns(20)
            assert [read.done() for read in reads].count(True) == passed
            now += precedence.LONGEST_SECONDS * 1.5


async def test_an_order_that_fails_and_a_reader_that_goes_hold_nobody_up() -> None:
    line = Precedence()

    async def failing() -> None:
        with line.of_an_order():
            gone = asyncio.create_task(line.give_way())
            waiting.append(asyncio.create_task(line.give_way()))
            await _turns(1)
            gone.cancel()
            raise ValueError("refused")

    waiting: list[asyncio.Task[None]] = []
    with pytest.raises(ValueError, match="refused"):
        await failing()
    await waiting[0]
    await line.give_way()
