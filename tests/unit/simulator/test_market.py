"""The replayed market: repeatable, on the grid, inside the real day's range, and at one with its own bars."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibkr_mcp_server.simulator.bars import INTRADAY_SIZES, Bar
from ibkr_mcp_server.simulator.history import DayBar, shipped_history
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.market import Market, MarketQuote
from ibkr_mcp_server.simulator.market_rules import MARKET_RULES
from ibkr_mcp_server.simulator.price_paths import PricePaths
from ibkr_mcp_server.simulator.sessions import Sessions

AAPL, IBM, NVDA, SPY, ASML_EUR, BARC, EUR_USD = 265598, 8314, 4815747, 756733, 117902840, 29612142, 12087792
CATALOGUE = default_catalogue()
CON_IDS = [listing.con_id for listing in CATALOGUE]
FRIDAY_OPEN = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIRST_DAY = date(2008, 9, 2)

con_ids = st.sampled_from(CON_IDS)
offsets = st.integers(0, 14 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
generous = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def market(*, always_open: bool = False, seed: int = 7, started: datetime = FRIDAY_OPEN, speed: float = 1.0) -> Market:
    return Market(CATALOGUE, Sessions(always_open=always_open), seed=seed, started=started, speed=speed)


MARKETS = {
    (always_open, speed): market(always_open=always_open, speed=speed)
    for always_open in (False, True)
    for speed in (0.5, 1.0, 60.0)
}
"""Shared by the properties: a market has no memory but its scripts and its present moment."""
markets = st.sampled_from(sorted(MARKETS)).map(lambda key: MARKETS[key])


def shown(world: Market, con_id: int, at: datetime) -> MarketQuote:
    world.advance_to(at)
    return world.quote(con_id)


def prices_of(quote: MarketQuote) -> list[Decimal | None]:
    return [quote.bid, quote.ask, quote.last, quote.bid_size, quote.volume, quote.high, quote.low, quote.close]


def bars(world: Market, con_id: int, end: datetime, duration: str, bar_size: str, what: str = "TRADES") -> list[Bar]:
    return world.bars(con_id, end=end, duration=duration, bar_size=bar_size, what=what, use_rth=True, now=end)


# Quotes


def on_grid(listing: Listing, price: Decimal) -> bool:
    """Whether a price keeps the increment of its level, by the listing's market rule."""
    increment = [size for edge, size in MARKET_RULES[listing.market_rule_id] if edge <= price][-1]
    return price % increment == 0


@generous
@given(world=markets, con_id=con_ids, offset=offsets)
def test_every_quote_is_on_the_grid_narrow_and_inside_the_days_range(
    world: Market, con_id: int, offset: timedelta
) -> None:
    listing = CATALOGUE.by_con_id(con_id)
    assert listing is not None

    quote = shown(world, con_id, FRIDAY_OPEN + offset)

    assert quote.high is not None
    assert quote.low is not None
    assert (quote.last is None) == (listing.sec_type == "CASH")
    assert (quote.volume is None) == (listing.sec_type in ("CASH", "IND"))
    assert (quote.bid is None) == (quote.ask is None) == (listing.sec_type == "IND")
    if quote.last is not None:
        assert on_grid(listing, quote.last)
        assert quote.low <= quote.last <= quote.high
    if quote.bid is None or quote.ask is None:
        return
    assert on_grid(listing, quote.bid)
    assert on_grid(listing, quote.ask)
    widest = 3 * max(increment for edge, increment in MARKET_RULES[listing.market_rule_id] if edge <= quote.ask)
    assert 0 < quote.bid < quote.ask <= quote.bid + widest
    assert quote.bid <= quote.high
    assert quote.ask >= quote.low
    assert quote.last is None or quote.bid <= quote.last <= quote.ask
    assert quote.bid_size is not None
    assert 0 < quote.bid_size <= 5_000_000


@settings(generous, max_examples=15)
@given(moments=st.lists(offsets, min_size=2, max_size=8), always_open=st.booleans(), con_id=con_ids)
def test_the_same_seed_shows_the_same_quotes_whatever_was_asked_before(
    moments: list[timedelta], always_open: bool, con_id: int
) -> None:
    one, other = (market(always_open=always_open) for _ in range(2))

    in_order = {moment: prices_of(shown(one, con_id, FRIDAY_OPEN + moment)) for moment in sorted(moments)}
    as_they_come = {moment: prices_of(shown(other, con_id, FRIDAY_OPEN + moment)) for moment in moments}

    assert in_order == as_they_come


