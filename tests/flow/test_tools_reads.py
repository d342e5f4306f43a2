"""Reading accounts, prices, orders and the safety state through the tools."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.control.status import as_json, of_the_server
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import breaker, intents
from ibkr_mcp_server.store.breaker import Breach, Mode, Stage
from ibkr_mcp_server.store.latches import KillMode
from tests.control_kit import RESET_SECRET, TRIGGER_SECRET
from tests.harness import running
from tests.private_state import private_state
from tests.stores import OPERATOR, an_intent
from tests.surface.shell import Shell


async def test_accounts_summary_and_connection_name_their_venue_times_and_currencies() -> None:
    """SIM-03, FD-49: every figure with currency and age, and nothing invented."""
    async with running() as world:
        link = await world.call("get_connection_status")
        assert link["venue"] == "simulator"
        assert (link["link"]["state"], link["link"]["is_up"]) == ("up", True)
        assert link["accounts"] == ["******001", "******002"]

        accounts = await world.call("get_accounts")
        assert [(one["account"], one["may_trade"], one["is_default"]) for one in accounts["accounts"]] == [
            ("******001", True, True),
            ("******002", True, False),
        ]

        summary = await world.call("get_account_summary", account="DU9000002")
        assert summary["account"] == "******002"
        assert summary["net_liquidation"] == {"amount": "1000000", "currency": "USD"}
        assert summary["age_seconds"] >= 0
        assert summary["cash_balances"] == [{"amount": "1000000", "currency": "USD"}]


async def test_live_looking_account_is_told_and_blocks_writes_while_reads_work() -> None:
    async with running(simulator_accounts=("U1234567",)) as world:
        (account,) = (await world.call("get_accounts"))["accounts"]
        assert (account["account"], account["may_trade"]) == ("*****567", False)
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


NAMED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "kill_switch_active": (lambda told: told["kill_switch_active"] is False, "Kill switch"),
    "daily_stats": (lambda told: told["daily_stats"]["opening_orders"], "opening orders per trading day"),
    "recent_violations": (lambda told: told["recent_violations"][-1]["code"] == "PRICE_COLLAR", "PRICE_COLLAR"),
    "account_verified": (lambda told: told["account_verified"], "Accounts verified, recorded"),
    "trading_enabled": (lambda told: told["trading_enabled"], "Orders may be placed"),
    "feature flags": (lambda told: {"forex", "dry_run"} <= told["feature_flags"].keys(), "IBKR_ENABLE_FOREX"),
    "breaker": (lambda told: told["risk"]["breaker"] == "open", "Breaker OPEN"),
    "what opened it": (lambda told: "CB-13" in told["risk"]["opened_by"], "CB-13 daily loss"),
    "mode": (lambda told: told["risk"]["mode"] == "REDUCE", "Risk mode REDUCE"),
    "stage": (lambda told: told["risk"]["stage"] == "HALF", "stage HALF"),
    "rate limits": (
        lambda told: {"opening_orders_per_minute", "attempts_per_minute"} <= {one["name"] for one in told["limits"]},
        "opening orders per minute",
    ),
    "limits with headroom": (lambda told: told["limits"][0]["left"], "Left"),
    "position limits": (
        lambda told: "total_exposure_usd" in [limit["name"] for limit in told["limits"]],
        "total exposure usd",
    ),
    "unknown orders": (lambda told: told["unresolved_orders"][0]["client_request_id"] == "nobody-knows", "Unresolved"),
    "link": (lambda told: told["link"]["is_up"], "Link up, recorded"),
    "data age": (lambda told: told["link"]["last_heard_age_seconds"] is not None, "Data compared with the broker's"),
    "audit head": (lambda told: told["audit_head"]["hash"], "Audit head"),
    "alert health": (lambda told: told["feature_flags"]["alerts"] is False, "Alerts no channel is set"),
    "effective state": (lambda told: told["effective_state"] == "OBSERVE", "State OBSERVE"),
    "causes": (lambda told: told["causes"][0]["ends"] == "by a person", "OBSERVE, ends by a person"),
    "last drill": (lambda told: "last_drill_at" not in told, "Last drill never"),
}
"""What MON-01 names: where the tool tells it, and the words of `status --safety`."""


async def test_each_thing_that_decides_is_in_the_status_of_tool_and_shell(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    """MON-01, MON-02, TW-02, CB-01: while the breaker is open, in a stage, with an order of unknown outcome."""
    loss = Breach(
        trigger="CB-13", metric="daily loss", scope="", level="PAUSE", observed=Decimal("3.5"), limit=Decimal(3),
        unit=" %", at=clock.now(), loses_money=True,
    )  # fmt: skip

    def trouble(connection: Connection) -> None:
        opened: dict[str, Any] = {"is_open": True, "first": loss, "breaches": {"CB-13": loss}, "opened_at": clock.now()}
        state = replace(breaker.current(connection), mode=Mode.REDUCE, stage=Stage.HALF, **opened)
        breaker.store(connection, state, clock.now())
        intents.reserve(connection, an_intent(clock, request_key="nobody-knows"))

    with private_state() as place:
        async with running(place, gateway, clock) as world:
            assert (await world.buy(limit_price=1_000.0))["code"] == "PRICE_COLLAR"
            await world.app.desk.database.run(trouble)
            told = await world.call("get_safety_status")
            shown = await asyncio.to_thread(Shell(place / "state").call, "status", "--safety")
    screen = " ".join(shown.stdout.split())
    assert [name for name, (of, _) in NAMED.items() if not of(told)] == []
    assert [name for name, (_, words) in NAMED.items() if words not in screen] == [], shown.stdout
    assert shown.returncode == 1


async def test_no_status_stands_before_an_order_and_none_tells_a_secret(gateway: PaperGateway, tmp_path: Path) -> None:
    """MON-09: while a hundred of them wait behind one that hangs, an order passes and a stop holds."""
    secrets: dict[str, Any] = {
        "kill_switch_secret": TRIGGER_SECRET,
        "control_reset_secret": RESET_SECRET,
        "http_token": "t" * 43,
    }
    async with running(tmp_path, gateway, **secrets) as world:
        reader, hangs = world.app.desk.database, threading.Event()
        hanging = asyncio.create_task(reader.read(lambda connection: hangs.wait(10)))
        asked = [asyncio.create_task(world.call("get_safety_status")) for _ in range(100)]
        try:
            async with asyncio.timeout(8):
                placed = await world.buy()
                assert (placed["success"], placed["outcome"]) == (True, "accepted")
                stopped = await world.app.desk.safety.kill_switch.activate(KillMode.HALT_ONLY, "while they wait")
            assert stopped.durable
            assert not any(task.done() for task in asked)
        finally:
            hangs.set()
        await hanging
        answers = await asyncio.gather(*asked)
        whole = str(as_json(await of_the_server(world.app.desk)))
    assert {answer["kill_switch_active"] for answer in answers} == {True}
    for secret in secrets.values():
        assert secret not in str(answers) + whole


async def test_a_drill_that_was_too_long_ago_is_told_by_every_status(
    gateway: PaperGateway, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QA-06: its age shows, and after thirty days it is a warning and a concern."""
    monkeypatch.setattr("ibkr_mcp_server.cli.workspace.SystemClock", lambda: clock)
    with private_state() as place:
        async with running(place, gateway, clock) as world:
            outcome = {"against": "simulator", "passed": True}
            drilled = AuditEvent(type=EventType.DRILL_RESULT, actor=OPERATOR, outcome=outcome)
            await world.app.desk.audit.record(drilled)
            fresh = await world.call("get_safety_status")
            clock.step_wall(timedelta(days=31))
            old = await world.call("get_safety_status")
            shown = await asyncio.to_thread(Shell(place / "state").json, "status")
    assert fresh["last_drill_at"] == old["last_drill_at"]
    assert "warnings" not in fresh
    for told in (old["warnings"], shown["concerns"]):
        assert [text for text in told if "31 days ago" in text]


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
