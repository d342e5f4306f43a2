"""What protects an order? This table: each operation class with its checks, in the order of TW-03.

The step numbers are those of TW-03; the lowest failing step gives the primary reason. All checks of a class run, so
that a caller learns everything at once. `docs/safety.md` prints this table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.domain.operations import Operation, OperationClass
from ibkr_mcp_server.safety.checks import Check
from ibkr_mcp_server.safety.checks.account import AccountCheck
from ibkr_mcp_server.safety.checks.agent_limits import AgentOrders
from ibkr_mcp_server.safety.checks.agent_pace import AccountReadRate, AgentTimeout, ModificationRate
from ibkr_mcp_server.safety.checks.allowed_instruments import AllowedInstruments
from ibkr_mcp_server.safety.checks.bracket import Bracket
from ibkr_mcp_server.safety.checks.capital import CapitalAtRisk, CashReserve
from ibkr_mcp_server.safety.checks.closes_only import ClosesOnly
from ibkr_mcp_server.safety.checks.confirmation import Confirmation
from ibkr_mcp_server.safety.checks.daily_orders import DailyOrders
from ibkr_mcp_server.safety.checks.existing_order import ExistingOrder
from ibkr_mcp_server.safety.checks.exposure_limits import (
    ConcurrentPositions,
    Leverage,
    ShareOfEquity,
    SumInDollars,
    of_all,
    of_sector,
    of_strategy,
    of_symbol,
)
from ibkr_mcp_server.safety.checks.gates import TradingGates
from ibkr_mcp_server.safety.checks.idempotency import Idempotency, repeated
from ibkr_mcp_server.safety.checks.margin import MarginAfter
from ibkr_mcp_server.safety.checks.market_data_rate import MarketDataRate
from ibkr_mcp_server.safety.checks.market_hours import MarketOrderHours, TradingHours
from ibkr_mcp_server.safety.checks.market_quality import AverageVolume, Liquidity, PlausibleQuote
from ibkr_mcp_server.safety.checks.order_efficiency import OrderEfficiency
from ibkr_mcp_server.safety.checks.order_form import OrderForm
from ibkr_mcp_server.safety.checks.order_kind import OrderKind
from ibkr_mcp_server.safety.checks.order_pace import OrderCooldown, PriceWalk, RepeatedOrder, TradedValue
from ibkr_mcp_server.safety.checks.order_price import OrderPrice
from ibkr_mcp_server.safety.checks.order_rate import OrderRate
from ibkr_mcp_server.safety.checks.order_size import OrderSize
from ibkr_mcp_server.safety.checks.order_value import OrderValue
from ibkr_mcp_server.safety.checks.portfolio_known import PortfolioKnown
from ibkr_mcp_server.safety.checks.registered_tool import RegisteredTool
from ibkr_mcp_server.safety.checks.safety_state import CauseGroup, StateCheck
from ibkr_mcp_server.safety.checks.short_selling import ShortSelling
from ibkr_mcp_server.safety.checks.stop_side import StopSide
from ibkr_mcp_server.safety.checks.take_profit import TakeProfitEdge
from ibkr_mcp_server.safety.checks.unresolved_order import UnresolvedOrder
from ibkr_mcp_server.safety.checks.working_orders import SelfMatch, StopLossOrders, WorkingOrders
from ibkr_mcp_server.safety.checks.writer import TheWriter
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import Basis, Findings, Place, Validation, refuses
from ibkr_mcp_server.safety.limits_in_force import AS_CONFIGURED, LimitsInForce
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.settings.broker import BrokerMode
from ibkr_mcp_server.settings.gates import LIVE_TRADING_ACKNOWLEDGEMENT
from ibkr_mcp_server.settings.model import Settings

SWITCHES = frozenset({"kill_switch", "effective_state", "writer", "safe_mode"})
"""The rules that the final gate looks at once more, directly before the socket write (TW-11)."""

VARIANTS_KEPT = 16
"""Tables that were filled with other limits than the configured ones."""


@dataclass(frozen=True, kw_only=True)
class Rule(Place):
    """A check in its place."""

    check: Check
    is_limit: bool = False
    """A limit of amount or frequency: with safety mode off (simulator only, CFG-17) it warns instead of refusing."""


class Policy:
    """The table, filled with this configuration's limits."""

    def __init__(self, settings: Settings, agent_limits: Mapping[str, AgentLimits] | None = None) -> None:
        known = Rule(name="registered_tool", step=0, check=RegisteredTool())
        kill = Rule(name="kill_switch", step=1, check=StateCheck(group=CauseGroup.KILL_SWITCH))
        state = Rule(name="effective_state", step=2, check=StateCheck(group=CauseGroup.CONDITION))
        writer = Rule(name="writer", step=2, check=TheWriter())
        safe_mode = Rule(name="safe_mode", step=3, check=StateCheck(group=CauseGroup.SAFE_MODE))
        gates = Rule(name="trading_gates", step=3, check=trading_gates(settings))
        hours = Rule(name="market_order_hours", step=4, check=MarketOrderHours())
        opening_hours = Rule(
            name="trading_hours",
            step=4,
            check=TradingHours(
                regular_only=settings.trading_hours_only,
                weekends=settings.opens_on_weekends,
                first_minutes=settings.no_entry_first_minutes,
                last_minutes=settings.no_entry_last_minutes,
            ),
        )
        rate = Rule(
            name="order_rate", step=5, check=OrderRate(per_minute=settings.max_orders_per_minute), is_limit=True
        )
        quotes = Rule(
            name="market_data_rate",
            step=5,
            check=MarketDataRate(per_minute=settings.max_market_data_requests_per_minute),
            is_limit=True,
        )
        timeout = Rule(name="agent_timeout", step=5, check=AgentTimeout(per_minute=settings.max_attempts_per_minute))
        reads = Rule(
            name="account_read_rate",
            step=5,
            check=AccountReadRate(per_minute=settings.max_account_reads_per_minute),
            is_limit=True,
        )
        changes = Rule(
            name="modification_rate",
            step=5,
            check=ModificationRate(per_minute=settings.max_modifications_per_minute),
            is_limit=True,
        )
        daily = Rule(
            name="daily_orders",
            step=6,
            check=DailyOrders(per_day=settings.max_daily_orders, warn_at=settings.daily_orders_warning),
            is_limit=True,
        )
        own = Rule(name="agent_orders", step=6, check=AgentOrders(limits=agent_limits or {}), is_limit=True)
        account = Rule(name="account", step=7, check=account_check(settings))
        form = Rule(name="order_form", step=8, check=OrderForm())
        existing = Rule(name="existing_order", step=8, check=ExistingOrder(client_id=settings.client_id))
        kind = Rule(
            name="order_kind",
            step=9,
            check=OrderKind(types=settings.allowed_order_types, times_in_force=settings.allowed_time_in_force),
        )
        size = Rule(name="order_size", step=9, check=OrderSize(max_units=settings.max_order_size), is_limit=True)
        value = Rule(name="order_value", step=9, check=OrderValue(max_usd=settings.max_order_value_usd), is_limit=True)
        price = Rule(
            name="order_price",
            step=9,
            check=OrderPrice(
                collar_pct=settings.price_collar_pct, max_age_seconds=float(settings.quote_max_age_seconds)
            ),
        )
        stop_side = Rule(name="stop_side", step=9, check=StopSide())
        bracket = Rule(name="bracket", step=9, check=Bracket(collar_pct=settings.price_collar_pct))
        edge = Rule(
            name="take_profit_edge",
            step=9,
            check=TakeProfitEdge(
                profit_bps=settings.take_profit_bps,
                fee_bps=settings.fee_estimate_bps,
                slippage_bps=settings.slippage_bps,
            ),
        )
        closes = Rule(name="closes_only", step=9, check=ClosesOnly())
        self.repeated = RepeatedOrder(seconds=settings.repeated_order_seconds)
        self.confirmation = Confirmation(
            mode=settings.broker_mode,
            agent_above_usd=settings.confirm_above_usd,
            person_above_usd=settings.human_confirm_above_usd,
        )
        pace = (
            Rule(
                name="order_cooldown",
                step=9,
                check=OrderCooldown(seconds=settings.order_cooldown_seconds),
                is_limit=True,
            ),
            Rule(
                name="traded_value",
                step=6,
                check=TradedValue(
                    per_cycle_usd=settings.max_cycle_value_usd,
                    cycle_seconds=settings.cycle_seconds,
                    per_day_usd=settings.max_daily_value_usd,
                ),
                is_limit=True,
            ),
            Rule(
                name="price_walk",
                step=9,
                check=PriceWalk(pct=settings.max_price_walk_pct, seconds=settings.price_walk_seconds),
            ),
            Rule(name="repeated_order", step=12, check=self.repeated),
        )
        working = (
            Rule(
                name="working_orders",
                step=9,
                check=WorkingOrders(
                    per_account=settings.max_working_orders, per_symbol=settings.max_working_orders_per_symbol
                ),
                is_limit=True,
            ),
            Rule(
                name="stop_loss_orders", step=9, check=StopLossOrders(most=settings.max_stop_loss_orders), is_limit=True
            ),
            Rule(name="self_match", step=9, check=SelfMatch()),
        )
        market = (
            Rule(name="liquidity", step=9, check=Liquidity(max_spread_pct=settings.max_spread_pct)),
            Rule(name="average_volume", step=9, check=AverageVolume(max_pct=settings.max_average_volume_pct)),
            Rule(name="plausible_quote", step=9, check=PlausibleQuote(max_jump_pct=settings.max_quote_jump_pct)),
        )
        portfolio = portfolio_rules(settings)
        unresolved = Rule(name="unresolved_order", step=12, check=UnresolvedOrder())
        key = Rule(name="idempotency", step=12, check=Idempotency())
        confirmed = Rule(name="confirmation", step=13, check=self.confirmation)

        self._settings, self._agent_limits = settings, agent_limits
        self._variants: dict[LimitsInForce, Policy] = {}
        self._safety_mode = settings.safety_mode
        switches = (kill, state, safe_mode)
        write_switches = (*switches, writer)
        rules = (
            account,
            form,
            kind,
            size,
            value,
            price,
            stop_side,
            bracket,
            edge,
            closes,
            *market,
            *working,
            *pace,
            *portfolio,
        )
        efficiency = Rule(
            name="order_efficiency",
            step=6,
            check=OrderEfficiency(warn_at=settings.messages_per_fill_warning, limit=settings.max_messages_per_fill),
        )
        paces = (timeout, rate, daily, own, efficiency)
        order_rules = (known, *write_switches, gates, hours, opening_hours, *paces, *rules, unresolved, key, confirmed)
        read_rules = (*switches, timeout, form)
        self.table: dict[OperationClass, tuple[Rule, ...]] = {
            OperationClass.ORDER_PLACEMENT: order_rules,
            OperationClass.ORDER_MODIFICATION: (*order_rules, existing, changes),
            # Never refused for a quota or a flag: somebody can always cancel (TW-09, invariant 6).
            OperationClass.ORDER_CANCELLATION: (*write_switches, form, existing, key),
            OperationClass.MARKET_DATA: (*read_rules, quotes),
            OperationClass.FOREX: (*read_rules, quotes),
            OperationClass.ACCOUNT_READ: (*read_rules, reads),
            OperationClass.ACCOUNT_MANAGEMENT: (*switches, timeout, account, form),
            OperationClass.SAFETY_STATUS: (form,),
            # Stopping needs nothing, not even well-formed arguments (KS-18).
            OperationClass.SAFETY_STOP: (),
        }

    def within(self, limits: LimitsInForce) -> Policy:
        """The same table with the limits of one moment."""
        if limits == AS_CONFIGURED:
            return self
        if limits not in self._variants:
            if len(self._variants) >= VARIANTS_KEPT:
                self._variants.clear()
            agents = {name: limits.of_agent(own) for name, own in (self._agent_limits or {}).items()}
            self._variants[limits] = type(self)(limits.of(self._settings), agents)
        return self._variants[limits]

    def with_live_accounts(self, accounts: tuple[str, ...]) -> Policy:
        """The same table for other live accounts."""
        return type(self)(self._settings.model_copy(update={"live_accounts": accounts}), self._agent_limits)

    def judge(self, basis: Basis, operation: Operation, seen: Snapshot) -> Validation:
        """The verdict on `operation` on that basis; of nothing but what is given, so that a record can repeat it."""
        if basis is Basis.OBSERVATION:
            failed = refuses(*seen.observed.problems)
            return Validation(rules=(Place(name="observation", step=0),), findings=(failed,))
        if basis is Basis.SAME_KEY and seen.recorded.same_key is not None:
            again = repeated(seen.recorded.same_key)
            return Validation(rules=(Place(name="idempotency", step=12),), findings=(again,))
        return self.review(operation, seen)

    def review(self, operation: Operation, seen: Snapshot) -> Validation:
        """Run every check of the operation's class; a check that fails to run refuses (TW-07)."""
        return self._validation(self.within(seen.recorded.limits).table[operation.operation_class], operation, seen)

    def review_switches(self, operation: Operation, seen: Snapshot) -> Validation:
        """Run only the rules that the final gate looks at once more (TW-11)."""
        rules = tuple(rule for rule in self.table[operation.operation_class] if rule.name in SWITCHES)
        return self._validation(rules, operation, seen)

    def _validation(self, rules: Sequence[Rule], operation: Operation, seen: Snapshot) -> Validation:
        findings = []
        for rule in rules:
            try:
                found = rule.check.review(operation, seen)
            except Exception as error:  # whatever it is, an unchecked order is a refused order
                text = f"The check {rule.name} failed to run ({type(error).__name__})."
                found = refuses(problem(Code.CHECK_ERROR, text))
            findings.append(found if self._safety_mode or not rule.is_limit else _waived(found))
        return Validation(rules=rules, findings=tuple(findings))