def test_another_seed_is_another_market_between_the_same_real_prices() -> None:
    one, other = market(seed=1), market(seed=2)
    at = FRIDAY_OPEN + timedelta(hours=2)

    assert shown(one, AAPL, at).last != shown(other, AAPL, at).last
    assert bars(one, AAPL, at + timedelta(days=1), "1 D", "1 day") == bars(
        other, AAPL, at + timedelta(days=1), "1 D", "1 day"
    )


def test_the_session_replays_the_second_of_september_2008_and_its_last_price_is_that_days_close() -> None:
    history = shipped_history()
    real = history.bar("AAPL", history.index_of(FIRST_DAY))
    apple = CATALOGUE.by_con_id(AAPL)
    assert apple is not None
    world = Market(Catalogue([apple]), Sessions(always_open=False), seed=7, started=FRIDAY_OPEN)

    # Highest and lowest prices of a day stand at the beginning of a minute, which the steps meet.
    lasts = [shown(world, AAPL, FRIDAY_OPEN + SECOND * step).last for step in (*range(0, 23_400, 12), 23_399)]

    cents = [int(last * 100) for last in lasts if last is not None]
    assert (cents[0], max(cents), min(cents), cents[-1]) == (real.open, real.high, real.low, real.close)
    assert shown(world, AAPL, FRIDAY_OPEN + timedelta(hours=6.5)).volume == real.volume


def test_always_open_one_replay_day_follows_the_other() -> None:
    history = shipped_history()
    second_day = history.bar("IBM", history.index_of(FIRST_DAY) + 1)
    world = market(always_open=True, started=datetime(2026, 11, 21, 3, 0, tzinfo=UTC))

    quote = shown(world, IBM, datetime(2026, 11, 21, 9, 30, tzinfo=UTC))

    assert quote.last == quote.open == Decimal(second_day.open) / 100


def test_at_speed_sixty_a_replay_day_takes_six_and_a_half_minutes() -> None:
    world = market(always_open=True, speed=60.0)
    opened = shown(world, IBM, FRIDAY_OPEN).open

    assert shown(world, IBM, FRIDAY_OPEN + timedelta(minutes=6, seconds=29)).open == opened
    assert shown(world, IBM, FRIDAY_OPEN + timedelta(minutes=6, seconds=30)).close != opened
    assert shown(world, IBM, FRIDAY_OPEN + timedelta(minutes=6, seconds=30)).open != opened


def test_outside_the_session_quotes_stay_as_they_were_and_nothing_is_reported() -> None:
    world = market()
    world.advance_to(FRIDAY_OPEN + timedelta(days=1))
    friday = world.quote(AAPL)

    world.advance_to(FRIDAY_OPEN + timedelta(days=1, hours=9))

    assert world.quote(AAPL) is friday


def test_a_gateway_started_at_night_shows_the_session_before() -> None:
    saturday = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)
    history = shipped_history()

    quote = shown(market(started=saturday), AAPL, saturday)

    assert quote.last == Decimal(history.bar("AAPL", history.index_of(FIRST_DAY)).close) / 100


def test_a_quote_is_the_same_object_until_it_changes() -> None:
    world = market()
    before = shown(world, AAPL, FRIDAY_OPEN)
    assert shown(world, AAPL, FRIDAY_OPEN) is before

    world.set_quote(AAPL, bid="1", ask="2")

    assert world.quote(AAPL) is not before
    assert shown(world, AAPL, FRIDAY_OPEN + SECOND) is world.quote(AAPL)


def test_the_close_of_a_quote_is_the_day_before() -> None:
    history = shipped_history()
    world = market()

    assert shown(world, AAPL, FRIDAY_OPEN).close == Decimal(
        history.bar("AAPL", history.index_of(FIRST_DAY) - 1).close
    ) / Decimal(100)


# The long run


def day_of(paths: PricePaths, con_id: int, day: int) -> DayBar:
    return paths.day(con_id, day, 390, FIRST_DAY)


