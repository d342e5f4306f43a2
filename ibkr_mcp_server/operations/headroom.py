"""How much of every limit is used and left, as the safety status shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_UP, Decimal

from sqlalchemy import Connection

from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.domain.money import CENT
from ibkr_mcp_server.domain.orders import STOP_TYPES
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.checks.capital import BASIS_POINTS, investable
from ibkr_mcp_server.safety.efficiency import ratio
from ibkr_mcp_server.safety.exposure import Holdings
from ibkr_mcp_server.safety.limits_in_force import LimitsInForce
from ibkr_mcp_server.safety.minute_window import MINUTE_SECONDS
from ibkr_mcp_server.safety.portfolio import LimitUse, limit_use
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import agent_positions, intents
from ibkr_mcp_server.store.intents import Opening


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """One limit and how much of it is left."""

    name: str
    used: str
    limit: str
    left: str


def headroom(
    connection: Connection, desk: Desk, in_force: LimitsInForce, agent: str, *, minute: int, today: int
) -> tuple[Headroom, ...]:
    """Every limit in force, for the next order of `agent`; opening orders of the last minute and day were counted."""
    settings = in_force.of(desk.settings)
    opened = intents.openings(connection, desk.clock, max(MINUTE_SECONDS, settings.cycle_seconds))
    own = in_force.of_agent(desk.safety.agent_limits.get(agent, AgentLimits()))
    return (
        *order_limits(settings, minute, today),
        *_agent_limits(connection, desk, agent),
        *_pace_limits(settings, opened),
        *_own_limits(own, [one for one in opened if one.agent == agent]),
        *_working_limits(settings, desk),
        *_portfolio_limits(settings, _stands(connection, desk, agent, opened)),
        _margin_use(settings, desk),
    )


def order_limits(settings: Settings, minute: int, today: int) -> tuple[Headroom, ...]:
    """Each limit with what is used of it."""
    return (
        _counted("opening_orders_per_minute", minute, settings.max_orders_per_minute),
        _counted("opening_orders_per_trading_day", today, settings.max_daily_orders),
        _per_order("order_size_units", settings.max_order_size),
        _per_order("order_value_usd", settings.max_order_value_usd),
        _per_order("price_collar_pct", settings.price_collar_pct),
    )


def position_limits(settings: Settings) -> tuple[Headroom, ...]:
    """Those of the portfolio, for who does not see what is held: what is used of them is unknown."""
    nothing = LimitUse(equity_usd=None, largest_usd=None, gross_usd=None, instruments=0)
    return tuple(replace(one, used="unknown", left="unknown") for one in _portfolio_limits(settings, nothing))


def _agent_limits(connection: Connection, desk: Desk, agent: str) -> tuple[Headroom, ...]:
    """Those on how often may be asked; attempts are the caller's own, the others are shared."""
    settings, safety = desk.settings, desk.safety
    day = intents.messages_on(connection, trading_day(desk.clock.now()))
    most = settings.max_messages_per_fill
    changed = intents.modifications_in_window(connection, desk.clock, MINUTE_SECONDS)
    return (
        _counted("attempts_per_minute", safety.throttle.used(agent), settings.max_attempts_per_minute),
        _counted(
            "account_reads_per_minute",
            len(safety.account_reads.ages_seconds()),
            settings.max_account_reads_per_minute,
        ),
        Headroom(
            name="messages_per_fill",
            used=f"{ratio(day):.1f}",
            limit=str(most),
            left=f"{max(0.0, most - ratio(day)):.1f}",
        ),
        _counted("modifications_per_minute", len(changed), settings.max_modifications_per_minute),
        _counted(
            "market_data_per_minute", len(safety.quoted.ages_seconds()), settings.max_market_data_requests_per_minute
        ),
    )


def _portfolio_limits(settings: Settings, stands: LimitUse) -> tuple[Headroom, ...]:
    """The limits of the portfolio of the default account; for one instrument, of the one that comes to most."""
    equity = stands.equity_usd
    largest, gross = _share(stands.largest_usd, equity), _share(stands.gross_usd, equity)
    leverage = None if gross is None else gross / 100
    return (
        _measured("largest_position_pct_of_equity", largest, settings.max_position_size_pct),
        _measured("largest_position_usd", stands.largest_usd, settings.max_position_value_usd),
        _measured("total_exposure_pct_of_equity", gross, settings.max_total_exposure_pct),
        _measured("total_exposure_usd", stands.gross_usd, settings.max_total_exposure_usd),
        _measured(
            "agent_exposure_pct_of_equity", _share(stands.strategy_usd, equity), settings.max_position_pct_per_strategy
        ),
        _measured("largest_sector_pct_of_equity", _share(stands.sector_usd, equity), settings.max_sector_exposure_pct),
        _measured("purchases_usd", _with_fees(stands.outlay_usd, settings), _investable(stands, settings)),
        _measured(
            "capital_at_risk_fraction",
            _fraction(stands.at_risk_usd, equity),
            settings.max_portfolio_value_at_risk,
        ),
        _counted("concurrent_positions", stands.instruments, settings.max_concurrent_positions),
        _measured("leverage", leverage, settings.max_leverage),
    )