def _waived(findings: Findings) -> Findings:
    """With safety mode off a limit warns of what it would refuse."""
    if not findings.problems:
        return findings
    waived = tuple(f"{found.message} (not enforced: safety mode is off)" for found in findings.problems)
    return Findings(warnings=waived, observed=findings.observed, limit=findings.limit)


def portfolio_rules(settings: Settings) -> tuple[Rule, ...]:
    """The layers of PL-02 to PL-14, in their order, after what they rely on."""

    def layer(name: str, check: Check) -> Rule:
        return Rule(name=name, step=10, check=check, is_limit=True)

    one, everything = "The instrument, with all that may add to it,", "All positions together, long and short,"
    return (
        layer("portfolio_known", PortfolioKnown(max_age_seconds=float(settings.balances_max_age_seconds))),
        layer(
            "position_size",
            ShareOfEquity(
                sum_of=of_symbol, most_pct=settings.max_position_size_pct, code=Code.POSITION_SIZE_LIMIT, what=one
            ),
        ),
        layer(
            "position_value",
            SumInDollars(
                sum_of=of_symbol, most_usd=settings.max_position_value_usd, code=Code.POSITION_VALUE_LIMIT, what=one
            ),
        ),
        layer(
            "strategy_exposure",
            ShareOfEquity(
                sum_of=of_strategy,
                most_pct=settings.max_position_pct_per_strategy,
                code=Code.STRATEGY_LIMIT,
                what="All positions of this agent",
            ),
        ),
        layer(
            "total_exposure_pct",
            ShareOfEquity(
                sum_of=of_all, most_pct=settings.max_total_exposure_pct, code=Code.EXPOSURE_PCT_LIMIT, what=everything
            ),
        ),
        layer(
            "total_exposure",
            SumInDollars(
                sum_of=of_all, most_usd=settings.max_total_exposure_usd, code=Code.EXPOSURE_VALUE_LIMIT, what=everything
            ),
        ),
        layer("concurrent_positions", ConcurrentPositions(most=settings.max_concurrent_positions)),
        layer(
            "sector_exposure",
            ShareOfEquity(
                sum_of=of_sector,
                most_pct=settings.max_sector_exposure_pct,
                code=Code.SECTOR_LIMIT,
                what="The instrument's sector",
            ),
        ),
        layer("leverage", Leverage(most=settings.max_leverage)),
        Rule(
            name="allowed_instruments",
            step=10,
            check=AllowedInstruments(listed=frozenset(settings.instruments_to_open)),
        ),
        Rule(
            name="margin_after",
            step=10,
            check=MarginAfter(asked=settings.previews_margin, most_pct=settings.margin_use_warning_pct),
            is_limit=True,
        ),
        Rule(name="short_selling", step=10, check=ShortSelling(allowed=settings.allow_short)),
        Rule(
            name="cash_reserve",
            step=11,
            check=CashReserve(
                reserve_pct=settings.cash_reserve_pct,
                reserve_usd=settings.cash_reserve_usd,
                fee_bps=settings.fee_estimate_bps,
            ),
            is_limit=True,
        ),
        Rule(
            name="capital_at_risk",
            step=11,
            check=CapitalAtRisk(most=settings.max_portfolio_value_at_risk),
            is_limit=True,
        ),
    )


