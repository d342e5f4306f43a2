"""Fixtures for every kind of test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On a machine that has every service, a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("IBKR_TEST_NOTHING_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report
