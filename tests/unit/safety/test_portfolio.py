"""The projected portfolio, and the limits on it at their boundaries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.accounts import AccountSummary, MarginPreview, Position
from ibkr_mcp_server.domain.instruments import SecType
from ibkr_mcp_server.domain.money import Money
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, OrderType, Side
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.exposure import Holdings
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.portfolio import Portfolio, project
from ibkr_mcp_server.safety.state import Action
from ibkr_mcp_server.settings.gates import LIVE_TRADING_ACKNOWLEDGEMENT
from ibkr_mcp_server.store.agent_positions import AgentPosition
from ibkr_mcp_server.store.intents import Opening
from tests.stores import an_intent
from tests.unit.safety import builders as world

EQUITY = Decimal(100_000)
ACCOUNT = "DU9000001"


def balances(equity: Decimal = EQUITY, currency: str = "USD", **rates: Decimal) -> AccountSummary:
    others = "total_cash settled_cash buying_power available_funds excess_liquidity gross_position_value"
    figures: dict[str, Any] = dict.fromkeys(
        f"{others} initial_margin maintenance_margin unrealized_pnl realized_pnl".split()
    )
    return AccountSummary(
        account=ACCOUNT,
        received_at=world.NOON,
        base_currency=currency,
        net_liquidation=Money(amount=equity, currency=currency),
        exchange_rates=rates,
        **(figures | {"settled_cash": Money(amount=equity, currency=currency)}),
    )


def held(quantity: int, price: str | None = "100", con_id: int = 1, **changes: Any) -> Position:
    values: dict[str, Any] = {
        "account": ACCOUNT,
        "instrument": world.instrument(con_id=con_id),
        "quantity": Decimal(quantity),
        "average_cost": Decimal(1),
        "market_price": None if price is None else Decimal(price),
    }
    return Position(**(values | changes))


def buying(quantity: int = 10, price: str = "100.00", **changes: Any) -> Order:
    return world.order(quantity=Decimal(quantity), limit_price=Decimal(price), **changes)


def projected(order: Order | None = None, **changes: Any) -> Portfolio:
    placed = order or buying()
    holdings = Holdings(
        positions=changes.pop("positions", ()),
        orders=changes.pop("orders", ()),
        unsettled=changes.pop("unsettled", {}),
        industries=changes.pop("industries", {}),
    )
    values: dict[str, Any] = {
        "value_usd": placed.quantity * (placed.limit_price or Decimal(100)),
        "usd_per_unit": Decimal(1),
        "replaced": None,
        "balances": balances(),
        "holdings": holdings,
        "unresolved": (),
        "openings": (),
        "collar_pct": Decimal(3),
        "now": world.NOON,
    }
    return project(placed, **(values | changes))


def opening(order: Order, ref: str = "ref", value_usd: Decimal | None = None) -> Opening:
    return Opening(
        agent="default",
        age_seconds=1,
        is_today=True,
        con_id=order.instrument.con_id,
        side=order.side,
        quantity=order.quantity,
        limit_price=order.limit_price,
        stop_price=None,
        value_usd=order.quantity * (order.limit_price or Decimal(0)) if value_usd is None else value_usd,
        request_key="key",
        order_ref=ref,
        is_new=True,
    )


# ---- what is counted


def test_positions_working_orders_and_reserved_intents_count_besides_the_order() -> None:
    """T-04: a limit that looks at the new order alone is passed by ten of them."""
    aapl, other = world.instrument(), world.instrument(con_id=2, local_symbol="MSFT")
    seen = projected(
        buying(10),
        positions=(held(5, "90", con_id=aapl.con_id), held(-4, "50", con_id=3)),
        orders=(world.broker_order(buying(3, "99.00")), world.broker_order(buying(2, "30.00", instrument=other))),
        unresolved=(
            an_intent(ManualClock(), con_id=4, quantity=Decimal(1), worst_case_value_usd=Decimal(70)),
            an_intent(ManualClock(), con_id=4, quantity=Decimal(9), worst_case_value_usd=None, opening=False),
        ),
    )
    assert seen.symbol_usd == 5 * 90 + 3 * 99 + 10 * 100
    assert seen.gross_usd == 1747 + 200 + 60 + 70
    assert (seen.instruments, seen.is_new) == (4, False)


def test_another_accounts_positions_and_orders_do_not_count() -> None:
    elsewhere = world.broker_order(buying(10, account="DU2"))
    seen = projected(positions=(held(5, account="DU2"),), orders=(elsewhere,))
    assert seen.gross_usd == 1000
    assert (seen.instruments, seen.is_new) == (1, True)


def test_an_order_that_the_broker_told_of_counts_once() -> None:
    told = replace(buying(10), order_ref="ours")
    intent = an_intent(ManualClock(), order_ref="ours", quantity=Decimal(10), worst_case_value_usd=Decimal(1000))
    assert projected(orders=(world.broker_order(told),), unresolved=(intent,)).symbol_usd == 2000


def test_an_order_that_is_changed_counts_as_what_it_becomes_and_not_as_what_it_was() -> None:
    current = world.broker_order(buying(10), filled=Decimal(4), remaining=Decimal(6))
    con_id = current.order.instrument.con_id
    seen = projected(buying(20), orders=(current,), replaced=current, positions=(held(4, con_id=con_id),))
    assert seen.symbol_usd == 4 * 100 + 16 * 100


def test_exits_that_share_their_quantity_and_sells_of_what_is_held_add_nothing() -> None:
    con_id = world.instrument().con_id
    exits = [
        world.broker_order(buying(10, "120.00", side=Side.SELL), perm_id=perm_id, oca_group="exit")
        for perm_id in (8, 9)
    ]
    seen = projected(buying(1), orders=exits, positions=(held(10, con_id=con_id),))
    assert seen.symbol_usd == 10 * 100 + 100


def test_an_exit_waits_for_its_entry() -> None:
    entry = world.broker_order(buying(10), perm_id=7)
    stop = world.broker_order(buying(10, side=Side.SELL), perm_id=8, parent_perm_id=7)
    assert projected(buying(1), orders=(entry, stop)).symbol_usd == 1100


def test_sells_beyond_what_is_held_count_as_the_position_that_they_open() -> None:
    con_id = world.instrument().con_id
    selling = buying(25, "110.00", side=Side.SELL)
    seen = projected(selling, positions=(held(10, con_id=con_id),), value_usd=Decimal(2750))
    assert seen.symbol_usd == 15 * 110
    assert seen.shorted == 15


def test_a_reduction_that_was_decided_on_a_moment_ago_is_not_sold_a_second_time() -> None:
    """Found by the trading machine: two agents sold at once what, with the exits of a bracket, was held only once."""
    con_id = world.instrument().con_id
    sale = an_intent(
        ManualClock(),
        con_id=con_id,
        account=ACCOUNT,
        side="SELL",
        quantity=Decimal(3),
        opening=False,
        order_ref="ref-1",
    )
    exits = [
        world.broker_order(buying(3, "120.00", side=Side.SELL), perm_id=perm_id, oca_group="exit") for perm_id in (8, 9)
    ]
    selling = buying(3, "100.00", side=Side.SELL)
    seen = projected(selling, positions=(held(7, con_id=con_id),), orders=exits, unresolved=(sale,))
    assert seen.shorted == 2
    entry = an_intent(ManualClock(), con_id=con_id, quantity=Decimal(3), decision_id="bracket", order_ref="ref-2")
    stop = replace(sale, decision_id="bracket")
    assert projected(selling, positions=(held(3, con_id=con_id),), unresolved=(entry, stop)).shorted == 0


def test_a_fill_that_the_position_does_not_show_yet_counts_at_what_it_was_approved_for() -> None:
    bought = buying(50, instrument=world.instrument(con_id=2))
    seen = projected(unsettled={2: Decimal(50)}, openings=(opening(bought),))
    assert seen.gross_usd == 6000
    assert seen.instruments == 2


def test_a_fill_that_may_be_in_the_position_already_counts_at_its_worst() -> None:
    con_id = world.instrument().con_id
    seen = projected(buying(1), positions=(held(10, con_id=con_id),), unsettled={con_id: Decimal(-3)})
    assert seen.symbol_usd == 1100
    sold = projected(buying(8, side=Side.SELL), positions=(held(10, con_id=con_id),), unsettled={con_id: Decimal(-3)})
    assert sold.shorted == 1


def test_a_market_order_of_another_client_is_valued_at_the_market_with_the_collar() -> None:
    con_id = world.instrument().con_id
    stranger = world.broker_order(world.order(order_type=OrderType.MKT, limit_price=None))
    assert projected(buying(1), orders=(stranger,), positions=(held(1, con_id=con_id),)).symbol_usd == 100 + 1030 + 100


def test_multiplier_currency_and_obligation_are_in_the_value() -> None:
    future = world.instrument(con_id=2, sec_type=SecType.FUT, multiplier=Decimal(50))
    euro = world.instrument(con_id=3, currency="EUR")
    option = world.instrument(
        con_id=4,
        sec_type=SecType.OPT,
        multiplier=Decimal(100),
        strike=Decimal(270),
        right="C",
        last_trade_date="20261218",
    )
    seen = projected(
        buying(1),
        positions=(
            held(2, "1000", instrument=future),
            held(10, "20", instrument=euro),
            held(-1, "2", instrument=option),
        ),
        balances=balances(currency="CHF", USD=Decimal("0.8"), EUR=Decimal("0.96")),
    )
    assert seen.gross_usd == 100 + 100_000 + 10 * 20 * Decimal("1.2") + 200 + 27_000
    assert seen.equity_usd == EQUITY / Decimal("0.8")


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": None},
        {"positions": (held(5, None),)},
        {"positions": (held(5, instrument=world.instrument(con_id=2, currency="EUR")),)},
        {"positions": (held(5, instrument=world.instrument(con_id=2, multiplier=None)),)},
        {"orders": (world.broker_order(world.order(
            order_type=OrderType.MKT, limit_price=None, instrument=world.instrument(con_id=2))),)},
        {"unresolved": (an_intent(ManualClock(), con_id=2, worst_case_value_usd=None),)},
        {"unsettled": {2: Decimal(5)}},
    ],
    ids=["positions", "price", "rate", "multiplier", "market order", "intent", "fill"],
)  # fmt: skip
def test_what_cannot_be_valued_refuses_and_is_named(changes: dict[str, Any]) -> None:
    """Unknown is never zero."""
    seen = projected(buying(1), **changes)
    assert seen.gross_usd is None
    assert seen.unknown
    assert world.codes(world.snapshot(portfolio=seen)) == [Code.EXPOSURE_UNKNOWN]


# ---- agents, sectors, cash, risk


def of(agent: str, quantity: int, con_id: int = 1) -> AgentPosition:
    return AgentPosition(agent=agent, account=ACCOUNT, con_id=con_id, quantity=Decimal(quantity))


def test_an_agents_share_is_its_own_fills_orders_and_reservations() -> None:
    """PL-04, ST-05: what nobody here bought is the default agent's."""
    con_id, clock = world.instrument().con_id, ManualClock()
    other = world.instrument(con_id=2)
    told = {
        "positions": (held(30, con_id=con_id), held(-5, con_id=3)),
        "orders": (
            world.broker_order(replace(buying(3, instrument=other), order_ref="ibmcp-fast-x"), perm_id=8),
            world.broker_order(replace(buying(2, instrument=other), order_ref="ibmcp-default-x"), perm_id=9),
            world.broker_order(replace(buying(1, instrument=other), order_ref="by hand"), perm_id=10),
        ),
        "unresolved": (
            an_intent(clock, con_id=4, quantity=Decimal(1), worst_case_value_usd=Decimal(70), actor_id="fast"),
        ),
        "shares": (of("fast", 20, con_id), of("slow", 7, con_id), of("fast", 4, 3), of("fast", 9, 99)),
    }
    assert projected(buying(1), agent="fast", **told).strategy_usd == 100 + 20 * 100 + 3 * 100 + 70
    assert projected(buying(1), agent="slow", **told).strategy_usd == 100 + 7 * 100
    assert projected(buying(1), **told).strategy_usd == 100 + 3 * 100 + 5 * 100 + 3 * 100
    sold = projected(buying(1), agent="fast", positions=(held(10, con_id=con_id),), shares=(of("fast", 20, con_id),))
    assert sold.strategy_usd == 100 + 1000  # no more than is there


