"""Which order belongs to which reference; never to the wrong one (ID-07)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.broker.reconcile import Finding, Unresolved, reconcile
from ibkr_mcp_server.domain.instruments import Instrument, SecType
from ibkr_mcp_server.domain.orders import BrokerOrder, Execution, Order, OrderStatus, OrderType, Side

AAPL = Instrument(
    con_id=265598, symbol="AAPL", sec_type=SecType.STK, exchange="SMART", primary_exchange="NASDAQ", currency="USD"
)
ORDER = Order(
    instrument=AAPL,
    account="DU1",
    side=Side.BUY,
    quantity=Decimal(10),
    order_type=OrderType.LMT,
    limit_price=Decimal(100),
    order_ref="ibmcp-a",
)


def held(
    order_ref: str, perm_id: int, *, status: OrderStatus = OrderStatus.SUBMITTED, order_id: int = 5
) -> BrokerOrder:
    return BrokerOrder(
        order=replace(ORDER, order_ref=order_ref),
        perm_id=perm_id,
        order_id=order_id,
        client_id=7,
        status=status,
        filled=Decimal(),
        remaining=Decimal(10),
        average_fill_price=None,
    )


def fill(order_ref: str, perm_id: int, quantity: int, price: int) -> Execution:
    return Execution(
        execution_id=f"{perm_id}.{quantity}.{price}.01",
        perm_id=perm_id,
        order_id=5,
        client_id=7,
        account="DU1",
        instrument=AAPL,
        side=Side.BUY,
        quantity=Decimal(quantity),
        price=Decimal(price),
        cumulative_quantity=Decimal(quantity),
        average_price=Decimal(price),
        executed_at=datetime(2026, 11, 20, 15, tzinfo=UTC),
        exchange="NASDAQ",
        order_ref=order_ref,
    )


def find(
    one: Unresolved,
    *,
    open_orders: tuple[BrokerOrder, ...] = (),
    completed: tuple[BrokerOrder, ...] = (),
    fills: tuple[Execution, ...] = (),
) -> Finding:
    [finding] = reconcile([one], open_orders=open_orders, completed_orders=completed, executions=fills)
    return finding


def lost(order_ref: str) -> Unresolved:
    return Unresolved(
        order_ref=order_ref,
        con_id=AAPL.con_id,
        side=ORDER.side,
        account=ORDER.account,
        quantity=ORDER.quantity,
        order_type=ORDER.order_type,
    )


MINE = lost("ibmcp-a")


def test_order_is_found_by_its_reference_among_the_open_and_the_completed() -> None:
    assert find(MINE, open_orders=(held("ibmcp-a", 1),)).order == held("ibmcp-a", 1)
    done = held("ibmcp-a", 1, status=OrderStatus.CANCELLED)
    assert find(MINE, completed=(done,)).order == done


def test_finished_record_is_newer_than_the_working_one() -> None:
    done = held("ibmcp-a", 1, status=OrderStatus.FILLED)
    assert find(MINE, open_orders=(held("ibmcp-a", 1),), completed=(done,)).order == done


def test_absent_order_is_absent() -> None:
    assert find(MINE, open_orders=(held("ibmcp-b", 1), held("", 2))).is_absent


def test_order_id_handed_out_again_attributes_nothing() -> None:
    """A restarted gateway rolled its ids back: the same order id now belongs to another order."""
    assert find(replace(MINE, perm_id=9), open_orders=(held("ibmcp-other", 77, order_id=5),)).is_absent


def test_permanent_id_counts_only_for_a_record_without_reference() -> None:
    known = replace(MINE, perm_id=9)
    assert find(known, open_orders=(held("", 9),)).order == held("", 9)
    assert find(known, open_orders=(held("ibmcp-other", 9),)).is_absent


def test_reference_that_fits_two_orders_is_a_conflict() -> None:
    finding = find(MINE, open_orders=(held("ibmcp-a", 1), held("ibmcp-a", 2)))
    assert (finding.order, len(finding.conflicts)) == (None, 2)


def test_record_that_contradicts_the_intention_is_a_conflict() -> None:
    other_side = replace(held("ibmcp-a", 1), order=replace(ORDER, side=Side.SELL))
    finding = find(MINE, open_orders=(other_side,))
    assert (finding.order, finding.conflicts) == (None, (other_side,))


def test_order_known_only_by_its_fills_is_filled_or_still_working() -> None:
    whole = find(MINE, fills=(fill("ibmcp-a", 1, 4, 100), fill("ibmcp-a", 1, 6, 110))).order
    assert whole is not None
    assert (whole.status, whole.filled, whole.average_fill_price) == (
        OrderStatus.FILLED,
        Decimal(10),
        Decimal(106),
    )
    part = find(MINE, fills=(fill("ibmcp-a", 1, 4, 100),)).order
    assert part is not None
    assert (part.status, part.remaining) == (OrderStatus.SUBMITTED, Decimal(6))


_records = st.lists(
    st.builds(held, st.sampled_from(["ibmcp-a", "ibmcp-b", "", "manual"]), st.integers(min_value=1, max_value=4)),
    max_size=6,
)


@given(open_orders=_records, completed=_records, perm_id=st.integers(min_value=0, max_value=4))
def test_no_order_is_ever_credited_to_two_references(
    open_orders: list[BrokerOrder], completed: list[BrokerOrder], perm_id: int
) -> None:
    both = [
        replace(MINE, perm_id=perm_id),
        lost("ibmcp-b"),
    ]
    findings = reconcile(both, open_orders=open_orders, completed_orders=completed, executions=[])
    found = [finding.order for finding in findings if finding.order is not None]
    assert len({order.perm_id for order in found}) == len(found)
    for finding in findings:
        if finding.order is not None:
            assert finding.order.order.order_ref in (finding.order_ref, "")
