"""Where tests keep the state of servers that run as processes of their own: the program refuses temporary places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from platformdirs import user_cache_path

from ibkr_mcp_server.state_dir import state_directory_problems

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