def test_a_sector_is_summed_and_the_unknown_is_one_sector() -> None:
    """PL-08, T-39."""
    con_id = world.instrument().con_id
    told = {
        "positions": (held(1, con_id=2), held(2, con_id=3), held(4, con_id=4), held(8, con_id=5)),
        "industries": {con_id: "Technology", 2: "Technology", 3: "Energy", 4: ""},
    }
    seen = projected(buying(1), **told)
    assert (seen.sector, seen.sector_usd) == ("Technology", Decimal(200))
    nameless = projected(buying(1, instrument=world.instrument(con_id=9)), **told)
    assert (nameless.sector, nameless.sector_usd) == ("", Decimal(1300))
    first = projected(buying(1, instrument=world.instrument(con_id=9, industry="Energy")), **told)
    assert (first.sector, first.sector_usd) == ("Energy", Decimal(300))


def test_purchases_that_may_still_come_are_paid_from_settled_cash() -> None:
    """PL-11: buying back what is short costs nothing new, selling neither, and a fresh fill is not paid yet."""
    con_id = world.instrument().con_id
    other = world.broker_order(buying(3, "50.00", instrument=world.instrument(con_id=2)))
    sale = world.broker_order(buying(9, side=Side.SELL, instrument=world.instrument(con_id=4)), perm_id=8)
    seen = projected(buying(10), orders=(other, sale), positions=(held(-4, con_id=con_id),))
    assert (seen.cash_usd, seen.outlay_usd) == (EQUITY, Decimal(750))
    fresh = projected(buying(1), unsettled={con_id: Decimal(2)}, openings=(opening(buying(2)),))
    assert fresh.outlay_usd == 300


