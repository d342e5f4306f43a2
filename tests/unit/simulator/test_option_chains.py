"""Option chains: what is listed when, contract ids that say everything, and quotes that follow the underlying."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibkr_mcp_server.simulator.bars import Bar
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.market_rules import MARKET_RULES
from ibkr_mcp_server.simulator.option_chains import CLASSES, OptionClass, expirations
from ibkr_mcp_server.simulator.trading_calendars import is_us_session
from tests.unit.simulator.worlds import FRIDAY_OPEN, world

AAPL, SPY, SPX = 265598, 756733, 416904
WORLD = world()
WORLD.market.advance_to(FRIDAY_OPEN)
AAPL_CHAIN = WORLD.catalogue.matching(symbol="AAPL", sec_type="OPT")
some_options = st.sampled_from(
    [
        *AAPL_CHAIN[:: len(AAPL_CHAIN) // 12],
        *WORLD.catalogue.matching(symbol="SPX", sec_type="OPT", last_trade_date="20261120")[::25],
        *WORLD.catalogue.matching(symbol="SPY", sec_type="OPT", last_trade_date="20261218")[::20],
    ]
)
moments = st.integers(0, 9 * 86_400).map(lambda seconds: FRIDAY_OPEN + timedelta(seconds=seconds))
generous = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def option(trading_class: str, expiry: str, strike: str, right: str) -> Listing:
    (found,) = WORLD.catalogue.matching(
        sec_type="OPT", trading_class=trading_class, last_trade_date=expiry, strike=Decimal(strike), right=right
    )
    return found


def test_parameters_name_every_exchange_and_class_of_the_underlying() -> None:
    rows = WORLD.options.parameters(SPX)

    assert {(row.exchange, row.trading_class) for row in rows} == {
        (exchange, name) for exchange in ("SMART", "CBOE") for name in ("SPX", "SPXW")
    }
    assert all(row.multiplier == "100" and row.underlying_con_id == SPX for row in rows)
    assert WORLD.options.parameters(8314) == []


def test_strikes_surround_the_price_in_the_steps_of_its_level() -> None:
    price = WORLD.market.reference_price(AAPL)

    (strikes,) = {row.strikes for row in WORLD.options.parameters(AAPL)}

    assert strikes[0] < price * Decimal("0.7") < price * Decimal("1.3") < strikes[-1]
    assert {later - earlier for earlier, later in pairwise(strikes)} == {Decimal("2.5")}


def test_every_listed_option_is_a_contract_and_every_contract_is_listed() -> None:
    (row,) = [row for row in WORLD.options.parameters(AAPL) if row.exchange == "SMART"]

    assert {(found.last_trade_date, found.strike, found.right) for found in AAPL_CHAIN} == {
        (expiry, strike, right) for expiry in row.expirations for strike in row.strikes for right in "CP"
    }


def test_a_contract_is_described_as_tws_describes_it() -> None:
    call = option("AAPL", "20261218", "170", "CALL")

    assert (call.local_symbol, call.multiplier, call.right) == ("AAPL  261218C00170000", "100", "C")
    assert (call.under_con_id, call.under_symbol, call.under_sec_type) == (AAPL, "AAPL", "STK")
    assert (call.contract_month, call.trading_class, call.exchange) == ("202612", "AAPL", "SMART")
    assert (call.industry, call.category) == ("Technology", "Computers")
    assert WORLD.catalogue.by_con_id(call.con_id) == call
    assert WORLD.catalogue.matching(local_symbol=call.local_symbol) == [call]


@generous
@given(listing=st.sampled_from(AAPL_CHAIN))
def test_a_contract_id_alone_says_which_option_it_is(listing: Listing) -> None:
    again = world(datetime(2031, 1, 6, 15, 0, tzinfo=UTC), seed=9)

    assert again.catalogue.by_con_id(listing.con_id) == listing


def test_no_two_options_share_an_id() -> None:
    everything = [
        listing for name in ("AAPL", "SPX") for listing in WORLD.catalogue.matching(symbol=name, sec_type="OPT")
    ]

    assert len({listing.con_id for listing in everything}) == len(everything) > 2_000
    assert all(listing.con_id < 2**31 for listing in everything)


@pytest.mark.parametrize("number", [1, 999_999_999, 1_000_000_000, 2**31 - 1, 265599])
def test_a_number_that_is_no_contract_is_none(number: int) -> None:
    assert WORLD.catalogue.by_con_id(number) is None


@given(today=st.dates(date(2005, 1, 1), date(2040, 1, 1)), option_class=st.sampled_from(CLASSES))
def test_expirations_are_coming_sessions_the_nearest_first(today: date, option_class: OptionClass) -> None:
    found = expirations(option_class, today)

    assert list(found) == sorted(set(found))
    assert found[0] >= today
    assert all(is_us_session(day) for day in found)
    assert found[-1] > today + timedelta(days=45)


def test_weekly_and_monthly_expirations_of_apple() -> None:
    """The Friday after Thanksgiving is a session, Good Friday 2027 (March 26) is not."""
    found = [f"{day:%m%d}" for day in expirations(CLASSES[0], date(2026, 11, 21))]

    assert found[:6] == ["1127", "1204", "1211", "1218", "1224", "1231"]
    assert found[6:9] == ["0115", "0219", "0319"]


def test_what_expired_is_found_by_its_id_and_no_longer_by_its_description() -> None:
    later = world(FRIDAY_OPEN)
    (expiring,) = later.catalogue.matching(
        sec_type="OPT", symbol="AAPL", last_trade_date="20261120", strike=Decimal(170), right="C"
    )
    later.market.advance_to(datetime(2026, 11, 20, 21, 59, tzinfo=UTC))
    assert not later.catalogue.is_expired(expiring)

    later.market.advance_to(datetime(2026, 11, 20, 22, 0, tzinfo=UTC))  # the trading day ends at 17:00 in New York

    assert later.catalogue.is_expired(expiring)
    assert later.catalogue.by_con_id(expiring.con_id) == expiring
    assert later.catalogue.matching(sec_type="OPT", symbol="AAPL", last_trade_date="20261120") == []
    assert later.options.parameters(AAPL)[0].expirations[0] == "20261127"


# Quotes


@generous
@given(listing=some_options, at=moments)
def test_an_option_quote_is_on_its_grid_and_around_the_model_s_price(listing: Listing, at: datetime) -> None:
    quote = WORLD.quote(listing, at)
    model = WORLD.market.option_computation(listing.con_id)

    assert quote.ask is not None
    assert quote.last is not None
    assert model is not None
    for price in (quote.bid, quote.ask, quote.last):
        if price is not None:
            assert price % [size for edge, size in MARKET_RULES[listing.market_rule_id] if edge <= price][-1] == 0
    tick = [size for edge, size in MARKET_RULES[listing.market_rule_id] if edge <= quote.ask][-1]
    assert (quote.bid or 0) < quote.last < quote.ask
    assert abs(float(quote.last) - model.price) <= float(tick) * 1.5
    assert quote.low is not None
    assert quote.high is not None
    assert quote.low <= quote.last <= quote.high


@generous
@given(at=moments, strike=st.sampled_from(WORLD.options.parameters(AAPL)[0].strikes))
def test_a_call_and_a_put_of_one_strike_keep_parity_within_their_spreads(at: datetime, strike: Decimal) -> None:
    call, put = (option("AAPL", "20270115", str(strike), right) for right in "CP")
    WORLD.market.advance_to(at)
    stock = WORLD.market.quote(AAPL).last
    prices = [WORLD.market.option_computation(listing.con_id) for listing in (call, put)]
    quotes = [WORLD.market.quote(listing.con_id) for listing in (call, put)]

    assert stock is not None
    assert prices[0] is not None
    assert prices[1] is not None
    assert prices[0].price - prices[1].price == pytest.approx(float(stock - strike), abs=1e-6)
    assert prices[0].delta - prices[1].delta == pytest.approx(1.0)
    assert quotes[0].last is not None
    assert quotes[1].last is not None
    assert abs(quotes[0].last - quotes[1].last - (stock - strike)) <= Decimal("0.10")


@generous
@given(listing=some_options, at=moments, what=st.sampled_from(["TRADES", "MIDPOINT", "BID", "ASK"]))
def test_bars_of_an_option_contain_what_its_quotes_showed(listing: Listing, at: datetime, what: str) -> None:
    quote = WORLD.quote(listing, at)

    def last_bar(size: str, duration: str) -> Bar:
        moment = at + timedelta(milliseconds=1)
        return WORLD.market.bars(
            listing.con_id, end=moment, duration=duration, bar_size=size, what=what, use_rth=True, now=moment
        )[-1]

    bid = quote.bid or Decimal(0)
    assert quote.ask is not None
    assert quote.last is not None
    price = {"TRADES": quote.last, "BID": bid, "ASK": quote.ask, "MIDPOINT": (bid + quote.ask) / 2}[what]
    for bar in (last_bar("1 min", "600 S"), last_bar("1 hour", "1 D"), last_bar("1 day", "1 D")):
        assert bar.low <= price <= bar.high
        assert bar.close == price


def test_the_implied_volatility_of_a_quote_brackets_the_model_s() -> None:
    call = option("AAPL", "20270115", "170", "C")
    quote = WORLD.quote(call, FRIDAY_OPEN + timedelta(hours=2))
    bid, model, ask = (WORLD.market.option_computation(call.con_id, price) for price in (quote.bid, None, quote.ask))

    assert bid is not None
    assert model is not None
    assert ask is not None
    assert bid.implied_volatility < model.implied_volatility < ask.implied_volatility
    assert 0 < model.delta < 1
    assert model.theta < 0 < model.vega
    asked = WORLD.market.implied_volatility_at(call.con_id, price=model.price, underlying_price=model.underlying_price)
    assert asked is not None
    assert asked.implied_volatility == pytest.approx(model.implied_volatility, rel=1e-6)
    priced = WORLD.market.option_price_at(
        call.con_id, volatility=model.implied_volatility, underlying_price=model.underlying_price
    )
    assert priced.price == pytest.approx(model.price)


def test_an_option_follows_what_a_script_does_to_its_underlying() -> None:
    scripted = world()
    call = scripted.catalogue.matching(
        sec_type="OPT", symbol="AAPL", last_trade_date="20261218", strike=Decimal(170), right="C"
    )[0]
    scripted.market.advance_to(FRIDAY_OPEN)

    scripted.market.set_quote(AAPL, bid="269.98", ask="270.00")
    deep = scripted.market.quote(call.con_id).last
    scripted.market.withdraw_quote(AAPL)
    nothing = scripted.market.quote(call.con_id)
    scripted.market.release(AAPL)
    scripted.market.halt(AAPL)

    assert deep is not None
    assert Decimal(99) < deep < Decimal(103)
    assert (nothing.bid, nothing.ask, nothing.last) == (None, None, None)
    assert scripted.market.option_computation(call.con_id) is not None
    assert scripted.market.quote(call.con_id).halted


def test_time_value_runs_out_at_the_expiry_s_close() -> None:
    at_the_close = datetime(2026, 11, 20, 20, 59, 59, tzinfo=UTC)
    for listing in WORLD.catalogue.matching(symbol="AAPL", sec_type="OPT", last_trade_date="20261120")[::7]:
        quote = WORLD.quote(listing, at_the_close)
        stock = WORLD.market.quote(AAPL).last
        assert stock is not None
        assert quote.last is not None
        assert listing.strike is not None
        worth = max(stock - listing.strike if listing.right == "C" else listing.strike - stock, Decimal(0))
        assert abs(quote.last - worth) <= Decimal("0.60")


def test_a_contract_that_is_no_option_has_no_greeks() -> None:
    with pytest.raises(KeyError):
        WORLD.market.option_computation(AAPL)
