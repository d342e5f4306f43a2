"""Messages about options (tws-wire guide, sections 5 and 6)."""

from __future__ import annotations

from decimal import Decimal

from ibkr_mcp_server.simulator.option_chains import OptionParameters
from ibkr_mcp_server.simulator.option_pricing import Computation
from ibkr_mcp_server.simulator.replies import Message
from ibkr_mcp_server.simulator.wire import Field

BID, ASK, LAST, MODEL = 10, 11, 12, 13
CUSTOM = 53
"""The tick type of what reqCalculateOptionPrice and reqCalculateImpliedVolatility bring."""
DELAYED = {BID: 80, ASK: 81, LAST: 82, MODEL: 83}

_PRICE_BASED = 1
"""tickAttrib: the volatility was computed from prices, not from returns."""


def option_parameters(req_id: int, row: OptionParameters) -> Message:
    start = (75, req_id, row.exchange, row.underlying_con_id, row.trading_class, row.multiplier)
    lists: list[Field] = [len(row.expirations), *row.expirations, len(row.strikes), *row.strikes]
    return (*start, *lists)


def option_computation(req_id: int, tick_type: int, found: Computation) -> Message:
    numbers = (
        *(found.implied_volatility, found.delta, found.price, found.dividends),
        *(found.gamma, found.vega, found.theta, found.underlying_price),
    )
    return (21, req_id, tick_type, _PRICE_BASED, *[_plain(number) for number in numbers])


def no_option_computation(req_id: int, tick_type: int) -> Message:
    """What TWS sends where nothing could be computed: -1 for volatility and prices, -2 for the greeks."""
    return (21, req_id, tick_type, _PRICE_BASED, -1, -2, -1, -1, -2, -2, -2, -1)


def _plain(number: float) -> Decimal:
    """Eight digits after the point, without an exponent."""
    return Decimal(f"{number:.8f}")  # however large: quantize ends at the context's precision
