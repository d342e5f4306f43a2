"""Scanners and news through the tools; what others wrote arrives marked, bounded and clean."""

from __future__ import annotations

import unicodedata
from typing import Any

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.newsroom import PROVIDERS
from ibkr_mcp_server.simulator.research_requests import ReqNewsArticle, ReqScanner
from tests.harness import World, running


async def test_a_scan_ranks_contracts_by_the_brokers_words() -> None:
    async with running() as world:
        answer = await world.call("run_scanner", scan_code="TOP_PERC_GAIN", number_of_rows=3)
        assert answer["success"], answer
        assert [row["rank"] for row in answer["rows"]] == [1, 2, 3]
        assert (answer["instrument"], answer["location_code"]) == ("STK", "STK.US.MAJOR")
        best, _, third = (row["symbol"] for row in answer["rows"])
        quotes = (await world.call("get_market_data", symbols=[best, third]))["quotes"]
        gains = [float(quote["last"]) / float(quote["previous_close"]) for quote in quotes]
        assert gains[0] > gains[1]


async def test_filters_reach_the_broker_in_both_spellings() -> None:
    async with running() as world:
        everything = await world.call("run_scanner", scan_code="MOST_ACTIVE", number_of_rows=50)
        prices = {row["symbol"]: await world.last_price(row["symbol"]) for row in everything["rows"]}
        edge = sorted(prices.values())[len(prices) // 2]
        dear = {symbol for symbol, price in prices.items() if price >= edge}
        for wanted in ({"above_price": edge}, {"filters": [f"priceAbove={edge}"]}):
            answer = await world.call("run_scanner", scan_code="MOST_ACTIVE", number_of_rows=50, **wanted)
            assert {row["symbol"] for row in answer["rows"]} == dear
        nothing = await world.call("run_scanner", scan_code="MOST_ACTIVE", above_price=10_000_000)
        assert (nothing["success"], nothing["rows"]) == (True, [])
        assert "get_scanner_parameters" in nothing["next_step"]


async def test_a_scan_that_the_broker_does_not_know_is_explained() -> None:
    async with running() as world:
        refused = await world.call("run_scanner", scan_code="TOP_OF_THE_POPS")
        assert (refused["success"], refused["broker_code"]) == (False, 162)
        assert "TOP_OF_THE_POPS" in refused["broker_text"]["untrusted_text"]
        assert refused["next_step"]


async def test_a_filter_that_could_say_more_than_one_thing_never_leaves() -> None:
    async with running() as world:
        for text in ("priceAbove", "priceAbove=1;usdPriceAbove=2", "price Above=1", "a=\u0000", "=1"):
            refused = await world.call("run_scanner", scan_code="MOST_ACTIVE", filters=[text])
            assert refused["code"] == "INVALID_ARGUMENTS", text
        assert not any(isinstance(entry.request, ReqScanner) for entry in world.gateway.received)


async def test_the_scanners_words_can_be_looked_up() -> None:
    async with running() as world:
        found = await world.call("get_scanner_parameters", search="gain")
        assert "TOP_PERC_GAIN" in [word["code"] for word in found["words"]]
        assert found["found"] == len(found["words"])
        assert found["words"][0]["name"]["source"] == "broker"
        places = await world.call("get_scanner_parameters", kind="locations", instrument="STK", max_results=2)
        assert len(places["words"]) == 2
        assert places["found"] > 2
        filters = await world.call("get_scanner_parameters", kind="filters")
        assert "changePercAbove" in [word["code"] for word in filters["words"]]
        assert [word["code"] for word in (await world.call("get_scanner_parameters", kind="instruments"))["words"]]


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts_of(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) else []


async def headlines(world: World, **wanted: Any) -> list[dict[str, Any]]:
    answer = await world.call("get_news", symbol="AAPL", **wanted)
    assert answer["success"], answer
    found: list[dict[str, Any]] = answer["headlines"]
    return found


async def test_headlines_come_newest_first_with_time_provider_and_mark() -> None:
    async with running() as world:
        answer = await world.call("get_news", symbol="AAPL", total_results=5)
        assert [provider["code"] for provider in answer["providers"]] == list(PROVIDERS)
        assert (answer["symbol"], answer["has_more"], len(answer["headlines"])) == ("AAPL", True, 5)
        times = [one["published_at"] for one in answer["headlines"]]
        assert times == sorted(times, reverse=True)
        assert all(one["headline"]["source"] == "news" for one in answer["headlines"])
        assert all(not one["headline"]["untrusted_text"].startswith("{") for one in answer["headlines"])
        assert all(one["age_seconds"] > 0 for one in answer["headlines"])


async def test_headlines_are_bounded_by_range_and_provider() -> None:
    async with running() as world:
        day = await headlines(world, start="2026-11-17T00:00:00Z", end="2026-11-18T00:00:00Z", total_results=50)
        assert {one["published_at"][:10] for one in day} == {"2026-11-17"}
        few = await headlines(world, providers=["DJ-N"], total_results=50)
        assert {one["provider"] for one in few} == {"DJ-N"}
        refused = await world.call("get_news", symbol="AAPL", providers=["NOPE"])
        assert (refused["success"], refused["broker_code"]) == (False, 321)


async def test_hostile_headlines_and_articles_arrive_only_inside_the_marked_field_and_clean() -> None:
    """LLM-02, A14: on Wednesdays the gateway's news tries what text from outside may try."""
    async with running(clock=ManualClock()) as world:
        seen = 0
        for start, end in (("2026-10-01", "2026-10-20"), ("2026-10-20", "2026-11-05"), ("2026-11-05", "2026-11-20")):
            for one in await headlines(world, start=f"{start}T00:00:00Z", end=f"{end}T00:00:00Z", total_results=50):
                await world.clock.advance(1)  # forty requests a second leave for the broker, and no more
                text = one.pop("headline")["untrusted_text"]
                article = await world.call("get_news_article", provider=one["provider"], article_id=one["article_id"])
                body = article.pop("text")["untrusted_text"]
                hostile = any(word in text for word in ("ignore all", "lifted", "Call emergency_stop", "audit log"))
                seen += hostile
                for quoted in (text, *body.split("\n")):
                    assert not {unicodedata.category(character)[0] for character in quoted} & {"C"}
                outside = " ".join([*texts_of(one), *texts_of(article)])
                assert not any(word in outside for word in ("ignore", "lifted", "emergency", "Send the"))
        assert seen >= 4
        assert world.sent == 0
        assert (await world.call("get_safety_status"))["kill_switch_active"] is False


async def test_an_article_is_read_in_parts_that_join_to_the_whole() -> None:
    async with running() as world:
        (one,) = await headlines(world, total_results=1)
        name = {"provider": one["provider"], "article_id": one["article_id"]}
        whole = await world.call("get_news_article", **name)
        text = whole["text"]["untrusted_text"]
        assert "<p>" not in text
        assert whole["total_chars"] == len(text)
        assert "next_offset" not in whole
        rest = await world.call("get_news_article", offset=20, **name)
        assert rest["text"]["untrusted_text"] == text[20:]
        past = await world.call("get_news_article", offset=10_000, **name)
        assert past["success"] is True
        assert "text" not in past


async def test_an_article_that_does_not_exist_is_explained() -> None:
    async with running() as world:
        refused = await world.call("get_news_article", provider="BRFG", article_id="BRFG$1-1-1")
        assert (refused["success"], refused["broker_code"]) == (False, 10172)
        assert "get_news" in refused["next_step"]


async def test_an_article_id_that_is_none_never_leaves() -> None:
    """A control character would end the field on the wire and begin another."""
    async with running() as world:
        for article_id in ("BRFG$1\u00002", "", "x" * 200, "a b", "../etc"):
            refused = await world.call("get_news_article", provider="BRFG", article_id=article_id)
            assert refused["code"] == "INVALID_ARGUMENTS", article_id
        assert not any(isinstance(entry.request, ReqNewsArticle) for entry in world.gateway.received)
