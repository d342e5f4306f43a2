"""The table of instruments, and looking them up."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.listings import default_catalogue

CATALOGUE = default_catalogue()


def symbols(listings: list[Listing]) -> list[str]:
    return [f"{listing.symbol}.{listing.currency}" for listing in listings]


@pytest.mark.parametrize(("con_id", "symbol"), [(265598, "AAPL"), (272093, "MSFT"), (756733, "SPY"), (12087792, "EUR")])
def test_the_contract_ids_that_everyone_knows_are_the_real_ones(con_id: int, symbol: str) -> None:
    listing = CATALOGUE.by_con_id(con_id)

    assert listing is not None
    assert listing.symbol == symbol


def test_an_unknown_contract_id_is_none() -> None:
    assert CATALOGUE.by_con_id(1) is None


def test_a_stock_at_smart_is_found_by_symbol_and_currency_in_any_letter_case() -> None:
    found = CATALOGUE.matching(symbol="aapl", sec_type="STK", exchange="SMART", currency="USD")

    assert symbols(found) == ["AAPL.USD"]


def test_one_symbol_on_two_continents_is_ambiguous_until_the_currency_or_the_exchange_is_named() -> None:
    assert symbols(CATALOGUE.matching(symbol="ASML", sec_type="STK")) == ["ASML.USD", "ASML.EUR"]
    assert symbols(CATALOGUE.matching(symbol="ASML", sec_type="STK", currency="EUR")) == ["ASML.EUR"]
    assert symbols(CATALOGUE.matching(symbol="ASML", sec_type="STK", exchange="AEB")) == ["ASML.EUR"]
    assert symbols(CATALOGUE.matching(symbol="ASML", primary_exchange="NASDAQ")) == ["ASML.USD"]


def test_an_exchange_that_does_not_trade_the_stock_finds_nothing() -> None:
    assert CATALOGUE.matching(symbol="AAPL", exchange="LSE") == []


def test_options_asked_for_by_strike_or_expiry_are_not_answered_with_the_stock() -> None:
    assert CATALOGUE.matching(symbol="AAPL", strike=Decimal(170)) == []
    assert CATALOGUE.matching(symbol="AAPL", last_trade_date="202612") == []
    assert CATALOGUE.matching(symbol="AAPL", right="CALL") == []


def test_a_strike_of_zero_means_not_set_as_on_the_wire() -> None:
    assert symbols(CATALOGUE.matching(symbol="AAPL", strike=Decimal(0))) == ["AAPL.USD"]


def test_a_currency_pair_is_found_by_its_local_symbol() -> None:
    assert symbols(CATALOGUE.matching(local_symbol="EUR.USD")) == ["EUR.USD"]


def test_a_search_finds_the_exact_symbol_first_then_prefixes_then_names() -> None:
    assert symbols(CATALOGUE.search("asml")) == ["ASML.USD", "ASML.EUR"]
    assert symbols(CATALOGUE.search("apple")) == ["AAPL.USD"]
    assert symbols(CATALOGUE.search("sp"))[:3] == ["SPY.USD", "SPX.USD", "DIA.USD"]
    assert symbols(CATALOGUE.search("T"))[:2] == ["T.USD", "TSLA.USD"]
    assert CATALOGUE.search("  ") == []


def test_every_listing_is_whole() -> None:
    for listing in CATALOGUE:
        rules = [CATALOGUE.market_rule(int(rule)) for rule in listing.market_rule_ids.split(",")]
        assert len(rules) == len(listing.valid_exchanges.split(","))
        assert all(rule == rules[0] for rule in rules)
        assert rules[0] is not None
        assert min(increment for _, increment in rules[0]) == listing.min_tick
        assert listing.exchange in listing.valid_exchanges.split(",")
        assert listing.sec_type != "STK" or listing.primary_exchange in listing.valid_exchanges.split(",")
        assert "\\" not in listing.long_name


def test_london_quotes_pence_for_a_listing_in_pounds() -> None:
    (listing,) = CATALOGUE.matching(symbol="BARC", exchange="LSE")

    assert (listing.currency, listing.price_magnifier) == ("GBP", 100)


def test_an_unknown_market_rule_is_none() -> None:
    assert CATALOGUE.market_rule(4711) is None
