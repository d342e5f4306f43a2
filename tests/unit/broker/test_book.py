"""What is known, from what was told and in which order."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from ib_async import CommissionReport, Contract, Execution, Order, OrderState

from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.broker.book import Book
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.orders import BrokerOrder, OrderStatus

AAPL = Contract("STK", conId=265598, symbol="AAPL", currency="USD")


class Told(Book):
    """A book with shorthands for what the broker tells."""

    def __init__(self) -> None:
        self.events: list[BrokerEvent] = []
        super().__init__(ManualClock(), self.events.append)

    def opened(self, *, perm_id: int = 1, status: str = "Submitted") -> BrokerOrder:
        order = Order(action="BUY", orderType="LMT", lmtPrice=1.0, totalQuantity=10, permId=perm_id, clientId=7)
        return self.open_order(5, AAPL, order, OrderState(status=status))

    def stands(self, status: str, *, filled: float = 0, perm_id: int = 1) -> BrokerOrder | None:
        return self.order_status(
            perm_id=perm_id,
            client_id=7,
            order_id=5,
            status=status,
            filled=filled,
            remaining=10 - filled,
            average_fill_price=2.0 if filled else 0.0,
            why_held="",
        )

    def filled(self, execution_id: str, quantity: float, price: float = 2.0) -> None:
        self.fill(
            AAPL,
            Execution(
                execId=execution_id,
                time=datetime(2026, 11, 20, 15, tzinfo=UTC),
                side="BOT",
                shares=quantity,
                price=price,
                permId=1,
            ),
        )


def test_late_echo_does_not_revive_an_ended_order() -> None:
    book = Told()
    book.opened()
    book.stands("Filled", filled=10)
    assert book.opened().status is OrderStatus.FILLED


def test_inactive_order_may_come_back() -> None:
    book = Told()
    book.opened(status="Inactive")
    assert book.opened(status="Submitted").is_working


def test_order_that_was_told_without_permanent_id_gets_it_later() -> None:
    book = Told()
    book.opened(perm_id=0)
    book.stands("Submitted")
    [order] = book.orders()
    assert order.perm_id == 1


def test_order_ids_of_an_earlier_connection_name_nothing() -> None:
    book = Told()
    book.opened()
    book.new_connection()
    assert book.order(client_id=7, order_id=5) is None
    assert book.order(perm_id=1) is not None
    assert book.remark(7, 5, 201, "of another order") is None


def test_what_a_complete_list_does_not_name_has_ended() -> None:
    book = Told()
    book.opened()
    book.filled("a.01.01", 4)
    [ended] = book.close_missing([], book.mark())
    assert (ended.status, ended.filled, ended.remaining) == (OrderStatus.INACTIVE, Decimal(4), Decimal(6))


def test_order_that_came_after_the_list_was_asked_for_is_not_missing_from_it() -> None:
    book = Told()
    mark = book.mark()
    book.opened()
    assert book.close_missing([], mark) == []


def test_fill_told_twice_counts_once_and_a_correction_replaces_it() -> None:
    """ID-13."""
    book = Told()
    book.filled("e0d5.6b01.01.01", 4)
    book.filled("e0d5.6b01.01.01", 4)
    assert len(book.executions()) == 1
    book.filled("e0d5.6b01.01.02", 3, price=2.5)
    book.filled("e0d5.6b01.01.01", 4)
    [fill] = book.executions()
    assert (fill.quantity, fill.price) == (Decimal(3), Decimal("2.5"))
    kinds = [event.kind for event in book.events]
    assert kinds == [BrokerEventKind.EXECUTION] * 2


def test_commission_joins_its_fill_and_unset_profit_stays_unknown() -> None:
    book = Told()
    book.filled("a.01.01", 4)
    report = CommissionReport(execId="a.01.01", commission=1.0, currency="USD", realizedPNL=1.7976931348623157e308)
    book.commission(report)
    book.commission(report)
    [fill] = book.executions()
    assert (fill.commission, fill.commission_currency, fill.realized_pnl) == (Decimal(1), "USD", None)
    assert [event.kind for event in book.events].count(BrokerEventKind.COMMISSION) == 1


def test_unchanged_news_is_no_event() -> None:
    book = Told()
    book.opened()
    book.opened()
    assert len(book.events) == 1


def test_positions_are_unknown_before_the_first_complete_list() -> None:
    book = Told()
    book.position("DU1", AAPL, 5, 2)
    assert book.positions() is None
    book.all_positions([("DU1", AAPL, 5, 2)])
    book.position("DU1", AAPL, 0, 0)
    assert book.positions() == []


def test_of_too_many_ended_orders_those_told_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of trading may not make the program grow; an order that worked all day and ends last is still known."""
    monkeypatch.setattr("ibkr_mcp_server.broker.book.FINISHED_ORDERS_KEPT", 3)
    book = Told()
    book.opened(perm_id=1)
    for perm_id in range(2, 7):
        book.new_connection()  # its order ids name nothing any more
        book.opened(perm_id=perm_id)
        book.stands("Filled", filled=10, perm_id=perm_id)
    book.new_connection()
    book.stands("Cancelled", perm_id=1)
    assert [order.perm_id for order in book.orders()] == [1, 5, 6]
    assert book.order(perm_id=2) is None


def test_of_too_many_fills_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibkr_mcp_server.broker.book.FILLS_KEPT", 2)
    book = Told()
    for number in range(4):
        book.filled(f"{number}.01.01", 1)
    assert [fill.execution_id for fill in book.executions()] == ["2.01.01", "3.01.01"]


def test_a_commission_of_a_fill_that_nobody_told_or_of_an_older_version_changes_nothing() -> None:
    book = Told()
    book.commission(CommissionReport(execId="a.01.01", commission=1.0, currency="USD"))
    book.filled("a.01.02", 3)
    book.commission(CommissionReport(execId="a.01.01", commission=1.0, currency="USD"))
    assert [fill.commission for fill in book.executions()] == [None]


def test_a_status_of_an_order_that_nobody_described_is_no_order() -> None:
    book = Told()
    assert book.stands("Submitted") is None
    assert list(book.orders()) == []
