"""The house's small print: tiers, families, display groups, what this login is refused (tws-wire guide, 5 and 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ibkr_mcp_server.simulator import replies, research_replies
from ibkr_mcp_server.simulator.accounts import Accounts
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.requests import Request
from ibkr_mcp_server.simulator.research_requests import (
    Declined,
    ReqDisplayGroups,
    ReqFamilyCodes,
    ReqSoftDollarTiers,
    SubscribeToGroupEvents,
)


class HouseDesk:
    def __init__(self, *, accounts: Accounts) -> None:
        self._accounts = accounts
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqSoftDollarTiers: self._soft_dollar_tiers,
            ReqFamilyCodes: self._family_codes,
            ReqDisplayGroups: self._display_groups,
            SubscribeToGroupEvents: self._group_events,
            Declined: self._declined,
        }

    def _soft_dollar_tiers(self, client: Client, request: ReqSoftDollarTiers) -> None:
        client.send(research_replies.soft_dollar_tiers(request.req_id))

    def _family_codes(self, client: Client, request: ReqFamilyCodes) -> None:
        client.send(research_replies.family_codes(self._accounts.served))

    def _display_groups(self, client: Client, request: ReqDisplayGroups) -> None:
        client.send(research_replies.display_groups(request.req_id))

    def _group_events(self, client: Client, request: SubscribeToGroupEvents) -> None:
        client.send(research_replies.display_group_updated(request.req_id))

    def _declined(self, client: Client, request: Declined) -> None:
        client.send(replies.error(request.about, request.code, request.text))