def trading_gates(settings: Settings) -> TradingGates:
    return TradingGates(
        trading=settings.enable_trading,
        forex=settings.enable_forex_trading,
        international=settings.enable_international_trading,
        stop_loss=settings.enable_stop_loss_orders,
        closed_live_locks=closed_live_locks(settings),
    )


def closed_live_locks(settings: Settings) -> tuple[str, ...]:
    """The variables that keep live trading locked (CFG-05); empty when the mode is not live."""
    if settings.broker_mode is not BrokerMode.LIVE:
        return ()
    locks = {
        "IBKR_LIVE_TRADING": settings.live_trading,
        "IBKR_LIVE_TRADING_ACK": settings.live_trading_ack == LIVE_TRADING_ACKNOWLEDGEMENT,
        "IBKR_LIVE_ACCOUNTS": bool(settings.live_accounts),
    }
    return tuple(name for name, is_open in locks.items() if not is_open)


def account_check(settings: Settings) -> AccountCheck:
    return AccountCheck(
        live=settings.broker_mode is BrokerMode.LIVE,
        verify_prefix=settings.require_paper_account_verification,
        accepted_prefixes=settings.allowed_account_prefixes,
        live_accounts=settings.live_accounts,
        max_age_seconds=float(settings.account_verification_max_age_seconds),
    )
