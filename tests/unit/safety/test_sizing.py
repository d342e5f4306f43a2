"""The sizing helper: what it returns passes, and one step more does not."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.domain.orders import Side
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import Place, Validation, refuses
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.sizing import Judge, size
from tests.unit.safety import builders as world
from tests.unit.safety.test_portfolio import balances, buying, held, projected

ONE = Decimal(1)


def limited(**limits: tuple[int, Code]) -> Judge:
    """Rules that refuse above a quantity."""

    def judge(quantity: Decimal) -> Validation:
        beyond = {name: code for name, (most, code) in limits.items() if quantity > most}
        return Validation(
            rules=[Place(name=name, step=9) for name in beyond],
            findings=tuple(refuses(problem(code, name)) for name, code in beyond.items()),
        )

    return judge


def test_the_tightest_rule_bounds_and_all_that_refuse_one_step_more_are_told() -> None:
    found = size(
        limited(a=(60, Code.ORDER_SIZE_LIMIT), b=(41, Code.CASH_RESERVE), c=(41, Code.LEVERAGE_LIMIT)),
        smallest=ONE,
        step=ONE,
    )
    assert (found.largest, found.wait_seconds) == (Decimal(41), 0.0)
    assert found.bound_by == (Code.CASH_RESERVE, Code.LEVERAGE_LIMIT)


def test_nothing_passes_where_the_smallest_is_refused_and_nothing_bounds_where_all_pass() -> None:
    assert size(limited(a=(4, Code.CASH_RESERVE)), smallest=Decimal(5), step=ONE).largest == 0
    assert size(limited(), smallest=ONE, step=ONE).bound_by == ()
    assert size(limited(a=(7, Code.CASH_RESERVE)), smallest=ONE, step=Decimal(2)).largest == 6


@given(
    position=st.integers(-60, 60),
    working=st.integers(0, 50),
    price=st.integers(1, 400),
    equity=st.integers(1_000, 300_000),
    side=st.sampled_from(Side),
    most=st.integers(100, 20_000),
    at_risk=st.sampled_from(["0.01", "0.2", "1"]),
)
def test_what_is_returned_passes_every_rule_and_one_more_does_not(
    *, position: int, working: int, price: int, equity: int, side: Side, most: int, at_risk: str
) -> None:
    """PL-16."""
    policy = Policy(
        world.settings(
            max_position_value_usd=most, max_portfolio_value_at_risk=at_risk, allow_short=True, max_order_size=90
        )
    )
    con_id = world.instrument().con_id

    def judge(quantity: Decimal) -> Validation:
        order = buying(int(quantity), str(price), side=side)
        portfolio = projected(
            order,
            positions=(held(position, str(price), con_id=con_id),) if position else (),
            orders=(world.broker_order(buying(working, "1.00", instrument=world.instrument(con_id=2))),)
            if working
            else (),
            balances=balances(Decimal(equity)),
        )
        seen = world.snapshot(
            order,
            portfolio=portfolio,
            reference_price=Decimal(price),
            quote=world.quote(bid=Decimal(price) - Decimal("0.01"), ask=Decimal(price)),
        )
        return policy.review(world.placement(), seen)

    found = size(judge, smallest=ONE, step=ONE)
    if found.largest:
        assert judge(found.largest).is_safe
    assert not judge(found.largest + 1).is_safe
    assert set(found.bound_by) == {told.code for _, told in judge(found.largest + 1).failures}


def test_an_order_below_the_contracts_minimum_is_refused_here() -> None:
    """ORD-16: by contract data; equal to the minimum passes."""
    least = world.instrument(min_size=Decimal(10))
    assert world.codes(world.snapshot(world.order(instrument=least, quantity=Decimal(9)))) == [Code.QUANTITY_STEP]
    assert world.codes(world.snapshot(world.order(instrument=least, quantity=Decimal(10)))) == []
