"""What takes a second yes, and what a stop does."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field, SecretStr

from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup


class PeopleSettings(SettingGroup):
    """Confirmations and stops."""

    # Confirmation
    confirm_above_usd: Annotated[Decimal, rules.us_dollars(1_000_000_000)] = Field(
        default=Decimal(5_000),
        description="In paper mode an order that opens for more takes a second step of the agent.",
    )
    human_confirm_above_usd: Annotated[
        Decimal | None, rules.us_dollars(1_000_000_000, unset="no amount needs a person; live orders always do")
    ] = Field(default=None, description="In every mode an order that opens for more takes the word of a person.")
    confirmation_seconds: Annotated[float, rules.seconds(600)] = Field(
        default=60.0, description="How long a prepared order can be committed."
    )
    person_confirmation_seconds: Annotated[float, rules.seconds(3_600)] = Field(
        default=900.0, description="The same for an order that a person must confirm."
    )
    max_pending_confirmations: Annotated[int, rules.whole_number(1, 100)] = Field(
        default=3, description="Prepared orders that may wait for a yes: an agent's own, and of all for people."
    )
    max_confirmations_per_hour: Annotated[int, rules.whole_number(1, 1_000)] = Field(
        default=20, description="Orders that may be prepared for a yes in an hour; counted likewise."
    )

    # Stop
    kill_cancel_entry_orders: Annotated[bool, rules.switch()] = Field(
        default=True, description="A stop also cancels working orders that would open or add to a position."
    )
    kill_switch: Annotated[bool, rules.switch()] = Field(
        default=False, description="Stops trading at each start; false ends no stop that there is."
    )
    redis_url: Annotated[SecretStr | None, rules.redis_url(unset="no Redis is asked")] = Field(
        default=None,
        description="Redis in which a key can stop trading; while it does not answer, nothing is opened. Never shown.",
    )
    kill_switch_redis_key: Annotated[str, rules.redis_key()] = Field(
        default="ibkr:kill_switch:active",
        description="The key that stops trading while it is set; removing it ends no stop.",
    )
    cancel_entries_on_shutdown: Annotated[bool, rules.switch()] = Field(
        default=False, description="A server that is told to end cancels its working entry orders first."
    )
