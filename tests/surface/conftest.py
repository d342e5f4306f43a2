"""Fixtures for what is seen from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ibkr_mcp_server.state_dir import open_state_directory
from tests.private_state import with_tables
from tests.surface.shell import Shell, new_shell


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A shell with a store in which nothing has happened yet."""
    with new_shell() as fresh:
        with_tables(open_state_directory(fresh.state))
        yield fresh


@pytest.fixture
def first_shell() -> Iterator[Shell]:
    """The shell of somebody who has not started anything yet."""
    with new_shell() as fresh:
        yield fresh