def stop(quantity: int, price: str, perm_id: int = 20, **changes: Any) -> BrokerOrder:
    order = world.order(
        **{"order_type": OrderType.STP, "side": Side.SELL, "quantity": Decimal(quantity), "limit_price": None,
           "stop_price": Decimal(price)} | changes
    )  # fmt: skip
    return world.broker_order(order, perm_id=perm_id)


@pytest.mark.parametrize(
    ("orders", "at_risk"),
    [
        ((), 1000),
        ((stop(10, "90"),), 100),
        ((stop(4, "90"),), 40 + 600),
        ((stop(10, "90"), stop(10, "50", 21)), 1030),
        ((stop(4, "95"), stop(4, "90", 21)), 20 + 40 + 200),
        ((stop(10, "95", order_type=OrderType.STP_LMT, limit_price=Decimal(80)),), 200),
        ((stop(10, "120"),), 0),
        ((stop(10, "90", order_type=OrderType.LMT, limit_price=Decimal(90)),), 1000),
        ((replace(stop(10, "90"), oca_group="a"), replace(stop(10, "80", 21), oca_group="a")), 200),
        ((stop(10, "90", side=Side.BUY),), 2030),
        ((stop(15, "90"),), 1000),
    ],
    ids=["none", "all", "a part", "two that cross zero", "two parts", "its limit", "a gain", "no stop", "one of two",
         "the other side", "more than is held"],
)  # fmt: skip
def test_what_is_lost_if_every_stop_is_hit(orders: tuple[BrokerOrder, ...], at_risk: int) -> None:
    """PL-12, C-24: ten units at 100 are held; what no stop covers is lost in full."""
    mine = tuple(replace(one, order=replace(one.order, instrument=world.instrument(con_id=1))) for one in orders)
    seen = projected(
        buying(1, instrument=world.instrument(con_id=2)), value_usd=Decimal(0), positions=(held(10),), orders=mine
    )
    assert seen.at_risk_usd == at_risk


