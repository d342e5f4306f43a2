"""Tools about the link and the accounts."""

from __future__ import annotations

from datetime import datetime

from ibkr_mcp_server import __version__
from ibkr_mcp_server.broker.base import LinkStatus, client_library
from ibkr_mcp_server.domain.accounts import AccountSummary, Position
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import account as operations
from ibkr_mcp_server.tools.arguments import AccountArguments, NoArguments
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import AccountId, Amount, Exact, Facts, Part, Unknown, amount
from ibkr_mcp_server.tools.views import age


class FarmView(Part):
    """A data service of IBKR behind the gateway."""

    name: str
    state: str
    since: datetime


class LinkView(Part):
    """The connection to the broker."""

    state: str
    is_up: bool
    address: str
    client_id: int
    since: datetime
    problem: str | Unknown = None
    needs_a_person: bool
    attempts: int
    last_heard_age_seconds: float | Unknown = None
    broker_clock_ahead_seconds: float | Unknown = None
    broker_clock_uncertainty_seconds: float | Unknown = None
    server_version: int | Unknown = None
    accounts_verified_at: datetime | Unknown = None
    accounts_age_seconds: float | Unknown = None
    broken_farms: tuple[str, ...]
    farms: tuple[FarmView, ...]


def link_view(link: LinkStatus, now: datetime) -> LinkView:
    verified, offset = link.accounts_verified_at, link.clock_offset
    return LinkView(
        state=link.state,
        is_up=link.is_up,
        address=link.address,
        client_id=link.client_id,
        since=link.since,
        problem=link.problem,
        needs_a_person=link.needs_a_person,
        attempts=link.attempts,
        last_heard_age_seconds=None if link.heard_at is None else age(link.heard_at, now),
        broker_clock_ahead_seconds=None if offset is None else round(offset.seconds, 3),
        broker_clock_uncertainty_seconds=None if offset is None else round(offset.uncertainty_seconds, 3),
        server_version=link.server_version,
        accounts_verified_at=verified,
        accounts_age_seconds=None if verified is None else age(verified, now),
        broken_farms=link.broken_farms,
        farms=tuple(FarmView(name=farm.name, state=farm.state, since=farm.since) for farm in link.farms),
    )


class ConnectionFacts(Facts):
    link: LinkView
    accounts: tuple[AccountId, ...]
    server: str
    client_library: str


async def get_connection_status(call: Call, _: NoArguments) -> Reply:
    answer = await operations.connection_status(call.operation(), call.desk)
    assert answer.result is not None
    facts = ConnectionFacts(
        link=link_view(answer.result, call.desk.clock.now()),
        accounts=answer.result.accounts,
        server=f"ibkr-mcp-server {__version__}",
        client_library=" ".join(client_library()),
    )
    return Reply(decision=answer.decision, facts=facts, next_step=answer.result.problem)


class AccountView(Part):
    """One account of the link."""

    account: AccountId
    may_trade: bool
    is_default: bool


class AccountsFacts(Facts):
    accounts: tuple[AccountView, ...]


async def get_accounts(call: Call, _: NoArguments) -> Reply:
    answer = await operations.accounts(call.operation(), call.desk)
    entries = answer.result or ()
    views = tuple(
        AccountView(account=entry.account, may_trade=entry.accepted, is_default=entry.is_default) for entry in entries
    )
    return Reply(decision=answer.decision, facts=AccountsFacts(accounts=views))


class SummaryFacts(Facts):
    account: AccountId
    received_at: datetime
    age_seconds: float
    base_currency: str | Unknown = None
    net_liquidation: Amount | Unknown = None
    total_cash: Amount | Unknown = None
    settled_cash: Amount | Unknown = None
    buying_power: Amount | Unknown = None
    available_funds: Amount | Unknown = None
    excess_liquidity: Amount | Unknown = None
    gross_position_value: Amount | Unknown = None
    initial_margin: Amount | Unknown = None
    maintenance_margin: Amount | Unknown = None
    unrealized_pnl: Amount | Unknown = None
    realized_pnl: Amount | Unknown = None
    cash_balances: tuple[Amount, ...]


