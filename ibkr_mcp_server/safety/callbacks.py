"""Tells whoever asked to be told that trading was halted or resumed (KS-21).

Each callback runs on a thread of its own: one that hangs, or takes longer than its budget, is reported in the log and
delays nothing. None can undo what it is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import StrEnum

from ibkr_mcp_server.log import get_logger

BUDGET_SECONDS = 2.0
"""S1's budget for one callback."""

News = Mapping[str, object]
Callback = Callable[[News], object]

_log = get_logger(__name__)


class Occasion(StrEnum):
    """What a callback can be registered for."""

    HALT = "halt"
    """All trading or one instrument was stopped, again or for the first time."""
    RESUME = "resume"
    STRATEGY_HALT = "strategy_halt"
    STRATEGY_RESUME = "strategy_resume"
    TRIP = "trip"
    """A threshold of the circuit breaker was crossed."""
    MODE_CHANGE = "mode_change"


class Callbacks:
    """Those of one process."""

    def __init__(self) -> None:
        self._registered: dict[Occasion, list[Callback]] = {occasion: [] for occasion in Occasion}

    def register(self, occasion: Occasion | str, callback: Callback) -> None:
        """Call `callback` with the news at each `occasion`; it must be thread-safe.

        Raises:
            ValueError: there is no such occasion.
        """
        self._registered[Occasion(occasion)].append(callback)

    def call(self, occasion: Occasion, news: News) -> None:
        """Begin to tell everybody; returns at once."""
        for callback in self._registered[occasion]:
            # Daemons: a callback that never returns must not keep the process from ending.
            threading.Thread(target=_told, args=(callback, occasion, news), name=f"on-{occasion}", daemon=True).start()


def _told(callback: Callback, occasion: Occasion, news: News) -> None:
    late = threading.Timer(BUDGET_SECONDS, _log.warning, (f"a callback on {occasion} takes longer than its budget",))
    late.daemon = True
    late.start()
    try:
        callback({"occasion": str(occasion), **news})
    except Exception:
        _log.exception("a callback failed", occasion=occasion)
    finally:
        late.cancel()