def test_the_stop_of_a_bracket_limits_what_its_entry_risks_and_a_short_one_risks_up_to_its_stop() -> None:
    """PL-12."""
    out = world.order(order_type=OrderType.STP, side=Side.SELL, limit_price=None, stop_price=Decimal(95))
    assert projected(buying(10), stop_loss=out).at_risk_usd == 50
    short = buying(10, side=Side.SELL)
    assert projected(short).at_risk_usd == 1000
    cover = replace(out, side=Side.BUY, stop_price=Decimal(108))
    assert projected(short, stop_loss=cover).at_risk_usd == 80
    assert projected(short, stop_loss=replace(cover, stop_price=Decimal(250))).at_risk_usd == 1000


# ---- the limits


@pytest.mark.parametrize(
    ("equal", "above", "code"),
    [
        ({"symbol_usd": "5000"}, {"symbol_usd": "5000.01"}, Code.POSITION_SIZE_LIMIT),
        ({"symbol_usd": "10000", "equity_usd": "1000000"},
         {"symbol_usd": "10000.01", "equity_usd": "1000000"}, Code.POSITION_VALUE_LIMIT),
        ({"gross_usd": "9000", "equity_usd": "10000", "symbol_usd": "1"},
         {"gross_usd": "9000.01", "equity_usd": "10000", "symbol_usd": "1"}, Code.EXPOSURE_PCT_LIMIT),
        ({"gross_usd": "50000"}, {"gross_usd": "50000.01"}, Code.EXPOSURE_VALUE_LIMIT),
        ({"instruments": 10}, {"instruments": 11}, Code.POSITIONS_LIMIT),
        ({"strategy_usd": "60000"}, {"strategy_usd": "60000.01"}, Code.STRATEGY_LIMIT),
        ({"sector_usd": "40000"}, {"sector_usd": "40000.01"}, Code.SECTOR_LIMIT),
        ({"cash_usd": "10999.999", "outlay_usd": "999"}, {"cash_usd": "10999.99", "outlay_usd": "999"},
         Code.CASH_RESERVE),
        ({"cash_usd": "10000"}, {"cash_usd": "9000", "outlay_usd": "0.01"}, Code.CASH_RESERVE),
        ({}, {"cash_usd": None}, Code.CASH_UNKNOWN),
        ({"at_risk_usd": "20000"}, {"at_risk_usd": "20000.01"}, Code.CAPITAL_AT_RISK),
        ({"equity_usd": "0.01", "symbol_usd": "0", "gross_usd": "0"},
         {"equity_usd": "0", "symbol_usd": "0", "gross_usd": "0"}, Code.NO_EQUITY),
        ({"equity_age_seconds": 60.0}, {"equity_age_seconds": 60.01}, Code.EQUITY_UNKNOWN),
        ({}, {"equity_usd": None}, Code.EQUITY_UNKNOWN),
        ({}, {"equity_usd": "-1"}, Code.NO_EQUITY),
    ],
)  # fmt: skip
def test_equal_to_a_limit_passes_and_above_it_is_refused(
    equal: dict[str, Any], above: dict[str, Any], code: Code
) -> None:
    """PL-02 to PL-08, PL-11, PL-12, T-06; 0.1 % of fees are part of the cost, 10 % of the equity the reserve."""

    def codes(changes: dict[str, Any], action: Action = Action.OPEN) -> list[str]:
        told = {name: Decimal(value) if isinstance(value, str) else value for name, value in changes.items()}
        return world.codes(world.snapshot(portfolio=world.portfolio(**({"equity_usd": EQUITY} | told)), action=action))

    assert codes(equal) == []
    assert codes(above) == [code]
    assert codes(above, Action.REDUCE) == codes(above, Action.PROTECT) == []