async def get_account_summary(call: Call, arguments: AccountArguments) -> Reply:
    answer = await operations.account_summary(call.operation(account=arguments.account), call.desk)
    assert answer.result is not None
    return Reply(decision=answer.decision, facts=_summary(answer.result, call.desk.clock.now()))


def _summary(summary: AccountSummary, now: datetime) -> SummaryFacts:
    return SummaryFacts(
        account=summary.account,
        received_at=summary.received_at,
        age_seconds=age(summary.received_at, now),
        base_currency=summary.base_currency,
        net_liquidation=amount(summary.net_liquidation),
        total_cash=amount(summary.total_cash),
        settled_cash=amount(summary.settled_cash),
        buying_power=amount(summary.buying_power),
        available_funds=amount(summary.available_funds),
        excess_liquidity=amount(summary.excess_liquidity),
        gross_position_value=amount(summary.gross_position_value),
        initial_margin=amount(summary.initial_margin),
        maintenance_margin=amount(summary.maintenance_margin),
        unrealized_pnl=amount(summary.unrealized_pnl),
        realized_pnl=amount(summary.realized_pnl),
        cash_balances=tuple(
            Amount(amount=cash, currency=currency) for currency, cash in sorted(summary.cash_balances.items())
        ),
    )


class PositionView(Part):
    """A holding; figures in its currency."""

    symbol: str
    con_id: int
    sec_type: str
    currency: str
    quantity: Exact
    average_cost: Exact | Unknown = None
    market_price: Exact | Unknown = None
    market_value: Exact | Unknown = None
    unrealized_pnl: Exact | Unknown = None
    realized_pnl: Exact | Unknown = None
    account: AccountId


class PortfolioFacts(Facts):
    positions: tuple[PositionView, ...]


async def get_portfolio(call: Call, arguments: AccountArguments) -> Reply:
    answer = await operations.portfolio(call.operation(account=arguments.account), call.desk)
    positions = tuple(_position(position) for position in answer.result or ())
    return Reply(decision=answer.decision, facts=PortfolioFacts(positions=positions))


def _position(position: Position) -> PositionView:
    instrument = position.instrument
    return PositionView(
        symbol=instrument.label,
        con_id=instrument.con_id,
        sec_type=instrument.sec_type,
        currency=instrument.currency,
        quantity=position.quantity,
        average_cost=position.average_cost,
        market_price=position.market_price,
        market_value=position.market_value,
        unrealized_pnl=position.unrealized_pnl,
        realized_pnl=position.realized_pnl,
        account=position.account,
    )


TOOLS = (
    Tool(
        name="get_connection_status",
        title="Connection status",
        description="Whether the link to the broker is up, to which gateway, and if not, what is missing and how to "
        "repair it. Works without a link: call it first when another tool reports BROKER_UNAVAILABLE or LINK_DOWN. "
        "Whether orders may pass is told by get_safety_status.",
        toolset=Toolset.ACCOUNT,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=NoArguments,
        facts=ConnectionFacts,
        handler=get_connection_status,
    ),
    Tool(
        name="get_accounts",
        title="Accounts",
        description="The accounts of this link, which one is the default, and whether each may be traded under the "
        "operator's configuration.",
        toolset=Toolset.ACCOUNT,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=NoArguments,
        facts=AccountsFacts,
        handler=get_accounts,
    ),
    Tool(
        name="get_account_summary",
        title="Account summary",
        description="Balances of one account: net liquidation, cash by currency, buying power, margin, profit and "
        "loss. Amounts are decimal text with their currency; a figure that is missing is unknown, not zero. For "
        "holdings use get_portfolio.",
        toolset=Toolset.ACCOUNT,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=AccountArguments,
        facts=SummaryFacts,
        handler=get_account_summary,
    ),
    Tool(
        name="get_portfolio",
        title="Portfolio",
        description="Holdings of one account as the broker reports them at `at`: quantity (negative is short), average "
        "cost per unit, market price and value, profit and loss, in the currency of each line. An empty list means "
        "no holdings; failures are errors. For working orders use get_open_orders.",
        toolset=Toolset.ACCOUNT,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=AccountArguments,
        facts=PortfolioFacts,
        handler=get_portfolio,
    ),
)
