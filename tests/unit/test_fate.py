"""What the broker's records prove about an intent whose outcome was lost, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

import pytest

from ibkr_mcp_server.broker.reconcile import Finding
from ibkr_mcp_server.domain.instruments import Instrument, SecType
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, OrderStatus, OrderType, Side
from ibkr_mcp_server.operations.follow import fate_of
from ibkr_mcp_server.store.intents import Intent, IntentState

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
AAPL = Instrument(
    con_id=265598, symbol="AAPL", sec_type=SecType.STK, exchange="SMART", primary_exchange="NASDAQ", currency="USD"
)


def lost(kind: Literal["place", "modify", "cancel"], **changes: object) -> Intent:
    intent = Intent(
        intent_id="intent",
        request_key="key-of-the-test",
        fingerprint="fingerprint",
        kind=kind,
        state=IntentState.UNKNOWN,
        opening=True,
        actor_id="agent",
        account="DU1",
        con_id=AAPL.con_id,
        symbol="AAPL",
        side="BUY",
        quantity=Decimal(3),
        order_type="LMT",
        limit_price=Decimal(150),
        worst_case_value_usd=Decimal(450),
        order_ref="ibmcp-1",
        decision_id="decision",
        trading_day=date(2026, 11, 20),
        created_at=NOW,
        monotonic=0.0,
        boot_id="boot",
        session_id="session",
    )
    return replace(intent, **changes)  # type: ignore[arg-type]  # fields of the test's choice


def held(status: OrderStatus, quantity: int = 3) -> Finding:
    order = Order(
        instrument=AAPL,
        account="DU1",
        side=Side.BUY,
        quantity=Decimal(quantity),
        order_type=OrderType.LMT,
        limit_price=Decimal(150),
        order_ref="ibmcp-1",
    )
    filled = order.quantity if status is OrderStatus.FILLED else Decimal()
    told = BrokerOrder(
        order=order,
        perm_id=1,
        order_id=1,
        client_id=17,
        status=status,
        filled=filled,
        remaining=order.quantity - filled,
        average_fill_price=None,
    )
    return Finding(order_ref="ibmcp-1", order=told)


ABSENT = Finding(order_ref="ibmcp-1")


@pytest.mark.parametrize(
    ("kind", "finding", "loud", "quiet"),
    [
        ("place", ABSENT, None, "REJECTED"),
        ("place", held(OrderStatus.SUBMITTED), "ACCEPTED", "ACCEPTED"),
        ("place", held(OrderStatus.FILLED), "FILLED", "FILLED"),
        ("place", held(OrderStatus.INACTIVE), "REJECTED", "REJECTED"),
        ("modify", ABSENT, None, "EXPIRED"),
        ("modify", held(OrderStatus.SUBMITTED), "ACCEPTED", "ACCEPTED"),
        ("modify", held(OrderStatus.SUBMITTED, quantity=1), None, "REJECTED"),
        ("modify", held(OrderStatus.FILLED, quantity=1), "FILLED", "FILLED"),
        ("cancel", ABSENT, None, "EXPIRED"),
        ("cancel", held(OrderStatus.SUBMITTED), None, "REJECTED"),
        ("cancel", held(OrderStatus.PENDING_CANCEL), "ACCEPTED", "ACCEPTED"),
        ("cancel", held(OrderStatus.CANCELLED), "CANCELLED", "CANCELLED"),
        ("cancel", held(OrderStatus.FILLED), "REJECTED", "REJECTED"),
    ],
)
def test_absence_proves_nothing_before_a_quiet_period_and_presence_proves_what_it_shows(
    kind: Literal["place", "modify", "cancel"], finding: Finding, loud: str | None, quiet: str
) -> None:
    """ID-09, ID-10: a change that the order does not show, and a cancellation that did not end it, are not reported."""
    before, after = (fate_of(lost(kind), finding, is_quiet=is_quiet) for is_quiet in (False, True))
    assert (None if before is None else str(before.state)) == loud
    assert after is not None
    assert str(after.state) == quiet


def test_contradicting_records_prove_nothing_however_long_one_waits() -> None:
    told = held(OrderStatus.SUBMITTED).order
    assert told is not None
    assert fate_of(lost("place"), Finding(order_ref="ibmcp-1", conflicts=(told, told)), is_quiet=True) is None
