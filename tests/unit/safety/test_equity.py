"""The equity from second to second: profits count, payments do not (T-43, LED-07)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ibkr_mcp_server.domain.accounts import AccountPnl, AccountSummary, Position
from ibkr_mcp_server.domain.instruments import Instrument, SecType
from ibkr_mcp_server.domain.money import Money
from ibkr_mcp_server.domain.orders import Execution, Side
from ibkr_mcp_server.safety.equity import EquityMeter, Marks
from tests.unit.safety import builders

START = datetime(2026, 11, 18, 15, 0, tzinfo=UTC)  # a Wednesday


def balances(at: datetime, equity: float, cash: float) -> AccountSummary:
    money = Money(amount=Decimal(str(equity)), currency="USD")
    empty = dict.fromkeys(
        (
            "total_cash", "settled_cash", "buying_power", "available_funds", "excess_liquidity",
            "gross_position_value", "initial_margin", "maintenance_margin", "unrealized_pnl", "realized_pnl",
        )
    )  # fmt: skip
    return AccountSummary(
        account="DU1",
        received_at=at,
        base_currency="USD",
        net_liquidation=money,
        cash_balances={"USD": Decimal(str(cash))},
        exchange_rates={"USD": Decimal(1)},
        **empty,
    )


def pnl(at: datetime, daily: float, unrealized: float, realized: float = 0) -> AccountPnl:
    return AccountPnl(
        account="DU1",
        received_at=at,
        daily=Decimal(str(daily)),
        unrealized=Decimal(str(unrealized)),
        realized=Decimal(str(realized)),
    )


class Desk:
    """Tells a meter what the broker would."""

    def __init__(self, meter: EquityMeter | None = None) -> None:
        self.meter = meter or EquityMeter(account="DU1")
        self.now = START
        self.held: tuple[Position, ...] = ()

    def tell(self, told: AccountSummary | None = None, profit: AccountPnl | None = None, *, after: float = 1) -> Marks:
        self.now += timedelta(seconds=after)
        monotonic = (self.now - START).total_seconds()
        self.meter.observe(now=self.now, monotonic=monotonic, balances=told, pnl=profit, positions=self.held)
        assert self.meter.marks is not None
        return self.meter.marks

    def balance(self, equity: float, cash: float) -> Marks:
        return self.tell(balances(self.now, equity, cash))

    def profit(self, daily: float, unrealized: float, realized: float = 0) -> Marks:
        return self.tell(profit=pnl(self.now, daily, unrealized, realized))


def test_between_balances_the_profit_tells_and_a_balance_repeated_is_no_news() -> None:
    desk = Desk()
    desk.balance(1000, 500)
    desk.profit(0, 10)
    desk.profit(-30, -20)
    assert desk.meter.equity == 970
    desk.balance(1000, 500)  # TWS renews its figure every three minutes and repeats it meanwhile
    assert desk.meter.equity == 970
    desk.balance(969, 500)
    assert desk.meter.equity == 969


def test_a_withdrawal_is_no_loss_and_a_deposit_hides_none() -> None:
    desk = Desk()
    desk.balance(1000, 500)
    desk.profit(0, 0)
    desk.profit(-50, -50)
    marks = desk.balance(650, 200)  # 300 were paid out
    assert desk.meter.paid == -300
    assert round((marks.day_start - Decimal(650)) / marks.day_start, 20) == Decimal("0.05")
    marks = desk.balance(1300, 850)
    assert desk.meter.paid == 350
    assert round((marks.high_water - Decimal(1300)) / marks.high_water, 20) == Decimal("0.05")


def test_a_loss_in_the_moment_of_a_payment_is_not_swallowed_by_it() -> None:
    desk = Desk()
    desk.balance(1000, 500)
    marks = desk.balance(600, 200)  # 300 paid out and 100 lost
    assert desk.meter.paid == -300
    assert marks.day_start == 700
    assert desk.meter.equity == 600


def test_a_jump_that_no_cash_explains_counts_as_a_loss() -> None:
    desk = Desk()
    desk.balance(1000, 500)
    marks = desk.balance(700, 500)
    assert desk.meter.paid == 0
    assert marks.day_start == 1000


def shares(units: int, price: int | None) -> tuple[Position, ...]:
    value = None if price is None else Decimal(units * price)
    held = builders.instrument()
    return (Position(account="DU1", instrument=held, quantity=Decimal(units), average_cost=None, market_value=value),)


def test_holdings_that_come_in_wait_for_their_price_and_then_are_no_profit() -> None:
    """LED-07: for a minute; what has no price after that is taken for the profit that it looks like."""
    desk = Desk()
    desk.balance(1000, 500)
    desk.held = shares(10, None)
    assert desk.balance(1400, 500).high_water == 1000
    assert desk.meter.equity == 1000
    desk.held = shares(10, 40)
    assert desk.balance(1400, 500).high_water == 1400
    assert desk.meter.equity == 1400
    [moved] = desk.meter.payments
    assert moved.amount == moved.holdings == 400
    assert moved.is_of_holdings

    desk.held = shares(20, None)  # it had a price, which is good enough
    assert desk.balance(1800, 500).day_start == 1800
    other = Desk()
    other.balance(1000, 500)
    other.held = shares(10, None)
    other.balance(1400, 500)
    marks = other.tell(balances(other.now, 1400, 500), after=61)
    assert [marks.day_start, marks.high_water] == [1000, 1400]
    assert not other.meter.payments


def test_when_tws_begins_a_new_day_of_profit_nothing_is_lost() -> None:
    desk = Desk()
    desk.balance(1000, 500)
    desk.profit(0, 0)
    desk.profit(80, 20, 60)
    assert desk.meter.equity == 1080
    desk.profit(0, 20, 0)
    assert desk.meter.equity == 1080
    desk.profit(-100, -80, 0)
    assert desk.meter.equity == 980


def test_each_window_has_its_own_peak_and_a_new_day_begins_where_the_old_one_ended() -> None:
    """T-02."""
    desk = Desk()
    desk.balance(1000, 0)
    desk.balance(1100, 0)
    desk.balance(1050, 0)
    desk.now += timedelta(days=1)
    marks = desk.balance(1045, 0)
    assert [marks.day_start, marks.day_peak] == [1050, 1050]
    assert [marks.week_peak, marks.high_water] == [1100, 1100]
    desk.now += timedelta(days=4)  # Monday
    marks = desk.balance(1040, 0)
    assert [marks.week_peak, marks.high_water] == [1045, 1100]


def test_what_the_last_five_minutes_lost_is_forgotten_after_them() -> None:
    desk = Desk()
    desk.balance(1000, 0)
    desk.balance(990, 0)
    assert desk.meter.peak_of_five_minutes == 1000
    desk.tell(after=299)
    desk.tell(after=2)
    assert desk.meter.peak_of_five_minutes == 990


def test_marks_survive_a_restart_and_a_payment_meanwhile_is_none_of_them() -> None:
    """CB-03: the high-water mark, the day's start, and what the last balance was."""
    desk = Desk()
    desk.balance(1000, 500)
    desk.balance(950, 500)
    kept = desk.meter.as_json()
    again = Desk(EquityMeter.of_json("DU1", kept))
    again.now = desk.now
    marks = again.balance(850, 400)
    assert again.meter.paid == -100
    assert round((marks.high_water - Decimal(850)) / marks.high_water, 20) == Decimal("0.05")


