"""Trading hours: who is open when, and how TWS writes it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.simulator.exchange_hours import HOURS, hours_of
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.sessions import Sessions
from ibkr_mcp_server.simulator.trading_calendars import built_in_calendars, us_holidays

CATALOGUE = default_catalogue()
EXCHANGE_HOURS = Sessions(always_open=False)
ALWAYS_OPEN = Sessions(always_open=True)
SATURDAY = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)
days = st.dates(date(1990, 1, 1), date(2090, 12, 31))


def listing(local_symbol: str, currency: str = "") -> Listing:
    (found,) = CATALOGUE.matching(local_symbol=local_symbol, currency=currency)
    return found


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("local_symbol", "moment", "regular", "extended"),
    [
        ("AAPL", "2026-11-20 14:29:59", False, True),
        ("AAPL", "2026-11-20 14:30", True, True),
        ("AAPL", "2026-11-20 20:59:59", True, True),
        ("AAPL", "2026-11-20 21:00", False, True),
        ("AAPL", "2026-11-21 01:00", False, False),  # 20:00 in New York
        ("AAPL", "2026-11-20 08:59", False, False),
        ("AAPL", "2026-07-20 13:30", True, True),  # an hour earlier in UTC: daylight saving
        ("AAPL", "2026-11-21 15:00", False, False),
        ("AAPL", "2026-11-26 15:00", False, False),  # Thanksgiving
        ("BARC", "2026-11-26 15:00", True, True),
        ("BARC", "2026-11-20 16:30", False, False),
        ("EUR.USD", "2026-11-20 03:00", True, True),
        ("EUR.USD", "2026-11-19 22:10", False, False),  # the daily quarter of an hour
        ("EUR.USD", "2026-11-20 22:00", False, False),  # Friday 17:00 in New York
        ("EUR.USD", "2026-11-22 22:15", True, True),  # Sunday
    ],
)
def test_hours(local_symbol: str, moment: str, regular: bool, extended: bool) -> None:
    asked = listing(local_symbol)

    assert EXCHANGE_HOURS.is_regular(asked, at(moment)) is regular
    assert EXCHANGE_HOURS.is_extended(asked, at(moment)) is extended
    assert ALWAYS_OPEN.is_regular(asked, at(moment))


def test_hours_are_written_as_tws_writes_them() -> None:
    """The layout of a published capture: see the contractData sample in the protocol notes."""
    assert EXCHANGE_HOURS.liquid_hours(listing("AAPL"), SATURDAY) == (
        "20261121:CLOSED;20261122:CLOSED;20261123:0930-20261123:1600;20261124:0930-20261124:1600;"
        "20261125:0930-20261125:1600;20261126:CLOSED"
    )
    assert EXCHANGE_HOURS.trading_hours(listing("AAPL"), SATURDAY).split(";")[2] == "20261123:0400-20261123:2000"


def test_a_currency_week_begins_on_sunday_evening() -> None:
    text = EXCHANGE_HOURS.trading_hours(listing("EUR.USD"), SATURDAY)

    assert text.startswith("20261121:CLOSED;20261122:1715-20261123:1700;20261123:1715-20261124:1700;")


def test_always_open_is_written_as_whole_days() -> None:
    text = ALWAYS_OPEN.liquid_hours(listing("EUR.USD"), SATURDAY)

    assert text.startswith("20261121:0000-20261122:0000;20261122:0000-20261123:0000;")


@pytest.mark.parametrize("sessions", [EXCHANGE_HOURS, ALWAYS_OPEN])
def test_every_written_day_can_be_read_back_minute_for_minute(sessions: Sessions) -> None:
    for instrument in CATALOGUE:
        for text in sessions.trading_hours(instrument, SATURDAY).split(";"):
            if not text.endswith("CLOSED"):
                start, end = (datetime.strptime(part, "%Y%m%d:%H%M").replace(tzinfo=UTC) for part in text.split("-"))
                assert start < end <= start + timedelta(days=1)


def test_the_next_close_is_todays_before_it_and_the_next_sessions_after_it() -> None:
    assert EXCHANGE_HOURS.next_close(listing("AAPL"), at("2026-11-20 15:00")) == at("2026-11-20 21:00")
    assert EXCHANGE_HOURS.next_close(listing("AAPL"), at("2026-11-20 21:00")) == at("2026-11-23 21:00")
    assert EXCHANGE_HOURS.next_close(listing("EUR.USD"), at("2026-11-22 23:00")) == at("2026-11-23 22:00")
    assert ALWAYS_OPEN.next_close(listing("AAPL"), SATURDAY) == at("2026-11-22 05:00")


@given(minutes=st.integers(0, 10 * 365 * 1440), index=st.integers(0, len(CATALOGUE) - 1))
def test_the_next_close_lies_ahead_and_ends_a_session(minutes: int, index: int) -> None:
    instrument = list(CATALOGUE)[index]
    now = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)

    close = EXCHANGE_HOURS.next_close(instrument, now)

    assert now < close < now + timedelta(days=6)
    assert EXCHANGE_HOURS.is_regular(instrument, close - timedelta(seconds=1))
    assert EXCHANGE_HOURS.is_regular(instrument, close) is (instrument.sec_type == "CRYPTO")  # never closes


def test_the_holidays_of_2026_are_those_that_the_exchange_announced() -> None:
    """NYSE's published calendar for 2026; Independence Day falls on a Saturday and is kept on the Friday."""
    announced = "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25"

    assert [f"{day:%m-%d}" for day in sorted(us_holidays()) if day.year == 2026] == announced.split()


def test_a_new_years_day_on_a_saturday_is_not_kept_on_the_friday_before() -> None:
    assert date(2021, 12, 31) not in us_holidays()


@given(day=days, exchange=st.sampled_from(sorted(HOURS)))
def test_ordinals_count_the_sessions(day: date, exchange: str) -> None:
    hours = HOURS[exchange]

    before = hours.ordinal(day - timedelta(days=1), built_in_calendars)
    assert hours.ordinal(day, built_in_calendars) - before == hours.is_session(day, built_in_calendars)


def test_every_listing_has_hours() -> None:
    for instrument in CATALOGUE:
        assert hours_of(instrument).session_seconds > 0