def test_leverage_is_gross_over_equity() -> None:
    """PL-09, with the other limits on the sum out of the way."""
    settings: dict[str, Any] = {"max_total_exposure_pct": 400, "max_total_exposure_usd": 1_000_000}
    for gross, codes in (("100000", []), ("100000.01", [Code.LEVERAGE_LIMIT])):
        seen = world.snapshot(portfolio=world.portfolio(equity_usd=EQUITY, gross_usd=Decimal(gross)))
        assert world.codes(seen, **settings) == codes


def test_an_opening_order_without_a_projection_is_refused() -> None:
    assert world.codes(world.snapshot(portfolio=None)) == [Code.EQUITY_UNKNOWN]


def test_every_layer_that_fails_is_told_in_the_order_of_the_layers() -> None:
    """PL-01."""
    worst = world.portfolio(
        equity_usd=EQUITY, symbol_usd=Decimal(200_000), gross_usd=Decimal(200_000), instruments=11, shorted=Decimal(1)
    )
    assert world.codes(world.snapshot(world.order(side=Side.SELL), portfolio=worst)) == [
        Code.POSITION_SIZE_LIMIT,
        Code.POSITION_VALUE_LIMIT,
        Code.EXPOSURE_PCT_LIMIT,
        Code.EXPOSURE_VALUE_LIMIT,
        Code.POSITIONS_LIMIT,
        Code.LEVERAGE_LIMIT,
        Code.SHORT_NOT_ALLOWED,
    ]


