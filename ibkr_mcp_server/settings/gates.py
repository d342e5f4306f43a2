"""What must be switched on before anything trades, and which accounts may."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup
from ibkr_mcp_server.settings.rules import Privacy

LIVE_TRADING_ACKNOWLEDGEMENT = "I accept that orders trade real money"
DISABLED_CONTROLS_ACKNOWLEDGEMENT = "I accept that controls of this account are off"


class GateSettings(SettingGroup):
    """The doors that stay shut until the operator opens them."""

    # Gates
    enable_trading: Annotated[bool, rules.switch()] = Field(
        default=False, description="Master switch: without it no order is placed or changed."
    )
    enable_forex_trading: Annotated[bool, rules.switch()] = Field(
        default=False, description="Allows currency orders, besides the master switch."
    )
    enable_international_trading: Annotated[bool, rules.switch()] = Field(
        default=False,
        description="Allows orders that are listed outside the US or priced in another currency than USD.",
    )
    enable_stop_loss_orders: Annotated[bool, rules.switch()] = Field(
        default=False, description="Allows placing stop-loss orders; listing and cancelling them is always allowed."
    )
    dry_run: Annotated[bool, rules.switch()] = Field(
        default=False, description="Checks and records every order as usual, and sends none."
    )
    safe_mode: Annotated[bool, rules.switch()] = Field(
        default=False, description="Holds the server in its SAFE state, whatever else is set."
    )
    live_trading: Annotated[bool, rules.switch()] = Field(
        default=False, description="One of the conditions for orders in live mode."
    )
    live_trading_ack: Annotated[str, rules.phrase(LIVE_TRADING_ACKNOWLEDGEMENT)] = Field(
        default="", description="One of the conditions for orders in live mode: the acknowledgement, word for word."
    )
    live_accounts: Annotated[tuple[str, ...], rules.accounts(may_be_empty=True, privacy=Privacy.ACCOUNTS)] = Field(
        default=(), repr=False, description="The exact accounts that may trade in live mode; none by default."
    )
    safety_mode: Annotated[bool, rules.switch()] = Field(
        default=True, description="Safety checks of orders; can be off only with the simulator."
    )
    enable_kill_switch: Annotated[bool, rules.switch()] = Field(
        default=True,
        description="A stop holds orders back. Off, stops are only recorded; never in live mode, in paper mode only "
        "with the acknowledgement below.",
    )
    enable_audit_logging: Annotated[bool, rules.switch()] = Field(
        default=True,
        description="Each call and order is recorded. Off, only starts, switches, people and what is unclear are; as "
        "above.",
    )
    disabled_controls_ack: Annotated[str, rules.phrase(DISABLED_CONTROLS_ACKNOWLEDGEMENT)] = Field(
        default="", description="Lets a control be off in paper mode: the acknowledgement, word for word."
    )
    decision_timeout_seconds: Annotated[float, rules.seconds(30)] = Field(
        default=2.0, description="How long the checks of one request may take before it is refused."
    )

    # Accounts
    require_paper_account_verification: Annotated[bool, rules.switch()] = Field(
        default=True,
        description="Blocks all orders unless every account of the link is a paper account; off in paper mode only "
        "with the acknowledgement above. In live mode the list of live accounts decides besides.",
    )
    allowed_account_prefixes: Annotated[tuple[str, ...], rules.account_prefixes()] = Field(
        default=("DU", "DUH"),
        description="What paper accounts begin with, before the first digit; not used in live mode.",
    )
    account_verification_max_age_seconds: Annotated[float, rules.seconds(600)] = Field(
        default=60.0, description="How old the broker's own list of accounts may be when an order is sent."
    )
