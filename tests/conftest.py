"""Fixtures for every kind of test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway


@pytest.fixture
def clock() -> ManualClock:
    """Stands at 10:00 in New York on a Friday; only `advance` moves it."""
    return ManualClock()


@pytest.fixture
async def gateway(clock: ManualClock) -> AsyncIterator[PaperGateway]:
    """A paper gateway on a free port. Its market ticks when `clock` advances and is never closed."""
    async with PaperGateway(clock=clock, market_always_open=True) as running:
        yield running