def test_adding_to_an_instrument_that_is_held_passes_when_the_portfolio_is_full() -> None:
    """T-05."""
    full = world.portfolio(instruments=11, is_new=False)
    assert world.codes(world.snapshot(portfolio=full)) == []


def test_selling_short_needs_leave_and_a_currency_pair_does_not() -> None:
    """PL-14."""
    sold = world.portfolio(shorted=Decimal(10))
    assert world.codes(world.snapshot(world.order(side=Side.SELL), portfolio=sold)) == [Code.SHORT_NOT_ALLOWED]
    assert world.codes(world.snapshot(world.order(side=Side.SELL), portfolio=sold), allow_short=True) == []
    pair = world.order(side=Side.SELL, instrument=world.instrument(sec_type=SecType.CASH, symbol="EUR"))
    assert Code.SHORT_NOT_ALLOWED not in world.codes(world.snapshot(pair, portfolio=sold), enable_forex_trading=True)


@pytest.mark.parametrize(
    ("quote", "codes"),
    [
        ({"shortable": Decimal("2.6")}, []),
        ({"shortable": Decimal(3), "shortable_shares": Decimal(10)}, []),
        ({"shortable": Decimal(3), "shortable_shares": Decimal(9)}, [Code.BORROW_UNAVAILABLE]),
        ({"shortable": Decimal("2.5")}, [Code.BORROW_UNAVAILABLE]),
        ({"shortable": None}, [Code.BORROW_UNKNOWN]),
    ],
)
def test_what_is_sold_short_can_be_borrowed_for_sure(quote: dict[str, Any], codes: list[Code]) -> None:
    """PL-14."""
    sold, selling = world.portfolio(shorted=Decimal(10)), world.order(side=Side.SELL)
    seen = world.snapshot(selling, portfolio=sold, quote=world.quote(**quote))
    assert world.codes(seen, allow_short=True) == codes
    assert world.codes(world.snapshot(selling, quote=world.quote(**quote)), allow_short=True) == []


@pytest.mark.parametrize(
    ("maintenance", "equity", "codes"),
    [
        ("75", "100", []),
        ("75.01", "100", [Code.MARGIN_LIMIT]),
        ("0", "0", [Code.MARGIN_LIMIT]),
        (None, "100", [Code.MARGIN_UNKNOWN]),
        ("75", None, [Code.MARGIN_UNKNOWN]),
    ],
)
def test_the_margin_after_the_order_stays_below_its_warning(
    maintenance: str | None, equity: str | None, codes: list[Code]
) -> None:
    """PL-13: on for paper and live."""
    told = MarginPreview(
        maintenance_after=None if maintenance is None else Decimal(maintenance),
        initial_after=None,
        equity_after=None if equity is None else Decimal(equity),
    )
    assert world.codes(world.snapshot(margin=told), margin_preview=True) == codes
    assert world.codes(world.snapshot(margin=told, action=Action.REDUCE), margin_preview=True) == []
    assert world.codes(world.snapshot(margin=None), margin_preview=False) == []
    assert world.codes(world.snapshot(margin=None), broker_mode="paper") == [Code.MARGIN_UNKNOWN]