def test_when_the_history_ends_it_runs_backwards_without_a_jump() -> None:
    history = shipped_history()
    paths = PricePaths(CATALOGUE, history, seed=1, first_index=len(history) - 1)

    last, following, one_more = (day_of(paths, AAPL, day) for day in (0, 1, 2))

    assert (following.open, following.close) == (last.close, last.open)
    assert one_more.open == history.bar("AAPL", len(history) - 2).close
    assert day_of(paths, AAPL, 2 * len(history)) == last


def test_walks_stay_plausible_for_ten_thousand_days_either_way() -> None:
    paths = PricePaths(CATALOGUE, shipped_history(), seed=3, first_index=883)

    for con_id in CON_IDS:
        start = day_of(paths, con_id, 0).open
        for day in range(-10_000, 10_001, 2_000):
            bar = day_of(paths, con_id, day)
            assert 3 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert start / 100 < bar.close < start * 100


def test_the_funds_go_with_the_market() -> None:
    paths = PricePaths(CATALOGUE, shipped_history(), seed=5, first_index=883)

    def returns(con_id: int) -> list[float]:
        return [math.log(day_of(paths, con_id, day).close / day_of(paths, con_id, day - 1).close) for day in range(250)]

    assert correlation(returns(SPY), returns(IBM)) > 0.5
    assert abs(correlation(returns(EUR_USD), returns(IBM))) < 0.3


def test_within_a_day_the_funds_go_with_the_market_too() -> None:
    paths = PricePaths(CATALOGUE, shipped_history(), seed=5, first_index=883)
    moves = {
        con_id: [after - before for before, after in zip(points, points[5:], strict=False)]
        for con_id in (AAPL, SPY)
        for points in [[paths.path(con_id, 4, 390, FIRST_DAY).at(60 * minute) for minute in range(390)]]
    }

    assert correlation(moves[AAPL], moves[SPY]) > 0.15


def correlation(one: list[float] | list[int], other: list[float] | list[int]) -> float:
    mean_one, mean_other = sum(one) / len(one), sum(other) / len(other)
    together = sum((a - mean_one) * (b - mean_other) for a, b in zip(one, other, strict=True))
    return together / math.sqrt(sum((a - mean_one) ** 2 for a in one) * sum((b - mean_other) ** 2 for b in other))


# Bars


@settings(generous, max_examples=25)
@given(
    world=markets,
    con_id=con_ids,
    offset=st.integers(0, 2 * 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    bar_size=st.sampled_from([*INTRADAY_SIZES, "1 day", "1 week", "1 month"]),
    what=st.sampled_from(["TRADES", "BID", "ASK", "MIDPOINT"]),
)
def test_the_bar_of_a_moment_contains_what_the_moment_showed(
    world: Market, con_id: int, offset: timedelta, bar_size: str, what: str
) -> None:
    at = FRIDAY_OPEN + offset
    quote = shown(world, con_id, at)
    if what == "TRADES" and quote.last is None:
        what = "MIDPOINT"
    if quote.bid is None or quote.ask is None:
        what, price = "TRADES", quote.last
    else:
        midpoint = (quote.bid + quote.ask) / 2
        price = {"BID": quote.bid, "ASK": quote.ask, "TRADES": quote.last, "MIDPOINT": midpoint}[what]
    assert price is not None

    duration = {"1 day": "1 D", "1 week": "1 W", "1 month": "1 M"}.get(bar_size, "1800 S")
    last = bars(world, con_id, at + SECOND / 1000, duration, bar_size, what)[-1]

    assert last.low <= price <= last.high
    assert last.close == price


@generous
@given(con_id=con_ids, day=st.integers(0, 9), minute=st.integers(0, 389), always_open=st.booleans())
def test_a_minute_bar_is_exactly_its_sixty_seconds(con_id: int, day: int, minute: int, always_open: bool) -> None:
    world = MARKETS[always_open, 1.0]
    end = FRIDAY_OPEN + timedelta(days=day, minutes=minute + 1)
    listing = CATALOGUE.by_con_id(con_id)
    assert listing is not None
    what = {"IND": "TRADES", "CASH": "BID"}.get(listing.sec_type, "MIDPOINT")

    one = bars(world, con_id, end, "60 S", "1 min", what)[-1]
    seconds = [bar for bar in bars(world, con_id, end, "60 S", "1 secs", what) if _start(bar) >= _start(one)]

    assert (one.open, one.close) == (seconds[0].open, seconds[-1].close)
    assert one.high == max(bar.high for bar in seconds)
    assert one.low == min(bar.low for bar in seconds)


def _start(bar: Bar) -> datetime:
    assert isinstance(bar.start, datetime)
    return bar.start


def test_a_day_bar_is_exactly_its_minutes_and_the_real_day() -> None:
    history = shipped_history()
    real = history.bar("AAPL", history.index_of(FIRST_DAY))
    world = market()
    end = FRIDAY_OPEN + timedelta(hours=7)

    (day,) = bars(world, AAPL, end, "1 D", "1 day")
    minutes = bars(world, AAPL, end, "1 D", "1 min")

    assert [int(price * 100) for price in (day.open, day.high, day.low, day.close)] == list(real[:4])
    assert day.start == date(2026, 11, 20)
    assert day.volume == real.volume
    assert len(minutes) == 390
    assert (minutes[0].open, minutes[-1].close) == (day.open, day.close)
    assert max(bar.high for bar in minutes) == day.high
    assert min(bar.low for bar in minutes) == day.low
    assert sum(bar.volume for bar in minutes) == day.volume
    assert all(bar.low <= bar.wap <= bar.high for bar in minutes)


@pytest.mark.parametrize("always_open", [False, True])
def test_the_days_before_are_the_replay_days_before_on_past_trading_days(always_open: bool) -> None:
    history = shipped_history()
    first = history.index_of(FIRST_DAY)
    monday = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)

    found = bars(market(always_open=always_open, started=monday), AAPL, monday + SECOND, "4 D", "1 day")

    # No bar on the 26th: Thanksgiving.
    assert [bar.start for bar in found] == [date(2026, 11, day) for day in (24, 25, 27, 30)]
    assert [bar.close for bar in found[:3]] == [
        Decimal(history.bar("AAPL", first - before).close) / 100 for before in (3, 2, 1)
    ]


