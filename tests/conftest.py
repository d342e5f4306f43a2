"""Fixtures for every kind of test."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Generator

import pytest

from ibkr_mcp_server.broker import library
from ibkr_mcp_server.broker.base import client_library
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway

LIBRARY, _ = client_library()
if LIBRARY != "ib_async":  # `make test-ib-insync`: tests that say `ib_async` mean the library that takes its place
    sys.modules["ib_async"] = library.ib_async


@pytest.fixture
def clock() -> ManualClock:
    """Stands at 10:00 in New York on a Friday; only `advance` moves it."""
    return ManualClock()


@pytest.fixture
async def gateway(clock: ManualClock) -> AsyncIterator[PaperGateway]:
    """A paper gateway on a free port. Its market ticks when `clock` advances and is never closed."""
    async with PaperGateway(clock=clock, market_always_open=True) as running:
        yield running


SERVICES = ("PostgreSQL", "psycopg", "Redis", "Chromium")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where the services are known to run, a test that skips for want of one has failed."""
    report = yield
    if report.skipped and os.environ.get("IBKR_TEST_SERVICES_REQUIRED") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if any(service in reason for service in SERVICES):
            report.outcome = "failed"
            report.longrepr = f"a required service is missing: {reason}"
    return report