@pytest.mark.parametrize(
    ("listed", "codes"),
    [
        ("*", []),
        ("265598", []),
        ("1,AAPL:STK:NASDAQ:USD", []),
        ("AAPL:STK:LSEETF:USD", [Code.INSTRUMENT_NOT_LISTED]),
        ("AAPL:STK:NASDAQ:EUR", [Code.INSTRUMENT_NOT_LISTED]),
        ("26559", [Code.INSTRUMENT_NOT_LISTED]),
        ("", [Code.INSTRUMENT_NOT_LISTED]),
    ],
)
def test_only_listed_contracts_are_opened_and_everything_may_be_closed(listed: str, codes: list[Code]) -> None:
    """PL-10, T-38."""
    assert world.codes(world.snapshot(), allowed_symbols=listed) == codes
    assert world.codes(world.snapshot(action=Action.REDUCE), allowed_symbols=listed) == []


def test_without_a_list_a_live_account_opens_nothing_and_a_paper_account_anything() -> None:
    """C-09."""
    assert world.settings(broker_mode="live").instruments_to_open == ()
    assert world.settings(broker_mode="paper").instruments_to_open == ("*",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"allowed_symbols": "AAPL"},
        {"allowed_symbols": "*,AAPL:STK:NASDAQ:USD"},
        {"max_position_size_pct": "30.1"},
        {"max_position_size_pct": "0"},
        {"max_position_size_pct": "nan"},
        {"max_position_size_pct": "20", "max_total_exposure_pct": "10"},
        {"max_position_value_usd": "60000"},
        {"max_leverage": "4.01"},
        {"max_leverage": "2.01", "broker_mode": "live"},
    ],
)
def test_limits_that_make_no_sense_refuse_the_start(wrong: dict[str, str]) -> None:
    """CFG-10, C-06, C-08."""
    with pytest.raises(ConfigurationError):
        world.settings(**wrong)


def test_leverage_above_two_is_possible_with_the_acknowledgement() -> None:
    world.settings(max_leverage="2.01", broker_mode="live", live_trading_ack=LIVE_TRADING_ACKNOWLEDGEMENT)


# ---- whatever comes

POLICY = Policy(world.settings(max_total_exposure_usd=12_000, max_concurrent_positions=3, allow_short=True))
steps = st.tuples(st.sampled_from(["BUY", "SELL", "fill", "cancel"]), st.integers(1, 4), st.integers(1, 60))


@settings(deadline=None)
@given(st.lists(steps, max_size=30))
def test_in_any_sequence_an_order_is_accepted_if_and_only_if_all_that_may_fill_stays_within_the_limits(
    sequence: list[tuple[str, int, int]],
) -> None:
    """PL-02, PL-05, PL-07, against a count of its own: every unit costs 100 USD, 50 of one and 120 in all may be."""
    held_units = dict.fromkeys(range(1, 5), 0)
    working: dict[int, Order] = {}

    def may_become(orders: Iterable[Order]) -> list[int]:
        most = []
        for con_id, units in held_units.items():
            mine = [int(order.signed_quantity) for order in orders if order.instrument.con_id == con_id]
            up, down = sum(one for one in mine if one > 0), sum(one for one in mine if one < 0)
            most.append(max(abs(units), abs(units + up), abs(units + down)))
        return most

    for number, (what, con_id, quantity) in enumerate(sequence):
        if what in ("fill", "cancel"):
            ended = working.pop(next(iter(working), -1), None)
            if ended is not None and what == "fill":
                held_units[ended.instrument.con_id] += int(ended.signed_quantity)
            continue
        placed = buying(quantity, instrument=world.instrument(con_id=con_id), side=Side(what))
        seen = projected(
            placed,
            positions=[held(units, con_id=which) for which, units in held_units.items() if units],
            orders=[world.broker_order(order, perm_id=perm_id) for perm_id, order in enumerate(working.values(), 1)],
        )
        before, after = may_become(working.values()), may_become([*working.values(), placed])
        fits = (
            after[con_id - 1] <= 50
            and sum(after) <= 120
            and (before[con_id - 1] > 0 or sum(units > 0 for units in after) <= 3)
        )
        validation = POLICY.review(world.placement(), world.snapshot(placed, portfolio=seen, value_usd=Decimal(1)))
        assert validation.is_safe is fits, (seen, validation.failures)
        if fits:
            working[number] = placed
