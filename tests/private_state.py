"""Where tests keep the state of servers that run as processes of their own: the program refuses temporary places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp

from platformdirs import user_cache_path

from ibkr_mcp_server.state_dir import StateDirectory, open_state_directory, state_directory_problems
from ibkr_mcp_server.store.database import Database

REPOSITORY = Path(__file__).resolve().parents[1]


@contextmanager
def private_state(prefix: str = "test-") -> Iterator[Path]:
    """A fresh directory in the ignored `.state/`, or in the user's cache if the checkout itself is temporary."""
    places = (REPOSITORY / ".state", user_cache_path("ibkr-mcp-server-tests", appauthor=False))
    parent = next(place for place in places if not state_directory_problems(place / "any"))
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(mkdtemp(dir=parent, prefix=prefix))
    try:
        yield path
    finally:
        rmtree(path, ignore_errors=True)


def with_tables(state: StateDirectory) -> StateDirectory:
    """The same directory with an empty database in it."""
    if not state.database.exists():
        lay_tables(state.database)
    return state


def lay_tables(path: Path) -> Path:
    """Make an empty database at `path`: to lay out its tables anew for each test would take a tenth of the suite's
    time. Tests of a first start begin without one.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(_empty_database())
    return path


@cache
def _empty_database() -> bytes:
    with TemporaryDirectory() as place:
        state = open_state_directory(Path(place) / "state", allow_temporary=True)
        Database.open(state.database).close()
        return state.database.read_bytes()
