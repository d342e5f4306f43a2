"""A whole market for tests: the listings, their options and futures, and prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ibkr_mcp_server.simulator.derivatives import list_derivatives
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.market import Market, MarketQuote
from ibkr_mcp_server.simulator.option_chains import OptionChains
from ibkr_mcp_server.simulator.sessions import Sessions

FRIDAY_OPEN = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class TestWorld:
    __test__ = False

    catalogue: Catalogue
    market: Market
    options: OptionChains

    def one(self, local_symbol: str, **hints: str) -> Listing:
        (found,) = self.catalogue.matching(local_symbol=local_symbol, **hints)  # type: ignore[arg-type]
        return found

    def quote(self, listing: Listing, at: datetime) -> MarketQuote:
        self.market.advance_to(at)
        return self.market.quote(listing.con_id)


def world(started: datetime = FRIDAY_OPEN, *, seed: int = 7, always_open: bool = False) -> TestWorld:
    catalogue = default_catalogue()
    market = Market(catalogue, Sessions(always_open=always_open), seed=seed, started=started)
    return TestWorld(catalogue=catalogue, market=market, options=list_derivatives(catalogue, market))
