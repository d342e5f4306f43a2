"""Fixtures for what is seen from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.surface.shell import Shell, new_shell


@pytest.fixture
def shell() -> Iterator[Shell]:
    with new_shell() as fresh:
        yield fresh
