"""Ending in order: what the end takes away, what it leaves, and that it waits for nobody for long (EM-09)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.operations import shutdown
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running


async def test_entries_are_cancelled_at_the_end_where_that_is_configured_and_protection_stays(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.add_position("DU9000001", "MSFT", 10, 100)
    async with running(
        tmp_path, gateway, clock, cancel_entries_on_shutdown=True, enable_stop_loss_orders=True
    ) as world:
        assert (await world.buy())["success"]
        level = round(await world.last_price("MSFT") * 0.9, 2)
        stop = await world.call("place_stop_loss", symbol="MSFT", action="SELL", quantity=10, stop_price=level)
        assert stop["success"], stop
    assert [order.perm_id for order in gateway.exchange.open_orders()] == [stop["perm_id"]]


async def test_the_end_does_not_wait_for_a_gateway_that_does_not_answer(
    tmp_path: Path,
    gateway: PaperGateway,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutdown, "LONGEST_SECONDS", 0.05)
    async with running(tmp_path, gateway, clock, cancel_entries_on_shutdown=True) as world:
        assert (await world.buy())["success"]
        gateway.faults.freeze()
    gateway.faults.thaw()
    assert "the end did not wait for the broker" in "".join(capsys.readouterr())
