"""Options: what is listed on an underlying, and option arithmetic (tws-wire guide, sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ibkr_mcp_server.simulator import option_replies, replies
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.lookup import find_or_tell, refuse
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.option_chains import OptionChains
from ibkr_mcp_server.simulator.requests import ContractQuery, ReqOptionParameters, Request
from ibkr_mcp_server.simulator.stream_requests import (
    CalculateImpliedVolatility,
    CalculateOptionPrice,
    CancelCalculation,
)


class OptionDesk:
    def __init__(self, *, catalogue: Catalogue, market: Market, chains: OptionChains) -> None:
        self._catalogue = catalogue
        self._market = market
        self._chains = chains
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqOptionParameters: self._parameters,
            CalculateImpliedVolatility: self._implied_volatility,
            CalculateOptionPrice: self._option_price,
            CancelCalculation: self._nothing_to_cancel,
        }

    def _parameters(self, client: Client, request: ReqOptionParameters) -> None:
        underlying = self._catalogue.by_con_id(request.under_con_id)
        if underlying is None or request.symbol.upper() not in ("", underlying.symbol):
            refuse(client, request.req_id, f"Invalid contract id {request.under_con_id} for '{request.symbol}'")
            return
        for row in self._chains.parameters(underlying.con_id):
            if request.exchange.upper() in ("", row.exchange):
                client.send(option_replies.option_parameters(request.req_id, row))
        client.send(replies.option_parameters_end(request.req_id))

    def _implied_volatility(self, client: Client, request: CalculateImpliedVolatility) -> None:
        listing = self._option(client, request.req_id, request.contract)
        if listing is None:
            return
        if not request.option_price or not request.under_price or min(request.option_price, request.under_price) <= 0:
            refuse(client, request.req_id, "Option price and underlying price must be positive")
            return
        found = self._market.implied_volatility_at(
            listing.con_id, price=float(request.option_price), underlying_price=float(request.under_price)
        )
        if found is None:
            refuse(client, request.req_id, "No volatility explains this option price")
        else:
            client.send(option_replies.option_computation(request.req_id, option_replies.CUSTOM, found))

    def _option_price(self, client: Client, request: CalculateOptionPrice) -> None:
        listing = self._option(client, request.req_id, request.contract)
        if listing is None:
            return
        if not request.volatility or not request.under_price or min(request.volatility, request.under_price) <= 0:
            refuse(client, request.req_id, "Volatility and underlying price must be positive")
            return
        found = self._market.option_price_at(
            listing.con_id, volatility=float(request.volatility), underlying_price=float(request.under_price)
        )
        client.send(option_replies.option_computation(request.req_id, option_replies.CUSTOM, found))

    def _option(self, client: Client, req_id: int, contract: ContractQuery) -> Listing | None:
        listing = find_or_tell(self._catalogue, client, req_id, contract)
        if listing is not None and listing.sec_type != "OPT":
            refuse(client, req_id, "The contract is not an option")
            return None
        return listing

    def _nothing_to_cancel(self, client: Client, request: CancelCalculation) -> None:
        """The answer went out long since."""
