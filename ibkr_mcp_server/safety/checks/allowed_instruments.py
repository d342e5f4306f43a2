"""Which instruments may be opened at all (PL-10); by contract, never by ticker text alone (T-38)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.instruments import Instrument
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, passes
from ibkr_mcp_server.safety.snapshot import Snapshot

EVERYTHING = "*"


@dataclass(frozen=True, kw_only=True)
class AllowedInstruments:
    """Refuses to open what is not `listed`; what is held can always be reduced."""

    listed: frozenset[str]
    """Contract ids, or SYMBOL:TYPE:EXCHANGE:CURRENCY with the exchange of the listing; `*` is everything."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens or EVERYTHING in self.listed:
            return PASSED
        names = names_of(order.instrument)
        limit = f"{len(self.listed)} listed"
        if not self.listed.isdisjoint(names):
            return passes(names[-1], limit)
        text = f"{order.instrument.label} ({names[-1]}, contract {names[0]}) is not among the instruments to be opened."
        return Findings(
            problems=(problem(Code.INSTRUMENT_NOT_LISTED, text, observed=names[-1], limit=limit),),
            observed=names[-1],
            limit=limit,
        )


def names_of(instrument: Instrument) -> tuple[str, ...]:
    """How the list may name it; the last one is for people."""
    exchange = instrument.primary_exchange or instrument.exchange
    return str(instrument.con_id), f"{instrument.symbol}:{instrument.sec_type}:{exchange}:{instrument.currency}"
