"""Exchange rates and conversions through the tools."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.domain.forex import KNOWN_PAIRS, RATE_PAIRS, legs_between
from ibkr_mcp_server.simulator.requests import ReqMarketData
from tests.harness import running

CURRENCIES = sorted({currency for pair in KNOWN_PAIRS for currency in pair.split(".")})


async def test_the_21_pairs_come_with_both_sides_their_time_and_their_kind_of_data() -> None:
    async with running() as world:
        rates = (await world.call_while_time_passes("get_forex_rates"))["rates"]
        assert [rate["pair"] for rate in rates] == list(RATE_PAIRS)
        assert len(rates) == 21
        for rate in rates:
            assert f"{rate['base']}.{rate['currency']}" == rate["pair"]  # FD-46: never mislabelled
            assert Decimal(rate["bid"]) < Decimal(rate["mid"]) < Decimal(rate["ask"])
            assert rate["data_type"] == "live"
            assert rate["age_seconds"] >= 0
            assert rate["received_at"].endswith("Z")


async def test_what_is_no_pair_is_refused_beside_the_others() -> None:
    async with running() as world:
        euro, apple, upside_down = (await world.call("get_forex_rates", symbols=["EUR.USD", "AAPL", "USD.EUR"]))[
            "rates"
        ]
        assert euro["mid"]
        assert apple["refused"]["code"] == "CONTRACT_NOT_FOUND"
        assert "EUR.USD" in upside_down["refused"]["next_step"]


async def test_rates_count_against_the_limit_of_quotes() -> None:
    """RL-02."""
    async with running(max_market_data_requests_per_minute=22) as world:
        assert (await world.call_while_time_passes("get_forex_rates"))["success"]
        refused = await world.call("convert_currency", amount=1, from_currency="JPY", to_currency="HKD")
        assert refused["code"] == "MARKET_DATA_LIMIT"


@pytest.mark.parametrize(
    ("source", "target", "path"),
    [
        ("EUR", "USD", [("EUR.USD", False)]),
        ("USD", "EUR", [("EUR.USD", True)]),
        ("HKD", "GBP", [("USD.HKD", True), ("GBP.USD", True)]),
        ("USD", "USD", []),
    ],
    ids=["direct", "inverse", "through USD", "the same"],
)
async def test_conversion_tells_its_path_and_is_exact(source: str, target: str, path: list[tuple[str, bool]]) -> None:
    async with running() as world:
        told = await world.call("convert_currency", amount=1234.56, from_currency=source, to_currency=target)
        steps = told["path"]
        assert [(step["pair"], step["inverse"]) for step in steps] == path
        worth = at_market = Decimal("1234.56")
        for step in steps:
            bid, ask = Decimal(step["bid"]), Decimal(step["ask"])
            worth *= 1 / ((bid + ask) / 2) if step["inverse"] else (bid + ask) / 2
            at_market *= 1 / ask if step["inverse"] else bid
            assert step["age_seconds"] >= 0
        assert told["worth"] == {"amount": str(worth.quantize(Decimal("0.01"))), "currency": target}
        assert Decimal(told["at_market"]["amount"]) == at_market.quantize(Decimal("0.01"))
        assert Decimal(told["at_market"]["amount"]) <= Decimal(told["worth"]["amount"])
        assert ("oldest_rate_age_seconds" in told) is bool(path)


async def test_currency_that_nobody_knows_is_refused_with_the_known_ones() -> None:
    async with running() as world:
        refused = await world.call("convert_currency", amount=1, from_currency="USD", to_currency="XXX")
        assert (refused["success"], refused["code"]) == (False, "INVALID_ARGUMENTS")
        assert "XXX" in refused["error"]
        assert "CHF" in refused["next_step"]
        asked = [entry for entry in world.gateway.received if isinstance(entry.request, ReqMarketData)]
        assert asked == []


async def test_amount_must_be_a_number_above_zero() -> None:
    async with running() as world:
        for amount in (0, -5, "100"):
            refused = await world.call("convert_currency", amount=amount, from_currency="EUR", to_currency="USD")
            assert refused["code"] == "INVALID_ARGUMENTS", amount


async def test_pair_without_a_quote_converts_nothing() -> None:
    """None means unknown: no rate is invented from a last price or a close."""
    async with running() as world:
        world.gateway.faults.withdraw_quote("EUR.USD")
        refused = await world.call("convert_currency", amount=1, from_currency="EUR", to_currency="USD")
        assert refused["success"] is False
        assert "EUR.USD" in refused["error"]
        assert "worth" not in refused


@given(source=st.sampled_from(CURRENCIES), target=st.sampled_from(CURRENCIES))
def test_every_known_currency_leads_to_every_other_and_back(source: str, target: str) -> None:
    there, back = legs_between(source, target), legs_between(target, source)
    assert there is not None
    assert back is not None
    assert len(there) <= 2
    assert [leg.source for leg in there] + [target] == [source] + [leg.target for leg in there]
    if there:
        bid, ask = Decimal("1.25"), Decimal("1.26")
        for leg in there:
            assert leg.worst_rate(bid, ask) < leg.rate(bid, ask)
