"""The client library of the adapter, chosen in this one place: `ib_async`, else `ib_insync`.

`ib_insync` is the archived original of `ib_async`; the parts used here are the same in both, but for what is named
below. The two cannot share an environment, because both bring a folder `eventkit`; so whichever is installed is meant
(docs/decisions/0009). The rest of the adapter imports `ib_async` from here and is checked against its types.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, tzinfo
from importlib import import_module
from typing import TYPE_CHECKING

from ibkr_mcp_server.broker.base import client_library


@contextmanager
def _an_event_loop() -> Iterator[None]:
    """Lend this thread an event loop, unless one runs in it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    else:
        yield


if TYPE_CHECKING:
    import ib_async
    from ib_async.client import Client
    from ib_async.util import UNSET_DOUBLE, UNSET_INTEGER
else:
    _name, _ = client_library()
    # `ib_insync`'s eventkit asks for an event loop while it is imported, and a worker thread has none.
    with _an_event_loop() if _name == "ib_insync" else nullcontext():
        ib_async = import_module(_name)
    Client = import_module(f"{_name}.client").Client
    UNSET_DOUBLE = import_module(f"{_name}.util").UNSET_DOUBLE
    UNSET_INTEGER = import_module(f"{_name}.util").UNSET_INTEGER

__all__ = ["UNSET_DOUBLE", "UNSET_INTEGER", "Client", "ib_async", "quieten", "time_zone_of_naive_fills"]


def quieten() -> None:
    """Keep the library's debug lines out of the log: they repeat whole messages, account ids included."""
    logging.getLogger(ib_async.__name__).setLevel(logging.WARNING)


def time_zone_of_naive_fills() -> tzinfo:
    """What the library's decoder takes a fill's time for; `ib_insync` always means UTC and does not ask."""
    defaults = getattr(ib_async, "IBDefaults", None)
    zone = defaults().timezone if defaults is not None else UTC
    assert isinstance(zone, tzinfo)
    return zone
