"""Fixtures for every kind of test."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Generator
from typing import Any

import hypothesis
import pytest
import structlog
from jsonschema import Draft202012Validator
from sqlalchemy import Engine, create_engine

from ibkr_mcp_server.broker import library
from ibkr_mcp_server.broker.base import client_library
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.safety import credentials
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.sqlite import SQLiteFile
from tests import quiescence

# What is imported stays until the end; to look for garbage in it over and over would take a sixth of the time.
gc.set_threshold(50_000, 20, 20)

# The same examples in every run, and no time limit for one: what is found is found again, on a loaded machine too.
# Half of the usual number: what needs more to be found says so.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.load_profile("suite")

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
"""Until a test sets up the process log itself: by default each traceback would show every local, in a second or so."""

LIBRARY, _ = client_library()
if LIBRARY != "ib_async":  # `make test-ib-insync`: tests that say `ib_async` mean the library that takes its place
    sys.modules["ib_async"] = library.ib_async


@pytest.fixture(autouse=True, scope="session")
def clocks_wait_for_what_they_set_off() -> None:
    """Time never outruns the sockets and threads of a test, however loaded the machine is."""
    quiescence.clocks_wait_for_what_they_set_off()


@pytest.fixture
def clock() -> ManualClock:
    """Stands at 10:00 in New York on a Friday; only `advance` moves it."""
    return ManualClock()


@pytest.fixture
async def gateway(clock: ManualClock) -> AsyncIterator[PaperGateway]:
    """A paper gateway on a free port. Its market ticks when `clock` advances and is never closed."""
    async with PaperGateway(clock=clock, market_always_open=True) as running:
        yield running


@pytest.fixture(autouse=True, scope="session")
def quick_passphrases() -> None:
    """Passphrases are slow to try on purpose; hundreds of tests in one process need not be. Each keeps its own cost."""
    credentials._COST["n"] = 2**10


@pytest.fixture(autouse=True, scope="session")
def schemas_checked_once() -> None:
    """Each client checks each schema that it meets; that they are schemas has been seen after the first time."""
    check, seen = Draft202012Validator.check_schema, set[str]()

    def check_once(schema: Any, *rest: Any, **options: Any) -> None:
        text = repr(schema)
        if text not in seen:
            check(schema, *rest, **options)
            seen.add(text)

    Draft202012Validator.check_schema = check_once  # type: ignore[method-assign]  # as the library calls it


@pytest.fixture(autouse=True, scope="session")
def statements_compiled_once() -> None:
    """SQLAlchemy keeps what it compiled with the engine; hundreds of stores in one process can share it."""
    engine_of, first = SQLiteFile.engine, create_engine("sqlite://")
    first.connect().close()  # the dialect learns what the library can do
    compiled: dict[Any, Any] = {}

    def engine(self: SQLiteFile, *, reader: bool) -> Engine:
        made = engine_of(self, reader=reader)
        made.dialect = first.dialect
        made.update_execution_options(compiled_cache=compiled)
        return made

    SQLiteFile.engine = engine  # type: ignore[method-assign]  # as the lanes call it


def pytest_collection_finish() -> None:
    """From here on the collector passes over what was imported and collected."""
    gc.freeze()


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
