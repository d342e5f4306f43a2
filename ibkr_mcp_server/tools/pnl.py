"""The tool about profit and loss."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from ibkr_mcp_server.domain.accounts import Position, PositionPnl
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import profit_and_loss as operations
from ibkr_mcp_server.tools.arguments import AccountArguments
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import AccountId, Exact, Facts, Part, Unknown
from ibkr_mcp_server.tools.views import age


class PnlArguments(AccountArguments):
    per_position: bool = Field(default=True, description="Also of each holding")


class PositionPnlView(Part):
    """What one holding gained or lost."""

    symbol: str
    con_id: int
    quantity: Exact | Unknown = None
    daily_pnl: Exact | Unknown = None
    unrealized_pnl: Exact | Unknown = None
    realized_pnl: Exact | Unknown = None
    market_value: Exact | Unknown = None
    currency: str | Unknown = None
    received_at: datetime
    age_seconds: float


class PnlFacts(Facts):
    account: AccountId
    currency: str | Unknown = None
    daily_pnl: Exact | Unknown = None
    unrealized_pnl: Exact | Unknown = None
    realized_pnl: Exact | Unknown = None
    received_at: datetime
    age_seconds: float
    positions: tuple[PositionPnlView, ...] | Unknown = None


async def get_pnl(call: Call, arguments: PnlArguments) -> Reply:
    operation = call.operation(account=arguments.account)
    answer = await operations.profit_and_loss(
        operation, call.desk, per_position=arguments.per_position, progress=call.progress
    )
    found = answer.result
    assert found is not None
    now = call.desk.clock.now()
    rows = None
    if arguments.per_position:
        rows = tuple(_row(held, told, found.base_currency, now) for held, told in found.positions)
    facts = PnlFacts(
        account=found.account.account,
        currency=found.base_currency,
        daily_pnl=found.account.daily,
        unrealized_pnl=found.account.unrealized,
        realized_pnl=found.account.realized,
        received_at=found.account.received_at,
        age_seconds=age(found.account.received_at, now),
        positions=rows,
    )
    warnings = []
    if found.left_out:
        warnings.append(f"{found.left_out} of the holdings are left out; get_portfolio has all of them.")
    if any(row.currency is None for row in rows or ()):
        warnings.append(
            "Rows without a currency: the holding is not in the account's currency, and IBKR does not say in which of "
            "the two it counts them."
        )
    return Reply(decision=answer.decision, facts=facts, warnings=tuple(warnings))


def _row(held: Position, told: PositionPnl, base_currency: str | None, now: datetime) -> PositionPnlView:
    instrument = held.instrument
    return PositionPnlView(
        symbol=instrument.label,
        con_id=instrument.con_id,
        quantity=told.quantity,
        daily_pnl=told.daily,
        unrealized_pnl=told.unrealized,
        realized_pnl=told.realized,
        market_value=told.market_value,
        currency=base_currency if instrument.currency == base_currency else None,
        received_at=told.received_at,
        age_seconds=age(told.received_at, now),
    )


TOOLS = (
    Tool(
        name="get_pnl",
        title="Profit and loss",
        description="Daily, unrealized and realized profit and loss of one account, in its base currency, and of each "
        "holding, as TWS's portfolio window shows them now; they reset when that window does. A missing figure is "
        "unknown, not zero.",
        toolset=Toolset.ACCOUNT,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=PnlArguments,
        facts=PnlFacts,
        handler=get_pnl,
    ),
)
