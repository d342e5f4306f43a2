"""Holidays, early closes and pauses: what the built-in rules know, and what the library adds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from ibkr_mcp_server.simulator.history import shipped_history
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.sessions import Sessions
from ibkr_mcp_server.simulator.trading_calendars import built_in_calendars, installed_calendars, library_calendars

CATALOGUE = default_catalogue()
HOURS = Sessions(always_open=False)
SATURDAY = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)


def listing(symbol: str, exchange: str) -> Listing:
    (found,) = CATALOGUE.matching(symbol=symbol, primary_exchange=exchange)
    return found


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_new_york_closes_at_one_on_the_days_that_it_announced_for_2026_and_2027() -> None:
    """NYSE's published calendar; July 3, 2026 is a holiday, and so is Christmas Eve of 2027."""
    announced = ["2026-11-27", "2026-12-24", "2027-11-26"]

    early = built_in_calendars("XNYS").early

    assert [str(day) for day in sorted(early) if day.year in (2026, 2027)] == announced
    assert set(early.values()) == {time(13)}


def test_a_short_day_ends_early_in_both_kinds_of_hours() -> None:
    friday = at("2026-11-27 12:00")
    apple = listing("AAPL", "NASDAQ")

    assert HOURS.liquid_hours(apple, friday).startswith("20261127:0930-20261127:1300;")
    assert HOURS.trading_hours(apple, friday).startswith("20261127:0400-20261127:1700;")
    assert not HOURS.is_regular(apple, at("2026-11-27 18:00"))
    assert HOURS.next_close(apple, friday) == at("2026-11-27 18:00")


def test_a_short_day_still_reaches_the_replayed_day_s_close() -> None:
    history = shipped_history()
    first_day = history.bar("AAPL", history.index_of(date(2008, 9, 2)))
    market = Market(CATALOGUE, HOURS, seed=1, started=at("2026-11-27 14:30"))

    market.advance_to(at("2026-11-27 17:59:59"))
    nearly = market.quote(265598).volume
    market.advance_to(at("2026-11-27 18:00"))

    assert market.quote(265598).last == Decimal(first_day.close) / 100
    assert market.quote(265598).volume == first_day.volume
    assert nearly is not None
    assert nearly > first_day.volume * 0.99


@pytest.mark.parametrize(
    ("symbol", "exchange", "text"),
    [
        ("7203", "TSEJ", "20261123:0900-20261123:1130;20261123:1230-20261123:1530"),
        ("700", "SEHK", "20261123:0930-20261123:1200;20261123:1300-20261123:1600"),
    ],
)
def test_the_pause_at_noon_is_written_as_two_stretches(symbol: str, exchange: str, text: str) -> None:
    assert text in HOURS.trading_hours(listing(symbol, exchange), SATURDAY)


def test_nothing_moves_in_the_pause_and_no_bar_lies_in_it() -> None:
    toyota = listing("7203", "TSEJ")
    market = Market(CATALOGUE, HOURS, seed=1, started=at("2026-11-24 00:00"))
    market.advance_to(at("2026-11-24 02:30"))
    resting = market.quote(toyota.con_id)
    market.advance_to(at("2026-11-24 03:29:59"))

    assert not HOURS.is_regular(toyota, at("2026-11-24 03:00"))
    assert market.quote(toyota.con_id) is resting
    market.advance_to(at("2026-11-24 03:31"))
    assert market.quote(toyota.con_id) is not resting

    end = at("2026-11-24 07:00")
    bars = market.bars(toyota.con_id, end=end, duration="1 D", bar_size="30 mins", what="TRADES", use_rth=True, now=end)
    [day] = market.bars(toyota.con_id, end=end, duration="1 D", bar_size="1 day", what="TRADES", use_rth=True, now=end)
    starts = [bar.start for bar in bars if isinstance(bar.start, datetime)]
    assert [f"{start:%H:%M}" for start in starts] == [
        f"{hour:02}:{minute:02}" for hour in range(6) for minute in (0, 30) if (hour, minute) not in ((2, 30), (3, 0))
    ] + ["06:00"]
    assert (bars[0].open, bars[-1].close) == (day.open, day.close)
    assert sum(bar.volume for bar in bars) == day.volume


def test_seconds_asked_for_after_the_pause_reach_back_before_it() -> None:
    toyota = listing("7203", "TSEJ")
    market = Market(CATALOGUE, HOURS, seed=1, started=at("2026-11-24 00:00"))
    end = at("2026-11-24 03:31")

    bars = market.bars(toyota.con_id, end=end, duration="120 S", bar_size="1 min", what="TRADES", use_rth=True, now=end)

    assert [bar.start for bar in bars] == [at("2026-11-24 02:29"), at("2026-11-24 03:30")]


def test_a_coin_is_traded_on_sundays() -> None:
    (coin,) = CATALOGUE.matching(symbol="BTC", sec_type="CRYPTO")
    market = Market(CATALOGUE, HOURS, seed=1, started=SATURDAY)
    prices = set()
    for minutes in range(0, 120, 10):
        market.advance_to(SATURDAY + timedelta(days=1, minutes=minutes))
        prices.add(market.quote(coin.con_id).last)

    assert len(prices) > 6
    assert HOURS.trading_hours(coin, SATURDAY).startswith("20261121:0000-20261122:0000;20261122:0000-20261123:0000")


def test_without_the_library_exchanges_abroad_open_on_every_weekday() -> None:
    assert built_in_calendars("XTKS").is_session(date(2027, 1, 1))
    assert not built_in_calendars("XTKS").is_session(date(2027, 1, 2))


# With the library: the extra `calendars`, which the development environment has.


def test_the_library_is_used_where_it_is_installed() -> None:
    assert installed_calendars() is library_calendars


@pytest.mark.parametrize(
    ("symbol", "exchange", "holiday"),
    [
        ("7203", "TSEJ", "2026-11-23"),  # Labour Thanksgiving
        ("700", "SEHK", "2026-10-19"),  # the day after Chung Yeung
        ("BARC", "LSE", "2026-12-28"),  # Boxing Day, kept on the Monday
        ("SAP", "IBIS", "2026-12-24"),
        ("ASML", "AEB", "2026-05-01"),
    ],
)
def test_with_the_library_exchanges_abroad_keep_their_holidays(symbol: str, exchange: str, holiday: str) -> None:
    sessions = Sessions(always_open=False, calendars=library_calendars)
    moment = at(f"{holiday} 05:00") if exchange in ("TSEJ", "SEHK") else at(f"{holiday} 10:00")
    shown = listing(symbol, exchange)

    assert not sessions.is_regular(shown, moment)
    assert sessions.trading_hours(shown, moment).startswith(f"{moment:%Y%m%d}:CLOSED")
    assert HOURS.is_regular(shown, moment)


def test_with_the_library_london_closes_early_on_christmas_eve_and_new_york_as_ever() -> None:
    sessions = Sessions(always_open=False, calendars=library_calendars)
    eve = at("2026-12-24 08:00")

    assert sessions.liquid_hours(listing("BARC", "LSE"), eve).startswith("20261224:0800-20261224:1230;")
    assert library_calendars("XNYS") is built_in_calendars("XNYS")


def test_with_the_library_a_half_day_in_hong_kong_ends_at_noon() -> None:
    sessions = Sessions(always_open=False, calendars=library_calendars)

    assert sessions.liquid_hours(listing("700", "SEHK"), at("2026-12-24 00:00")).startswith(
        "20261224:0930-20261224:1200;20261225:CLOSED"
    )