def _pace_limits(settings: Settings, opened: Sequence[Opening]) -> Iterator[Headroom]:
    """The value of what all agents opened lately."""
    cycle = _worth_of(one for one in opened if one.age_seconds < settings.cycle_seconds)
    today = _worth_of(one for one in opened if one.is_today)
    yield _measured("opening_usd_in_cycle", cycle, settings.max_cycle_value_usd)
    yield _measured("opening_usd_in_trading_day", today, settings.max_daily_value_usd)


def _own_limits(own: AgentLimits, mine: Sequence[Opening]) -> Iterator[Headroom]:
    """What the operator allows this agent alone."""
    if own.max_orders_per_minute is not None:
        minute = sum(one.age_seconds < MINUTE_SECONDS for one in mine)
        yield _counted("own_orders_per_minute", minute, own.max_orders_per_minute)
    if own.max_daily_orders is not None:
        yield _counted("own_orders_per_trading_day", sum(one.is_today for one in mine), own.max_daily_orders)
    if own.max_order_value_usd is not None:
        yield _per_order("own_order_value_usd", own.max_order_value_usd)


def _worth_of(opened: Iterable[Opening]) -> Decimal:
    """Each order once, at the most that it was worth."""
    worth: dict[str, Decimal] = {}
    for one in opened:
        worth[one.order_ref] = max(worth.get(one.order_ref, Decimal(0)), one.value_usd)
    return sum(worth.values(), Decimal(0))


def _working_limits(settings: Settings, desk: Desk) -> Iterator[Headroom]:
    """Working orders of the default account; of one instrument, where most work."""
    account = desk.default_account.on(desk.broker.link)
    working = [one.order for one in desk.broker.known_orders() if one.is_working and one.order.account == account]
    by_instrument = Counter(order.instrument.con_id for order in working)
    stops = sum(order.order_type in STOP_TYPES for order in working)
    yield _counted("working_orders", len(working), settings.max_working_orders)
    most = max(by_instrument.values(), default=0)
    yield _counted("working_orders_in_one_instrument", most, settings.max_working_orders_per_symbol)
    yield _counted("working_stop_losses", stops, settings.max_stop_loss_orders)


def _margin_use(settings: Settings, desk: Desk) -> Headroom:
    balances = desk.broker.known_balances(desk.default_account.on(desk.broker.link) or "")
    margin, equity = (None, None) if balances is None else (balances.maintenance_margin, balances.net_liquidation)
    known = margin is not None and equity is not None and margin.currency == equity.currency and equity.amount > 0
    used = margin.amount * 100 / equity.amount if known and margin is not None and equity is not None else None
    return _measured("margin_use_pct", used, settings.margin_use_warning_pct)


def _stands(connection: Connection, desk: Desk, agent: str, opened: Sequence[Opening]) -> LimitUse:
    account, broker = desk.default_account.on(desk.broker.link) or "", desk.broker
    return limit_use(
        account,
        balances=broker.known_balances(account),
        holdings=Holdings(
            positions=broker.known_positions(),
            orders=broker.known_orders(),
            unsettled=broker.unsettled(account),
            industries=broker.known_industries(),
        ),
        unresolved=intents.unresolved(connection),
        openings=opened,
        collar_pct=desk.settings.price_collar_pct,
        agent=agent,
        shares=agent_positions.all_of(connection),
    )


def _with_fees(amount: Decimal | None, settings: Settings) -> Decimal | None:
    return None if amount is None else amount * (1 + settings.fee_estimate_bps / BASIS_POINTS)


def _investable(stands: LimitUse, settings: Settings) -> Decimal | None:
    """Settled cash above the reserve."""
    if stands.cash_usd is None or stands.equity_usd is None:
        return None
    return investable(stands.cash_usd, stands.equity_usd, settings.cash_reserve_pct, settings.cash_reserve_usd)


def _fraction(amount: Decimal | None, equity: Decimal | None) -> Decimal | None:
    share = _share(amount, equity)
    return None if share is None else share / 100


def _share(amount: Decimal | None, equity: Decimal | None) -> Decimal | None:
    return None if amount is None or equity is None or equity <= 0 else amount / equity * 100


def _measured(name: str, used: Decimal | None, limit: Decimal | None) -> Headroom:
    """What is not known leaves no room."""
    if limit is not None and limit != limit.to_integral_value():
        limit = limit.quantize(CENT, ROUND_DOWN)
    if used is None or limit is None:
        return Headroom(name=name, used="unknown", limit="unknown" if limit is None else f"{limit:f}", left="unknown")
    left = max(Decimal(0), limit - used).quantize(CENT, ROUND_DOWN)
    return Headroom(name=name, used=f"{used.quantize(CENT, ROUND_UP):f}", limit=f"{limit:f}", left=f"{left:f}")


def _counted(name: str, used: int, limit: int) -> Headroom:
    return Headroom(name=name, used=str(used), limit=str(limit), left=str(max(0, limit - used)))


def _per_order(name: str, limit: object) -> Headroom:
    return Headroom(name=name, used="0", limit=str(limit), left=str(limit))
