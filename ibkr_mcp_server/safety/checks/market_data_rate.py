"""Quotes asked for in a rolling minute, counted by symbol (RL-02, T-48)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.checks.order_rate import wait_for_room
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import Findings, beyond, passes, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot

MOST_SYMBOLS_PER_CALL = 50


@dataclass(frozen=True, kw_only=True)
class MarketDataRate:
    """Admits `per_minute` symbols in any 60 seconds."""

    per_minute: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        wanted = len(operation.symbols)
        if wanted > MOST_SYMBOLS_PER_CALL:
            text = f"The call asks for {wanted} symbols; one call may ask for {MOST_SYMBOLS_PER_CALL}."
            return refuses(problem(Code.TOO_MANY_SYMBOLS, text, observed=wanted, limit=MOST_SYMBOLS_PER_CALL))
        ages = seen.recorded.market_data_ages_seconds
        observed, limit = f"{len(ages)} in the last 60 s", f"{self.per_minute} symbols per 60 s"
        if len(ages) + wanted <= self.per_minute:
            return passes(observed, limit)
        text = f"{len(ages)} symbols were quoted in the last 60 s, {wanted} more are asked for; the limit is {limit}."
        wait = wait_for_room(ages, self.per_minute, wanted)
        return beyond(problem(Code.MARKET_DATA_LIMIT, text, observed=observed, limit=limit, retry_after_seconds=wait))