def fill(desk: Desk, instrument: Instrument, quantity: int, price: str) -> Execution:
    """A buy, long enough ago for the balances to include it."""
    return Execution(
        execution_id="a.01.01",
        perm_id=1,
        order_id=1,
        client_id=17,
        account="DU1",
        instrument=instrument,
        side=Side.BUY,
        quantity=Decimal(quantity),
        price=Decimal(price),
        cumulative_quantity=Decimal(quantity),
        average_price=Decimal(price),
        executed_at=desk.now + timedelta(seconds=0.5),
        exchange="SMART",
        order_ref="",
    )


def test_a_conversion_moves_money_between_currencies_and_is_no_payment() -> None:
    """LED-07: the cash of one currency falls, that of the other rises, and both by the fill."""
    desk = Desk()
    desk.balance(1000, 1000)
    pair = builders.instrument(con_id=12087792, symbol="EUR", sec_type=SecType.CASH, currency="USD")
    desk.meter.filled(fill(desk, pair, 500, "1.10"))
    told = balances(desk.now, 995, 450)
    told = replace(
        told,
        cash_balances={"USD": Decimal(450), "EUR": Decimal(500)},
        exchange_rates={"USD": Decimal(1), "EUR": Decimal("1.09")},
        received_at=desk.now + timedelta(seconds=200),
    )
    desk.held = (
        Position(account="DU1", instrument=pair, quantity=Decimal(500), average_cost=None, market_value=Decimal(545)),
        Position(
            account="DU2", instrument=builders.instrument(), quantity=Decimal(9), average_cost=None,
            market_value=Decimal(900),
        ),
    )  # fmt: skip
    marks = desk.tell(told, after=200)
    assert desk.meter.paid == 0
    assert desk.meter.payments == []
    assert [marks.day_start, desk.meter.equity] == [1000, 995], "the spread is a loss"


def test_a_future_costs_nothing_to_hold_so_that_a_withdrawal_after_its_purchase_is_no_loss() -> None:
    desk = Desk()
    desk.balance(1000, 1000)
    future = builders.instrument(con_id=7, symbol="ES", sec_type=SecType.FUT, multiplier=Decimal(50))
    desk.meter.filled(fill(desk, future, 1, "5000"))
    value = Decimal(250_000)
    desk.held = (
        Position(account="DU1", instrument=future, quantity=Decimal(1), average_cost=None, market_value=value),
    )
    marks = desk.tell(balances(desk.now + timedelta(seconds=200), 500, 500), after=200)
    assert [desk.meter.paid, marks.day_start, desk.meter.equity] == [-500, 500, 500]


def test_a_profit_whose_open_part_is_not_told_counts_as_it_is() -> None:
    desk = Desk()
    desk.balance(1000, 500)
    at_first, later = pnl(desk.now, -10, 0), pnl(desk.now, -60, 0)
    desk.tell(profit=replace(at_first, unrealized=None))
    desk.tell(profit=replace(later, unrealized=None))
    assert desk.meter.equity == 950


def test_interest_and_rounding_are_no_payment() -> None:
    desk = Desk()
    desk.balance(100_000, 50_000)
    desk.balance(99_700, 49_950)  # 300 were lost, and 50 of cash went: too little to be told from a fee
    assert [desk.meter.paid, desk.meter.equity] == [0, 99_700]
