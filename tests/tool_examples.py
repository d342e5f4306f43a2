"""One good call of every tool, in the order in which they are made: orders are placed before they are asked about.

The examples run over every transport and in both eras (`tests/surface/test_every_tool.py`), and they are what other
tests call when any good call of a tool will do. A tool without one fails a test.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any, ClassVar

from ibkr_mcp_server.tools.server import SCHEMAS

LISTINGS: dict[str, Any] = {entry["name"]: entry for entry in json.loads(SCHEMAS.read_text(encoding="utf-8"))}
"""The entry of tools/list of each tool; `test_tools_listed.py` holds the file against the code."""

Ask = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Calls a tool and returns its answer."""


@dataclass(frozen=True, kw_only=True)
class NearBid:
    """A price this far from the bid at the time of the call, on a grid of cents."""

    symbol: str
    factor: str

    without_gateway = 150.0

    async def found(self, ask: Ask) -> float:
        [quote] = (await ask("get_market_data", {"symbols": [self.symbol]}))["quotes"]
        return self.of(quote)

    def of(self, quote: dict[str, Any]) -> float:
        price = Decimal(quote["bid"]) * Decimal(self.factor)
        return float(price.quantize(Decimal("0.01"), ROUND_DOWN))


@dataclass(frozen=True, kw_only=True)
class NextExpiry:
    """The nearest expiration of the options on a symbol that is not today's."""

    symbol: str

    without_gateway = "20261218"

    async def found(self, ask: Ask) -> str:
        [chain, *_] = (await ask("get_option_chain", {"symbol": self.symbol}))["chains"]
        return str(chain["expirations"][1])


@dataclass(frozen=True, kw_only=True)
class NearStrikes:
    """The strikes nearest to a symbol's price."""

    symbol: str
    how_many: int

    without_gateway: ClassVar = [150.0]

    async def found(self, ask: Ask) -> list[float]:
        wanted = {"symbol": self.symbol, "max_strikes": self.how_many}
        [chain, *_] = (await ask("get_option_chain", wanted))["chains"]
        return [float(strike) for strike in chain["strikes"]]


@dataclass(frozen=True, kw_only=True)
class NewestArticle:
    """A field of the newest headline about a symbol."""

    symbol: str
    field: str

    without_gateway = "BRFG"

    async def found(self, ask: Ask) -> str:
        [headline, *_] = (await ask("get_news", {"symbol": self.symbol}))["headlines"]
        return str(headline[self.field])


@dataclass(frozen=True, kw_only=True)
class FreshTicket:
    """A ticket that was made a moment ago."""

    without_gateway = "0" * 16

    async def found(self, ask: Ask) -> str:
        return str((await ask("prepare_order", EXAMPLES["prepare_order"]))["ticket"])


Lookup = NearBid | NextExpiry | NearStrikes | NewestArticle | FreshTicket
"""An argument that has to be asked for first."""

ORDER = {"symbol": "AAPL", "action": "BUY", "quantity": 1}
PROFIT, LOSS = NearBid(symbol="AAPL", factor="1.05"), NearBid(symbol="AAPL", factor="0.9")
RESTING = NearBid(symbol="AAPL", factor="0.95")

EXAMPLES: dict[str, dict[str, Any]] = {
    "get_connection_status": {},
    "get_accounts": {},
    "get_account_summary": {},
    "get_portfolio": {},
    "get_pnl": {"per_position": True},
    "get_market_data": {"symbols": ["AAPL", "EUR.USD"]},
    "resolve_symbol": {"symbol": "AAPL"},
    "get_contract_details": {"symbol": "AAPL"},
    "get_historical_bars": {"symbol": "AAPL", "bar_size": "1 day", "duration": "10 D", "head_timestamp": True},
    "get_forex_rates": {"symbols": ["EUR.USD", "USD.JPY"]},
    "convert_currency": {"amount": 1000, "from_currency": "JPY", "to_currency": "CHF"},
    "switch_account": {"account": "DU9000001"},
    "get_tool_documentation": {"tool_name": "place_limit_order"},
    "get_option_chain": {"symbol": "AAPL", "max_strikes": 5},
    "get_option_quotes": {
        "symbol": "AAPL",
        "last_trade_date": NextExpiry(symbol="AAPL"),
        "strikes": NearStrikes(symbol="AAPL", how_many=2),
    },
    "run_scanner": {"scan_code": "TOP_PERC_GAIN", "number_of_rows": 5},
    "get_scanner_parameters": {"search": "gain"},
    "check_order": ORDER | {"order_type": "MKT"},
    "place_market_order": ORDER | {"client_request_id": "example-market"},
    "place_limit_order": ORDER | {"limit_price": RESTING, "client_request_id": "example-limit"},
    "prepare_order": {"tool": "place_market_order", "arguments": ORDER},
    "commit_order": {"ticket": FreshTicket()},
    "get_order_status": {"order_request_id": "example-limit"},
    "get_open_orders": {},
    "modify_order": {"order_request_id": "example-limit", "quantity": 2},
    "cancel_order": {"order_request_id": "example-limit"},
    "place_stop_loss": {"symbol": "AAPL", "action": "SELL", "quantity": 1, "stop_price": RESTING}
    | {"client_request_id": "example-stop"},
    "get_stop_losses": {},
    "modify_stop_loss": {"order_request_id": "example-stop", "outside_rth": True},
    "cancel_stop_loss": {"order_request_id": "example-stop"},
    "wait_for_order": {"order_request_id": "example-stop", "timeout_seconds": 5},
    "place_bracket_order": ORDER
    | {"limit_price": RESTING, "take_profit_price": PROFIT, "stop_loss_price": LOSS}
    | {"client_request_id": "example-bracket"},
    "close_position": {"symbol": "AAPL", "client_request_id": "example-close"},
    "cancel_all_orders": {},
    "get_completed_orders": {},
    "get_executions": {},
    # After the orders: such text holds the next one to one more confirmation (LLM-03).
    "get_news": {"symbol": "AAPL", "total_results": 5},
    "get_news_article": {
        "provider": NewestArticle(symbol="AAPL", field="provider"),
        "article_id": NewestArticle(symbol="AAPL", field="article_id"),
    },
    "get_safety_status": {},
    "get_audit_log": {"max_records": 5},
    "emergency_stop": {"reason": "a test"},
}
"""Ends with the stop, after which nothing can be placed."""


async def call_example(name: str, ask: Ask) -> dict[str, Any]:
    """Make the example call of one tool by `ask`, after what its arguments have to be looked up with."""
    arguments = dict(EXAMPLES[name])
    for key, value in arguments.items():
        if isinstance(value, Lookup):
            arguments[key] = await value.found(ask)
    return await ask(name, arguments)


async def call_examples(ask: Ask, *, but_for: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """The answer of every example `but_for` these, by the tool's name."""
    return {name: await call_example(name, ask) for name in EXAMPLES if name not in but_for}
