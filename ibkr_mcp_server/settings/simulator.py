"""The built-in paper gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup


class SimulatorSettings(SettingGroup):
    """What the built-in paper gateway serves."""

    # Simulator
    simulator_seed: Annotated[int, rules.whole_number(0, 2_147_483_647)] = Field(
        default=1, description="Same seed, same prices."
    )
    simulator_accounts: Annotated[tuple[str, ...], rules.accounts()] = Field(
        default=("DU9000001", "DU9000002"), description="Accounts that the built-in paper gateway serves."
    )
    simulator_market_always_open: Annotated[bool, rules.switch()] = Field(
        default=True, description="The simulated market never closes; false keeps the exchange's hours."
    )
    simulator_speed: Annotated[float, rules.factor(1_000)] = Field(
        default=1.0, description="Simulated seconds for each real one."
    )
