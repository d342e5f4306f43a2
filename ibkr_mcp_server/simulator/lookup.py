"""Finding the one instrument that a request is about, or telling its client why there is none."""

from __future__ import annotations

from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.order_rules import OrderRefusal, find_listing, invalid
from ibkr_mcp_server.simulator.requests import ContractQuery


def find_or_tell(catalogue: Catalogue, client: Client, req_id: int, contract: ContractQuery) -> Listing | None:
    """The instrument; None after the client was told that there is none, or more than one."""
    try:
        return find_listing(catalogue, contract)
    except OrderRefusal as refusal:
        client.send(replies.error(req_id, refusal.code, refusal.text))
        return None


def refuse(client: Client, about: int, cause: str) -> None:
    """Error 321, by which TWS turns down a request that makes no sense."""
    client.send(replies.error(about, 321, invalid(cause).text))
