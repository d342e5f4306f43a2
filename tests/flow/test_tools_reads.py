"""Reading accounts, prices, orders and the safety state through the tools."""

from __future__ import annotations

import json

import pytest

from tests.harness import running


async def test_accounts_summary_and_connection_name_their_venue_times_and_currencies() -> None:
    """SIM-03, FD-49: every figure with currency and age, and nothing invented."""
    async with running() as world:
        link = await world.call("get_connection_status")
        assert link["venue"] == "simulator"
        assert (link["link"]["state"], link["link"]["is_up"]) == ("up", True)
        assert link["accounts"] == ["DU9000001", "DU9000002"]

        accounts = await world.call("get_accounts")
        assert [(one["account"], one["may_trade"], one["is_default"]) for one in accounts["accounts"]] == [
            ("DU9000001", True, True),
            ("DU9000002", True, False),
        ]

        summary = await world.call("get_account_summary", account="DU9000002")
        assert summary["account"] == "DU9000002"
        assert summary["net_liquidation"] == {"amount": "1000000", "currency": "USD"}
        assert summary["age_seconds"] >= 0
        assert summary["cash_balances"] == [{"amount": "1000000", "currency": "USD"}]


async def test_live_looking_account_is_told_and_blocks_writes_while_reads_work() -> None:
    async with running(simulator_accounts=("U1234567",)) as world:
        (account,) = (await world.call("get_accounts"))["accounts"]
        assert (account["account"], account["may_trade"]) == ("U1234567", False)
        refused = await world.buy()
        assert refused["code"] == "ACCOUNT_NOT_ACCEPTED"
        assert (await world.call("get_portfolio"))["success"] is True
        assert (await world.call("get_safety_status"))["account_verified"] is False


async def test_account_that_is_not_on_the_link_is_refused() -> None:
    """T-19: the caller does not decide what is verified."""
    async with running() as world:
        for tool in ("get_account_summary", "get_portfolio"):
            assert (await world.call(tool, account="DU1234567"))["code"] == "ACCOUNT_NOT_SERVED"
        refused = await world.buy(account="DU1234567")
        assert refused["code"] == "ACCOUNT_NOT_SERVED"
        assert world.gateway.received_writes == []


@pytest.mark.parametrize("as_text", [False, True], ids=["list", "JSON as text"])
async def test_one_unknown_symbol_does_not_spoil_the_others(as_text: bool) -> None:
    async with running() as world:
        symbols = ["AAPL", "NOPE", "EUR.USD"]
        answer = await world.call("get_market_data", symbols=json.dumps(symbols) if as_text else symbols)

        assert answer["success"] is True
        apple, nope, euro = answer["quotes"]
        assert (apple["currency"], euro["symbol"], euro["currency"]) == ("USD", "EUR.USD", "USD")
        assert float(apple["bid"]) < float(apple["ask"])
        assert apple["age_seconds"] >= 0
        assert nope["refused"]["code"] == "CONTRACT_NOT_FOUND"
        assert "bid" not in nope


async def test_no_quote_at_all_is_a_failure() -> None:
    """FD-41: an error never looks like emptiness."""
    async with running() as world:
        answer = await world.call("get_market_data", symbols=["NOPE"])
        assert (answer["success"], answer["code"]) == (False, "CONTRACT_NOT_FOUND")


async def test_quotes_are_counted_by_symbol() -> None:
    """RL-02."""
    async with running(max_market_data_requests_per_minute=3) as world:
        assert (await world.call("get_market_data", symbols=["AAPL", "MSFT"]))["success"]
        refused = await world.call("get_market_data", symbols=["IBM", "GOOG"])
        assert (refused["code"], refused["retry_after_s"] > 0) == ("MARKET_DATA_LIMIT", True)
        many = await world.call("get_market_data", symbols=["AAPL"] * 51)
        assert many["code"] == "TOO_MANY_SYMBOLS"


async def test_symbol_resolves_to_one_contract_with_its_grid() -> None:
    async with running() as world:
        found = await world.call("resolve_symbol", symbol="AAPL")
        assert found["instrument"]["con_id"] == 265598
        assert found["instrument"]["price_increment"] == "0.01"
        assert found["instrument"]["name"]["source"] == "broker"
        in_euro = await world.call("resolve_symbol", symbol="AIR", currency="EUR")
        assert {one["currency"] for one in in_euro["candidates"]} == {"EUR"}
        await world.clock.advance(1)  # one search a second
        unknown = await world.call("resolve_symbol", symbol="NOPE")
        assert (unknown["success"], unknown["code"]) == (False, "CONTRACT_NOT_FOUND")


async def test_status_of_an_order_that_nobody_knows_is_an_error() -> None:
    async with running() as world:
        assert (await world.call("get_order_status", perm_id=123))["code"] == "ORDER_NOT_FOUND"
        neither = await world.call("get_order_status")
        assert neither["code"] == "INVALID_ARGUMENTS"
        assert "perm_id or order_request_id" in neither["error"]


async def test_safety_status_counts_orders_and_shows_refusals() -> None:
    """MON-01."""
    async with running(max_orders_per_minute=1) as world:
        await world.buy()
        refused = await world.buy()
        assert refused["code"] == "RATE_LIMIT"
        status = await world.call("get_safety_status")

        assert (status["kill_switch_active"], status["effective_state"], status["causes"]) == (False, "NORMAL", [])
        assert (status["trading_enabled"], status["account_verified"]) == (True, True)
        assert status["daily_stats"]["opening_orders"] == 1
        limits = {limit["name"]: limit for limit in status["limits"]}
        assert limits["opening_orders_per_minute"]["left"] == "0"
        assert status["recent_violations"][-1]["code"] == "RATE_LIMIT"
        assert status["audit_head"]["seq"] > 0
        assert len(status["config_hash"]) == 64
        assert status["versions"]["ibkr-mcp-server"]


async def test_safety_status_says_stopped_when_the_store_cannot_be_read() -> None:
    """MON-01, KS-06."""
    async with running() as world:
        await world.app.desk.audit.flush()
        with world.state.database.open("r+b") as file:
            file.write(b"\0" * 4096 * 8)
        for wal in world.state.path.glob("state.db-wal"):
            with wal.open("r+b") as file:
                file.truncate(0)
        status = await world.call("get_safety_status")

        assert (status["kill_switch_active"], status["effective_state"]) == (True, "HALT")
        assert status["causes"][0]["code"] == "STATE_UNREADABLE"


async def test_con_id_of_another_symbol_is_refused() -> None:
    """An order for AAPL must never become an order for what the con_id says."""
    async with running() as world:
        tesla = (await world.call("resolve_symbol", symbol="TSLA"))["instrument"]["con_id"]
        refused = await world.buy(con_id=tesla)
        assert refused["code"] == "CONTRACT_NOT_FOUND"
        assert world.gateway.received_writes == []


async def test_currency_pairs_are_named_by_both_currencies_everywhere() -> None:
    """FD-46: USD.JPY is no USD.USD, and the euro is not always in dollars."""
    async with running() as world:
        pairs = {"EUR.USD": "USD", "USD.JPY": "JPY", "EUR.GBP": "GBP"}
        quotes = (await world.call("get_market_data", symbols=list(pairs)))["quotes"]
        assert {quote["symbol"]: quote["currency"] for quote in quotes} == pairs
        for pair, currency in pairs.items():
            found = (await world.call("resolve_symbol", symbol=pair))["instrument"]
            assert (found["symbol"], found["currency"]) == (pair, currency)
