"""Beside its decision, a refused order leaves the events that people count."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.safety.checks.order_size import OrderSize
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running


async def test_bad_orders_broken_limits_and_failed_checks_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AUD-07, PL-15: each with the decision that it belongs to."""
    clock = ManualClock()
    async with PaperGateway(clock=clock) as gateway, running(tmp_path, gateway, clock, max_leverage=0.001) as world:
        bad = await world.buy(1.5)
        [invalid] = await world.records(EventType.ORDER_VALIDATION_FAILED)
        limited = await world.buy(30)
        broken = await world.records(EventType.ORDER_REJECTED_LIMITS)

        def fail(*_: object) -> None:
            raise RuntimeError("broken")

        monkeypatch.setattr(OrderSize, "review", fail)
        failed = await world.buy(1)
        [error] = await world.records(EventType.CHECK_ERROR)

        assert (invalid.decision_id, invalid.outcome["layer"]) == (bad["decision_id"], "order_form")
        assert {record.decision_id for record in broken} == {limited["decision_id"]}
        assert "leverage" in {record.outcome["layer"] for record in broken}
        assert (error.decision_id, error.outcome["layer"]) == (failed["decision_id"], "order_size")
        assert world.sent == 0
