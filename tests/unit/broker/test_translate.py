"""Between the words of the trade and the client library's."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ib_async import Contract, ContractDetails, OrderState, PriceIncrement
from ib_async import Order as LibraryOrder

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.domain.instruments import SecType
from ibkr_mcp_server.domain.order_types import CAPPED_AS, ORDER_TERMS, Term
from ibkr_mcp_server.domain.orders import Order, OrderStatus, OrderType, Side, TimeInForce
from ibkr_mcp_server.errors import Refused
from tests.unit.broker.test_reconcile import ORDER

UNSET = 1.7976931348623157e308
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, UNSET, 2147483647, "", "n/a"])
def test_unset_numbers_are_unknown(value: object) -> None:
    assert translate.number(value) is None
    assert translate.price(value) is None


@pytest.mark.parametrize("value", [0, 0.0, -1, -1.0, "-1"])
def test_stand_ins_for_no_price_are_unknown(value: object) -> None:
    assert translate.price(value) is None


@given(st.decimals(min_value="0.00000001", max_value="1e12", allow_nan=False, allow_infinity=False))
def test_numbers_are_written_digit_for_digit_without_exponent(value: Decimal) -> None:
    written = str(translate.on_wire(value))
    assert "e" not in written.lower()
    assert Decimal(written) == value


@given(st.decimals(min_value="0.01", max_value="99999.99", places=2))
def test_price_survives_the_librarys_float(value: Decimal) -> None:
    assert translate.price(float(str(value))) == value


def _complete(order_type: OrderType) -> Order:
    """An order with every term that its type has."""
    terms = ORDER_TERMS[order_type]
    return replace(
        ORDER,
        order_type=order_type,
        limit_price=Decimal("99.50") if terms.limit_price is not Term.NONE else None,
        stop_price=Decimal("101.25") if terms.stop_price is not Term.NONE else None,
        trailing_amount=Decimal("1.25") if terms.trails else None,
        limit_offset=Decimal("0.05") if terms.limit_offset is not Term.NONE else None,
        time_in_force=TimeInForce.GTD if TimeInForce.GTD in terms.times_in_force else TimeInForce.DAY,
        good_till_date=NOW if TimeInForce.GTD in terms.times_in_force else None,
        outside_rth=True,
    )


def _echoed(order: Order) -> Order:
    sent = translate.wire_order(order)
    return translate.order_of(translate.contract_for(order.instrument), sent, order.instrument)


@pytest.mark.parametrize("order_type", list(ORDER_TERMS))
def test_every_type_that_can_be_sent_comes_back_as_it_was(order_type: OrderType) -> None:
    order = _complete(order_type)
    assert _echoed(order) == order


def test_a_trailing_percentage_travels_in_a_field_of_its_own() -> None:
    order = replace(_complete(OrderType.TRAIL), trailing_amount=None, trailing_percent=Decimal("2.5"))
    sent = translate.wire_order(order)
    assert (str(sent.trailingPercent), sent.auxPrice, str(sent.trailStopPrice)) == ("2.5", UNSET, "101.25")
    assert _echoed(order) == order


@pytest.mark.parametrize("order_type", [kind for kind in ORDER_TERMS if kind not in CAPPED_AS])
def test_an_order_without_a_term_that_its_type_needs_is_never_sent(order_type: OrderType) -> None:
    terms = ORDER_TERMS[order_type]
    needed = [name for name in ("limit_price", "stop_price", "limit_offset") if getattr(terms, name) is Term.REQUIRED]
    for name in [*needed, *(["trailing_amount"] if terms.trails else [])]:
        incomplete: dict[str, Any] = {name: None}
        with pytest.raises(Refused, match="ORDER_INCOMPLETE"):
            translate.wire_order(replace(_complete(order_type), **incomplete))


@pytest.mark.parametrize("order_type", list(ORDER_TERMS))
def test_a_change_of_the_quantity_keeps_every_other_term_of_every_type(order_type: OrderType) -> None:
    """FD-43."""
    order = _complete(order_type)
    held = translate.wire_order(order)
    held.goodTillDate = "20261120 10:00:00 US/Eastern" if held.goodTillDate else ""  # the broker's own spelling
    before = translate.order_of(translate.contract_for(order.instrument), held, order.instrument)
    sent = translate.changed_wire_order(replace(before, quantity=Decimal(20)), held)
    prices = ("lmtPrice", "auxPrice", "trailStopPrice", "trailingPercent", "lmtPriceOffset")
    assert [getattr(sent, name) for name in prices] == [getattr(held, name) for name in prices]
    assert (sent.tif, sent.goodTillDate) == (held.tif, held.goodTillDate)
    assert str(sent.totalQuantity) == "20"


def test_market_order_with_a_cap_is_a_limit_order_at_the_cap() -> None:
    sent = translate.wire_order(replace(ORDER, order_type=OrderType.MKT, limit_price=None, cap_price=Decimal("206.00")))
    assert (sent.orderType, str(sent.lmtPrice)) == ("LMT", "206.00")
    at_close = translate.wire_order(replace(ORDER, order_type=OrderType.MOC, limit_price=None, cap_price=Decimal(206)))
    assert (at_close.orderType, str(at_close.lmtPrice)) == ("LOC", "206")


@pytest.mark.parametrize("order_type", [type_ for type_ in OrderType if type_ not in ORDER_TERMS])
def test_type_without_a_form_is_refused(order_type: OrderType) -> None:
    with pytest.raises(Refused, match="ORDER_TYPE_UNSUPPORTED"):
        translate.wire_order(replace(ORDER, order_type=order_type))


def test_change_keeps_what_the_broker_holds() -> None:
    """FD-43: an order that is sent again replaces all of it."""
    held = LibraryOrder(
        parentId=3, ocaGroup="oca-1", ocaType=3, triggerMethod=2, openClose="?", displaySize=2147483647, orderRef="x"
    )
    sent = translate.changed_wire_order(replace(ORDER, quantity=Decimal(20)), held)
    assert (sent.parentId, sent.ocaGroup, sent.ocaType, sent.triggerMethod) == (3, "oca-1", 3, 2)
    assert (sent.openClose, sent.displaySize, sent.orderRef) == ("O", 0, "x")
    assert str(sent.totalQuantity) == "20"


def test_echo_of_a_change_is_told_from_an_older_echo() -> None:
    sent = translate.wire_order(replace(ORDER, quantity=Decimal(20)))
    older = LibraryOrder(totalQuantity=10.0, orderType="LMT", lmtPrice=100.0)
    assert not translate.states_the_same(older, sent)
    older.totalQuantity = 20.0
    assert translate.states_the_same(older, sent)
    older.lmtPrice = 100.5
    assert not translate.states_the_same(older, sent)


def test_order_of_someone_else_is_taken_in_whatever_its_kind() -> None:
    """ID-14: imported and counted, even if this product could not place it."""
    contract = Contract(secType="IOPT", conId=5, symbol="X", currency="EUR")
    echo = LibraryOrder(action="SSHORT", orderType="PEG MID", tif="AUC", totalQuantity=3.0, lmtPrice=0.0)
    order = translate.order_of(contract, echo, None)
    assert (order.side, order.order_type, order.time_in_force) == (Side.SELL, OrderType.OTHER, TimeInForce.OTHER)
    assert (order.instrument.sec_type, order.instrument.multiplier) == (SecType.OTHER, None)
    assert order.limit_price is None


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Filled", OrderStatus.FILLED),
        ("ApiCancelled", OrderStatus.CANCELLED),
        ("ApiPending", OrderStatus.PENDING_SUBMIT),
        ("SomethingNew", OrderStatus.PENDING_SUBMIT),
    ],
)
def test_unknown_status_counts_as_working(text: str, status: OrderStatus) -> None:
    assert translate.status_of(text) is status


def test_filled_order_without_a_total_has_what_was_filled() -> None:
    held = LibraryOrder(action="BUY", orderType="LMT", lmtPrice=1.0, totalQuantity=0.0, filledQuantity=7.0, permId=3)
    state = OrderState(status="Filled", completedStatus="Filled Size: 7")
    done = translate.completed_order(
        Contract(secType="STK"), held, state, instrument=None, average_fill_price=Decimal(1), now=NOW
    )
    assert (done.order.quantity, done.filled, done.remaining) == (Decimal(7), Decimal(7), Decimal())


def details(**changes: object) -> ContractDetails:
    found = ContractDetails(
        contract=Contract(
            secType="STK", conId=1, symbol="X", exchange="SMART", primaryExchange="NASDAQ", currency="USD"
        ),
        minTick=0.0001,
        validExchanges="SMART,NASDAQ",
        marketRuleIds="26,239",
        timeZoneId="US/Eastern",
        tradingHours="20261120:0400-20261120:2000;20261121:CLOSED",
        liquidHours="20261120:0930-20261120:1600;20261121:CLOSED",
        minSize=0.0001,
        sizeIncrement=0.0001,
    )
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_stock_orders_are_whole_shares_whatever_the_details_say() -> None:
    instrument = translate.instrument_from_details(details(), None)
    assert (instrument.size_increment, instrument.min_size) == (Decimal(1), Decimal(1))


def test_market_rule_is_that_of_the_routing_exchange() -> None:
    assert translate.market_rule_id(details()) == 26
    assert translate.market_rule_id(details(validExchanges="", marketRuleIds="")) is None
    rules = [PriceIncrement(lowEdge=1.0, increment=0.01), PriceIncrement(lowEdge=0.0, increment=0.0001)]
    instrument = translate.instrument_from_details(details(), rules)
    assert instrument.price_increment(Decimal("0.5")) == Decimal("0.0001")
    assert instrument.price_increment(Decimal(5)) == Decimal("0.01")


def test_hours_are_known_until_the_end_of_the_last_day_told() -> None:
    instrument = translate.instrument_from_details(details(), None)
    assert instrument.hours_known_until == datetime(2026, 11, 22, 5, tzinfo=UTC)


@pytest.mark.parametrize("change", [{"timeZoneId": "Nowhere"}, {"liquidHours": "soon"}, {"liquidHours": ""}])
def test_unreadable_hours_are_unknown(change: dict[str, object]) -> None:
    instrument = translate.instrument_from_details(details(**change), None)
    assert instrument.liquid_hours is None
    assert not instrument.in_regular_hours(NOW)


def test_figures_that_were_not_sent_are_unknown_not_zero() -> None:
    rows = [
        translate.SummaryRow(account="DU1", tag="NetLiquidation", value="100.5", currency="EUR"),
        translate.SummaryRow(account="DU1", tag="BuyingPower", value="", currency="EUR"),
        translate.SummaryRow(account="DU2", tag="SettledCash", value="7", currency="EUR"),
        translate.SummaryRow(account="DU1", tag="ExchangeRate", value="0.9", currency="USD"),
        translate.SummaryRow(account="DU1", tag="UnrealizedPnL", value="-3", currency="BASE"),
    ]
    summary = translate.account_summary("DU1", rows, NOW)
    assert str(summary.net_liquidation) == "100.50 EUR"
    assert (summary.buying_power, summary.settled_cash) == (None, None)
    assert str(summary.unrealized_pnl) == "-3.00 EUR"
    assert summary.exchange_rates == {"USD": Decimal("0.9")}