def test_bars_begin_on_the_clock_and_with_the_session() -> None:
    found = bars(market(), AAPL, FRIDAY_OPEN + timedelta(hours=7), "1 D", "1 hour")

    assert [f"{bar.start:%H:%M}" for bar in found] == ["14:30", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00"]


def test_seconds_reach_back_over_the_weekend_to_the_last_trades() -> None:
    sunday = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    found = bars(market(), AAPL, sunday, "60 S", "30 secs")

    assert [bar.start for bar in found] == [datetime(2026, 11, 20, 20, 59, second, tzinfo=UTC) for second in (0, 30)]


def test_no_bar_comes_from_the_future() -> None:
    now = FRIDAY_OPEN + timedelta(minutes=10)

    found = market().bars(
        AAPL, end=now + timedelta(days=9), duration="1 D", bar_size="1 min", what="TRADES", use_rth=True, now=now
    )

    assert len(found) == 10


def test_weeks_and_months_bear_the_date_of_their_last_session() -> None:
    weeks = bars(market(), AAPL, FRIDAY_OPEN + timedelta(hours=1), "3 W", "1 week")
    months = bars(market(), AAPL, FRIDAY_OPEN + timedelta(hours=1), "2 M", "1 month")

    assert [bar.start for bar in weeks] == [date(2026, 11, 6), date(2026, 11, 13), date(2026, 11, 20)]
    assert [bar.start for bar in months] == [date(2026, 9, 30), date(2026, 10, 30), date(2026, 11, 20)]


def test_bars_that_are_not_made_of_trades_have_no_volume() -> None:
    (bar,) = bars(market(), EUR_USD, FRIDAY_OPEN, "1 D", "1 day", "MIDPOINT")

    assert bar.volume == bar.wap == bar.count == -1


@pytest.mark.parametrize(
    ("duration", "bar_size", "what"),
    [
        ("1 D", "7 mins", "TRADES"),
        ("1 D", "1 MIN", "TRADES"),
        ("1 D", "", "TRADES"),
        ("1D", "1 min", "TRADES"),
        ("0 D", "1 min", "TRADES"),
        ("-1 D", "1 min", "TRADES"),
        ("² D", "1 min", "TRADES"),
        ("1 H", "1 min", "TRADES"),
        ("1 D ", "1 min", "TRADES"),
        ("999999 Y", "1 month", "TRADES"),
        ("1 Y", "1 secs", "TRADES"),
        ("1 D", "1 min", "WISHES"),
    ],
)
def test_illegal_bars_are_refused(duration: str, bar_size: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"duration|bar size|whatToShow|Time length"):
        bars(market(), AAPL, FRIDAY_OPEN, duration, bar_size, what)


def test_a_currency_pair_has_no_trades() -> None:
    with pytest.raises(ValueError, match="Trades"):
        bars(market(), EUR_USD, FRIDAY_OPEN, "1 D", "1 min", "TRADES")


# Scripts


def test_a_held_quote_stays_until_released() -> None:
    world = market()
    before = shown(world, AAPL, FRIDAY_OPEN).last

    world.set_quote(AAPL, bid="199.98", ask="200.00")
    world.advance_to(FRIDAY_OPEN + timedelta(hours=1))
    held = world.quote(AAPL)
    world.release(AAPL)
    world.advance_to(FRIDAY_OPEN)

    assert (held.bid, held.ask) == (Decimal("199.98"), Decimal("200.00"))
    assert held.last == held.high == Decimal("199.99")
    assert world.quote(AAPL).last == before


def test_a_quote_that_is_not_held_gives_way_to_the_next_second() -> None:
    world = market()
    world.advance_to(FRIDAY_OPEN)

    world.set_quote(AAPL, bid="1.00", ask="1.02", hold=False)

    assert world.quote(AAPL).bid == Decimal("1.00")
    assert shown(world, AAPL, FRIDAY_OPEN + SECOND).bid != Decimal("1.00")


def test_a_withdrawn_quote_has_no_prices_at_all() -> None:
    world = market()

    world.withdraw_quote(AAPL)
    quote = shown(world, AAPL, FRIDAY_OPEN + SECOND)

    assert (quote.bid, quote.ask, quote.last, quote.bid_size) == (None, None, None, None)
    assert quote.close is not None


def test_a_halted_instrument_keeps_its_price_and_says_so() -> None:
    world = market()
    price = shown(world, NVDA, FRIDAY_OPEN + timedelta(minutes=30)).last

    world.halt(NVDA)
    world.advance_to(FRIDAY_OPEN + timedelta(minutes=31))
    later = shown(world, NVDA, FRIDAY_OPEN + timedelta(hours=2))
    world.halt(NVDA, False)

    assert (later.last, later.halted) == (price, True)
    assert world.quote(NVDA).halted is False


def test_a_halt_survives_a_scripted_quote() -> None:
    world = market()
    world.halt(NVDA)

    world.set_quote(NVDA, bid="10", ask="11")

    assert world.quote(NVDA).halted


@pytest.mark.parametrize("act", [Market.quote, Market.withdraw_quote, Market.release, Market.halt])
def test_an_unknown_contract_is_a_key_error(act: object) -> None:
    assert callable(act)
    with pytest.raises(KeyError):
        act(market(), 1)


# Restarts


@pytest.mark.parametrize("always_open", [False, True])
def test_a_restarted_gateway_continues_the_same_world(always_open: bool) -> None:
    before = market(always_open=always_open, seed=11)
    before.advance_to(FRIDAY_OPEN)
    before.set_quote(AAPL, bid="1.00", ask="1.02")
    before.withdraw_quote(SPY)
    before.halt(BARC)
    saved = json.loads(json.dumps(before.state()))
    restart = FRIDAY_OPEN + timedelta(days=3, hours=2)

    after = market(always_open=always_open, seed=99, started=restart)
    after.restore(saved)

    assert after.state() == before.state()
    assert after.quote(AAPL).bid == Decimal("1.00")
    assert after.quote(SPY).bid is None
    assert after.quote(BARC).halted
    for con_id in (IBM, NVDA, ASML_EUR, EUR_USD):
        assert prices_of(shown(before, con_id, restart)) == prices_of(shown(after, con_id, restart))


def test_a_world_with_other_hours_is_not_continued() -> None:
    with pytest.raises(ValueError, match="trading hours"):
        market(always_open=True).restore(market(always_open=False).state())


@pytest.mark.parametrize("speed", [0.0, -1.0, math.inf, math.nan])
def test_a_speed_must_be_a_positive_number(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        market(speed=speed)


def test_a_replay_must_begin_within_the_history() -> None:
    with pytest.raises(ValueError, match="ends on 2013-03-01"):
        Market(CATALOGUE, Sessions(always_open=True), seed=1, started=FRIDAY_OPEN, replay_from=date(2020, 1, 1))
