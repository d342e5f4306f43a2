"""Adds to a catalogue what is derived from its listings: the option chains and the futures of the market's day."""

from __future__ import annotations

from datetime import date

from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.simulator.futures import Futures
from ibkr_mcp_server.simulator.instruments import Catalogue
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.option_chains import OptionChains


def list_derivatives(catalogue: Catalogue, market: Market) -> OptionChains:
    """Both families go by the market's clock and prices; the chains also answer which options there are."""

    def today() -> date:
        return trading_day(market.now)

    chains = OptionChains(catalogue, today=today, price=lambda listing: market.reference_price(listing.con_id))
    catalogue.add(chains)
    catalogue.add(Futures(today=today))
    return chains
