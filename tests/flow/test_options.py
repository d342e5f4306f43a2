"""Option chains and option quotes through the tools."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.harness import World, running

EXPIRY = "20261218"


async def chain_of(world: World, symbol: str, **wanted: Any) -> dict[str, Any]:
    answer = await world.call("get_option_chain", symbol=symbol, **wanted)
    assert answer["success"], answer
    return answer


async def test_a_chain_shows_what_is_listed_around_the_price_and_stays_small() -> None:
    async with running() as world:
        price = Decimal(str(await world.last_price("AAPL")))
        answer = await chain_of(world, "AAPL", max_strikes=6)
        assert Decimal(answer["underlying_price"]) == price
        assert answer["underlying_age_seconds"] >= 0
        (chain,) = answer["chains"]  # SMART alone; the same options at eight exchanges are only named
        assert (chain["exchange"], chain["trading_class"], chain["multiplier"]) == ("SMART", "AAPL", "100")
        assert "CBOE AAPL" in answer["more_chains"]
        assert EXPIRY in chain["expirations"]
        strikes = [Decimal(strike) for strike in chain["strikes"]]
        assert len(strikes) == 6
        assert strikes == sorted(strikes)
        assert strikes[0] <= price <= strikes[-1]
        assert chain["strikes_in_range"] > 20
        assert len(str(answer)) < 2_000


async def test_a_chain_is_narrowed_by_class_expiry_and_strike() -> None:
    async with running() as world:
        index = {"sec_type": "IND", "max_strikes": 300}
        both = await chain_of(world, "SPX", **index)
        assert {chain["trading_class"] for chain in both["chains"]} == {"SPX", "SPXW"}
        low = Decimal(both["underlying_price"]).quantize(Decimal(10)) - 50

        narrowed = await chain_of(
            world, "SPX", **index, trading_class="SPX", expiry_from="202612", expiry_to="2027-01-31",
            strike_min=float(low), strike_max=float(low + 100),
        )  # fmt: skip
        (chain,) = narrowed["chains"]
        assert [expiry[:6] for expiry in chain["expirations"]] == ["202612", "202701"]
        assert [Decimal(strike) for strike in chain["strikes"]] == [low + step for step in range(0, 101, 5)]

        nothing = await chain_of(world, "SPX", **index, strike_min=1_000_000)
        assert [chain["strikes"] for chain in nothing["chains"]] == [[], []]
        assert "widen" in nothing["next_step"]
        elsewhere = await chain_of(world, "SPX", **index, option_exchange="BOX")
        assert elsewhere["chains"] == []
        assert "more_chains" in elsewhere["next_step"]


async def test_what_has_no_options_is_said_to_have_none() -> None:
    async with running() as world:
        answer = await chain_of(world, "MSFT")
        assert (answer["chains"], answer.get("more_chains")) == ([], None)
        assert answer["next_step"] == "The broker lists no options on MSFT."


async def test_option_quotes_bring_greeks_open_interest_and_ages_by_contract() -> None:
    async with running() as world:
        price = await world.last_price("AAPL")
        strikes = [float(strike) for strike in (await chain_of(world, "AAPL", max_strikes=2))["chains"][0]["strikes"]]
        answer = await world.call("get_option_quotes", symbol="AAPL", last_trade_date=EXPIRY, strikes=strikes)
        assert answer["success"], answer
        quotes = {quote["option"]: quote for quote in answer["quotes"]}
        assert set(quotes) == {f"AAPL {EXPIRY} {strike:g} {right}" for strike in strikes for right in "CP"}
        for name, quote in quotes.items():
            greeks = quote["greeks"]
            assert Decimal(quote["bid"]) < Decimal(quote["ask"])
            assert (quote["multiplier"], quote["data_type"]) == ("100", "live")
            assert int(quote["open_interest"]) > 0
            assert greeks["computed_from"] == "model"
            assert 0 < Decimal(greeks["implied_volatility"]) < 2
            assert abs(float(greeks["underlying_price"]) - price) < 0.05 * price
            assert Decimal(greeks["gamma"]) > 0
            assert Decimal(greeks["theta"]) < 0
            assert (Decimal(greeks["delta"]) > 0) is name.endswith("C")
            assert quote["age_seconds"] >= 0
            assert greeks["age_seconds"] >= 0

        con_id = answer["quotes"][0]["con_id"]
        (again,) = (await world.call("get_option_quotes", con_ids=[con_id]))["quotes"]
        assert (again["asked"], again["option"]) == (str(con_id), answer["quotes"][0]["option"])


async def test_one_strike_that_does_not_exist_does_not_spoil_the_others() -> None:
    async with running() as world:
        (strike,) = (await chain_of(world, "AAPL", max_strikes=1))["chains"][0]["strikes"]
        answer = await world.call(
            "get_option_quotes", symbol="AAPL", last_trade_date=EXPIRY, strikes=[float(strike), 0.03], right="P"
        )
        assert answer["success"] is True
        good, bad = answer["quotes"]
        assert "bid" in good
        assert (bad["asked"], bad["refused"]["code"]) == (f"AAPL {EXPIRY} 0.03 P", "CONTRACT_NOT_FOUND")
        alone = await world.call("get_option_quotes", symbol="AAPL", last_trade_date=EXPIRY, strikes=[0.03], right="P")
        assert (alone["success"], alone["code"]) == (False, "CONTRACT_NOT_FOUND")


async def test_each_option_counts_for_the_rate_of_market_data() -> None:
    """RL-02: a strike without a right is two options, and the chain's underlying is one."""
    async with running(max_market_data_requests_per_minute=6) as world:
        strikes = [float(strike) for strike in (await chain_of(world, "AAPL", max_strikes=3))["chains"][0]["strikes"]]
        options = {"symbol": "AAPL", "last_trade_date": EXPIRY}
        asked = len(world.gateway.received)
        refused = await world.call("get_option_quotes", strikes=strikes, **options)
        assert (refused["code"], refused["check"]) == ("MARKET_DATA_LIMIT", "market_data_rate")
        assert len(world.gateway.received) == asked
        assert (await world.call("get_option_quotes", strikes=strikes[:2], **options))["success"] is True
        refused = await world.call("get_option_quotes", strikes=strikes[2:], **options)
        assert refused["code"] == "MARKET_DATA_LIMIT"
        await world.clock.advance(61)
        assert (await world.call("get_option_quotes", strikes=strikes[2:], **options))["success"] is True


async def test_more_options_than_a_call_may_ask_for_are_refused() -> None:
    async with running(max_market_data_requests_per_minute=1_000) as world:
        refused = await world.call("get_option_quotes", con_ids=list(range(1, 52)))
        assert refused["code"] == "TOO_MANY_SYMBOLS"


async def test_option_quotes_say_what_they_need() -> None:
    async with running() as world:
        neither = await world.call("get_option_quotes", symbol="AAPL")
        assert (neither["code"], neither["error"]) == ("INVALID_ARGUMENTS", "Give con_ids or strikes.")
        nameless = await world.call("get_option_quotes", strikes=[100])
        assert nameless["code"] == "INVALID_ARGUMENTS"
        assert {detail.split(": ")[1].split(" ")[0] for detail in nameless["details"]} == {"symbol", "last_trade_date"}
