"""What the broker tells about options, scans and news, in our words."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ibkr_mcp_server.broker.research_rows import chain_of, greeks_of, headline_of, merged_chains, unescaped
from ibkr_mcp_server.broker.scanner import subscription_for, vocabulary_of
from ibkr_mcp_server.domain.options import GreeksBasis
from ibkr_mcp_server.domain.research import ScannerWord, ScanQuery
from ibkr_mcp_server.errors import Unavailable

NOW = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)


def test_greeks_that_were_not_computed_are_unknown_and_the_others_exact() -> None:
    numbers = {
        "implied_volatility": 0.25,
        "delta": -0.5,
        "option_price": -1.0,
        "dividends": 0.0,
        "gamma": -2.0,
        "vega": 0.1,
        "theta": -2.0,
        "underlying_price": 1.7976931348623157e308,
    }
    greeks = greeks_of(GreeksBasis.MODEL, numbers, NOW)
    assert (greeks.implied_volatility, greeks.delta) == (Decimal("0.25"), Decimal("-0.5"))
    assert greeks.dividends == 0
    assert (greeks.option_price, greeks.gamma, greeks.theta, greeks.underlying_price) == (None, None, None, None)
    assert greeks.received_at == NOW


def test_rows_of_one_class_become_one_chain_and_other_classes_stay_apart() -> None:
    rows = [
        chain_of("SMART", "SPXW", "100", ["20261218", "20261120"], [6000.0, 5995.0]),
        chain_of("SMART", "SPX", "100", ["20261218"], [6000.0]),
        chain_of("SMART", "SPXW", "100", ["20261127"], [6005.0, 6000.0]),
        chain_of("SMART", "SPX", "", ["20261218"], [0.0]),
    ]
    weekly, monthly, unsaid = merged_chains(rows)
    assert weekly.expirations == ("20261120", "20261127", "20261218")
    assert weekly.strikes == (Decimal(5995), Decimal(6000), Decimal(6005))
    assert (monthly.trading_class, monthly.multiplier) == ("SPX", Decimal(100))
    assert (unsaid.multiplier, unsaid.strikes) == (None, ())


def test_headline_times_are_utc_and_a_headline_without_one_is_left_out() -> None:
    headline = headline_of("2026-11-20 14:30:00.0", "BRFG", "BRFG$1", "Apple rises")
    assert headline is not None
    assert headline.published_at == datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    assert headline_of("yesterday", "BRFG", "BRFG$1", "Apple rises") is None


def test_what_the_wire_escapes_is_read_and_a_lone_half_of_a_character_does_no_harm() -> None:
    assert unescaped("5 \\u20ac, caf\\xe9, \\ud83d\\ude00, C:\\user") == "5 €, café, 😀, C:\\user"
    assert unescaped("\\ud83d alone").endswith(" alone")
    headline = headline_of("2026-11-20 14:30:00.0", "BRFG", "BRFG$1", "5 \\u20ac")
    assert headline is not None
    assert headline.text == "5 €"


XML = """<?xml version="1.0" encoding="UTF-8"?>
<ScanParameterResponse>
 <InstrumentList varName="instrumentList">
  <Instrument><name>US Stocks</name><type>STK</type></Instrument>
 </InstrumentList>
 <LocationTree varName="locationTree">
  <Location><displayName>US Stocks</displayName><locationCode>STK.US</locationCode><instruments>STK</instruments>
   <LocationTree>
    <Location><displayName>Listed</displayName><locationCode>STK.US.MAJOR</locationCode></Location>
   </LocationTree>
  </Location>
 </LocationTree>
 <ScanTypeList varName="scanTypeList">
  <ScanType>
   <displayName>Top % Gainers</displayName><scanCode>TOP_PERC_GAIN</scanCode><instruments>STK</instruments>
  </ScanType>
  <ScanType>
   <displayName>Top % Gainers</displayName><scanCode>TOP_PERC_GAIN</scanCode><instruments>ETF.EQ.US, STK</instruments>
  </ScanType>
 </ScanTypeList>
 <FilterList varName="filterList">
  <RangeFilter><id>PRICE</id>
   <AbstractField><code>priceAbove</code><displayName>Price Above</displayName></AbstractField>
  </RangeFilter>
 </FilterList>
</ScanParameterResponse>"""


def test_the_scanner_vocabulary_is_read_at_all_depths_and_each_code_once() -> None:
    words = vocabulary_of(XML)
    assert words.instruments == (ScannerWord(code="STK", name="US Stocks"),)
    assert [word.code for word in words.locations] == ["STK.US", "STK.US.MAJOR"]
    assert words.scan_codes == (
        ScannerWord(code="TOP_PERC_GAIN", name="Top % Gainers", instruments=("STK", "ETF.EQ.US")),
    )
    assert words.filters == (ScannerWord(code="priceAbove", name="Price Above"),)


@pytest.mark.parametrize(
    "text",
    ["", "no xml", XML[:200], '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'],
    ids=["empty", "text", "cut off", "entities"],
)
def test_what_is_no_list_of_scanner_parameters_is_said_to_be_unreadable(text: str) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        vocabulary_of(text)


def test_a_scan_leaves_unset_what_was_not_asked_for() -> None:
    query = ScanQuery(instrument="STK", location_code="STK.US", scan_code="HOT_BY_VOLUME", rows=5, above_volume=1000)
    wanted = subscription_for(query)
    assert (wanted.scanCode, wanted.numberOfRows, wanted.aboveVolume) == ("HOT_BY_VOLUME", 5, 1000)
    assert wanted.abovePrice == wanted.marketCapBelow > 1e300
