"""Futures: months by date, the front one first, and prices that follow one another."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.simulator.futures import ROOTS, Root, months_from
from ibkr_mcp_server.simulator.trading_calendars import is_us_session
from tests.unit.simulator.worlds import FRIDAY_OPEN, world

WORLD = world()
WORLD.market.advance_to(FRIDAY_OPEN)
BY_SYMBOL = {root.symbol: root for root in ROOTS}


@pytest.mark.parametrize(
    ("symbol", "front", "expiry", "exchange", "multiplier", "tick"),
    [
        # The last trade dates are those of the exchanges' own calendars for these months.
        ("ES", "ESZ6", "20261218", "CME", "50", "0.25"),
        ("NQ", "NQZ6", "20261218", "CME", "20", "0.25"),
        ("CL", "CLZ6", "20261120", "NYMEX", "1000", "0.01"),
        ("GC", "GCZ6", "20261229", "COMEX", "100", "0.1"),
    ],
)
def test_the_front_month_comes_first(
    symbol: str, front: str, expiry: str, exchange: str, multiplier: str, tick: str
) -> None:
    found = WORLD.catalogue.matching(symbol=symbol, sec_type="FUT")[0]

    assert (found.local_symbol, found.last_trade_date) == (front, expiry)
    assert (found.exchange, found.multiplier, found.min_tick) == (exchange, multiplier, Decimal(tick))


def test_a_month_is_found_by_local_symbol_by_month_and_by_its_last_day() -> None:
    (by_name,) = WORLD.catalogue.matching(local_symbol="CLF7")

    # January's crude oil stops trading in December.
    assert by_name.contract_month == "202701"
    assert by_name in WORLD.catalogue.matching(symbol="CL", sec_type="FUT", last_trade_date="202701")
    assert by_name in WORLD.catalogue.matching(symbol="CL", sec_type="FUT", last_trade_date="20261221")
    assert WORLD.catalogue.by_con_id(by_name.con_id) == by_name


def test_the_front_month_moves_on_after_its_last_day() -> None:
    later = world()
    front = later.catalogue.matching(symbol="ES", sec_type="FUT")[0]
    later.market.advance_to(datetime(2026, 12, 19, 0, 0, tzinfo=UTC))

    assert later.catalogue.matching(symbol="ES", sec_type="FUT")[0].local_symbol == "ESH7"
    assert later.catalogue.is_expired(front)
    assert later.catalogue.by_con_id(front.con_id) == front
    assert later.catalogue.matching(local_symbol="ESZ6") == []


@given(root=st.sampled_from(ROOTS), today=st.dates(date(2005, 1, 1), date(2050, 1, 1)))
def test_listed_months_have_not_ended_and_end_one_after_the_other(root: Root, today: date) -> None:
    last_days = [root.last_trade(month) for month in islice(months_from(root, today), root.listed)]

    assert last_days[0] >= today
    assert all(earlier < later for earlier, later in pairwise(last_days))
    assert all(is_us_session(day) for day in last_days)


def test_the_continuous_contract_is_asked_for_by_its_own_type() -> None:
    (found,) = WORLD.catalogue.matching(symbol="GC", sec_type="CONTFUT")

    assert found.local_symbol == "GC"
    assert found.order_types == ""


def test_later_months_cost_more_where_holding_costs() -> None:
    gold = [
        WORLD.market.quote(listing.con_id).last for listing in WORLD.catalogue.matching(symbol="GC", sec_type="FUT")
    ]
    stocks = [
        WORLD.market.quote(listing.con_id).last for listing in WORLD.catalogue.matching(symbol="ES", sec_type="FUT")
    ]

    assert gold == sorted(gold, key=lambda price: price or 0)
    assert len(set(gold)) == len(gold)
    assert len(set(stocks)) == 1


def test_the_index_and_its_futures_move_together_from_day_to_day() -> None:
    front = WORLD.one("ESZ6")
    ends = [FRIDAY_OPEN + timedelta(days=days, hours=7) for days in range(0, 25, 7)]

    closes = {
        con_id: [
            WORLD.market.bars(con_id, end=end, duration="1 D", bar_size="1 day", what="TRADES", use_rth=True, now=end)[
                -1
            ].close
            for end in ends
        ]
        for con_id in (416904, front.con_id)
    }

    for index, future in zip(*closes.values(), strict=True):
        assert abs(future / index - 1) < Decimal("0.05")


def test_futures_trade_through_the_night_and_rest_for_an_hour() -> None:
    front = WORLD.one("ESZ6")
    evening = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)  # 19:00 in Chicago on Monday
    resting = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)  # 16:30 in Chicago

    assert WORLD.quote(front, evening) != WORLD.quote(front, evening + timedelta(minutes=5))
    assert WORLD.quote(front, resting).last == WORLD.quote(front, resting + timedelta(minutes=10)).last
