"""What the audit log holds: every start, decision and effect, before and after, and enough to judge again."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.chain import ChainReader
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord, tail
from ibkr_mcp_server.audit.verify import records_of_store, verify_database
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.safety.replay import READ, Replay, Replayed
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.tools.server import SCHEMAS
from tests.harness import running


async def test_each_start_records_what_applied_and_its_fingerprint(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CFG-16, FD-18: a limit that was changed while the server was down shows in the log."""
    loaded: list[AuditRecord] = []
    for size in (1000, 1000, 500):
        async with running(tmp_path, gateway, clock, max_order_size=size, http_token="h" * 40) as world:
            loaded = await world.records(EventType.CONFIG_LOADED)
    hashes = [record.config_hash for record in loaded]
    assert hashes[0] == hashes[1] != hashes[2]
    assert [record.outcome["config"]["IBKR_MAX_ORDER_SIZE"] for record in loaded] == ["1000", "1000", "500"]
    assert [record.outcome["config_hash"] for record in loaded] == hashes
    assert "h" * 40 not in str(loaded)
    assert len({record.session_id for record in loaded}) == 3


async def test_other_tool_descriptions_than_at_the_last_start_are_recorded(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLM-04: the hash of what agents are told about the tools is in the status, and a change in the log."""
    changes: list[AuditRecord] = []
    status: dict[str, Any] = {}
    for told in ("a" * 64, "a" * 64, "b" * 64):
        monkeypatch.setattr("ibkr_mcp_server.app.tools_hash", lambda told=told: told)
        async with running(tmp_path, gateway, clock, wait=False) as world:
            changes = await world.records(EventType.TOOLS_CHANGED)
            status = await world.call("get_safety_status")
    assert [record.outcome for record in changes] == [{"before": "a" * 64, "now": "b" * 64}]
    assert status["versions"]["tools"] == hashlib.sha256(SCHEMAS.read_bytes()).hexdigest()[:16]


async def test_the_last_record_of_a_run_is_its_stop(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> None:
    """AUD-01: records that wait for a common commit are written before it."""
    async with running(tmp_path, gateway, clock) as world:
        await world.buy()
        await world.call("get_accounts")
        await world.call("get_portfolio")
    database = Database.open(world.state.database, read_only=True)
    last = database.read_blocking(lambda connection: tail(connection, 3))
    assert verify_database(database).ok
    database.close()
    assert [record.event_type for record in last] == [EventType.DECISION, EventType.DECISION, EventType.SERVER_STOP]


async def test_a_fill_is_recorded_once_over_restarts_reconnects_and_servers(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-13: a gateway tells the day's fills again at each connect."""
    gateway.faults.partial_fills(Decimal(1))
    async with running(tmp_path, gateway, clock, client_id=17) as world:
        placed = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=3)
        await clock.advance(5)
        await world.until(lambda: not gateway.exchange.open_orders())
        gateway.disconnect_all()
        await world.until(lambda: not world.app.desk.broker.link.is_up)
        await clock.advance(5)
        await world.until_up()
    async with (
        running(tmp_path, gateway, clock, client_id=17) as world,
        running(tmp_path, gateway, clock, client_id=18) as other,
    ):
        assert len((await other.call("get_executions"))["executions"]) >= 1
        records = [*await other.records(EventType.ORDER_FILLED), *await world.records(EventType.ORDER_FILLED)]
    told = {record.seq: record.outcome["execution_id"] for record in records if "execution_id" in record.outcome}
    assert len(told) == len(set(told.values())) == len(gateway.exchange.executions())
    assert {record.broker_ids["perm_id"] for record in records} == {placed["perm_id"]}


async def test_each_step_of_an_order_is_recorded_under_its_own_type(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AUD-01, AUD-07: reserved, sent and placed; changed, cancelled, and refused by the broker."""
    async with running(tmp_path, gateway, clock) as world:
        placed = await world.buy(2)
        await world.call("modify_order", perm_id=placed["perm_id"], quantity=1)
        await world.call("cancel_order", perm_id=placed["perm_id"])
        gateway.faults.reject_next_order()
        assert (await world.buy(1, symbol="MSFT"))["success"] is False
        told = [record.event_type for record in await world.records() if record.intent_id is not None]
    assert list(dict.fromkeys(told)) == [
        EventType.DECISION,
        EventType.INTENT_RESERVED,
        EventType.ORDER_SENT,
        EventType.ORDER_PLACED,
        EventType.ORDER_MODIFIED,
        EventType.ORDER_CANCELLED,
        EventType.ORDER_ATTEMPT,
    ]


async def test_a_decision_is_stored_with_its_verdict_and_every_check(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """TW-06: is_safe, errors, warnings and safety_checks, for a yes and for a no."""
    async with running(tmp_path, gateway, clock, max_order_size=5) as world:
        good, bad = await world.buy(5), await world.buy(6)
        stored = {record.decision_id: record.validation_result for record in await world.records(EventType.DECISION)}
    accepted, refused = stored[good["decision_id"]], stored[bad["decision_id"]]
    assert (accepted["is_safe"], accepted["errors"], accepted["warnings"]) == (True, [], [])
    assert refused["is_safe"] is False
    assert refused["errors"] == bad["details"]
    verdicts = {check["check"]: check for check in refused["safety_checks"]}
    assert [name for name, check in verdicts.items() if not check["passed"]] == ["order_size"]
    assert {check["check"] for check in accepted["safety_checks"]} == set(verdicts)
    assert verdicts["order_value"]["limit"] == "10,000.00 USD"


ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("place_limit_order", {}),
    ("place_limit_order", {"quantity": 1001}),
    ("place_limit_order", {"quantity": 51, "limit_price": 200.0}),
    ("place_limit_order", {"limit_price": 206.01}),
    ("place_limit_order", {"limit_price": 199.005, "quantity": 1.5, "tif": "GTC"}),
    ("place_limit_order", {"action": "SELL", "limit_price": 193.98}),
    ("place_limit_order", {"symbol": "SAP.IBIS.EUR", "quantity": 9, "limit_price": 40.0}),
    ("place_limit_order", {"symbol": "EUR.USD", "quantity": 1000}),
    ("place_limit_order", {"symbol": "NOBODY"}),
    ("place_limit_order", {"account": "DU9999999"}),
    ("place_limit_order", {"client_request_id": "mine"}),
    ("place_limit_order", {"client_request_id": "mine"}),
    ("place_limit_order", {"client_request_id": "mine", "quantity": 2}),
    ("place_limit_order", {}),
    ("place_limit_order", {}),
)
"""Changes of a good order: allowed, repeated, and refused by the form, the price, the value, the flags and the pace."""


async def test_every_recorded_decision_judged_again_gives_the_same_verdict(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AUD-09: from the log alone; a value that was changed shows, be it of the decision, its contract or its limits."""
    gateway.market.set_quote(gateway.con_id("AAPL"), bid="199.98", ask="200.00")
    buy: dict[str, Any] = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 199.0}
    async with running(tmp_path, gateway, clock, max_orders_per_minute=3, max_daily_orders=3, daily_orders_warning=1,
                       max_order_value_usd="10000.00") as world:  # fmt: skip
        answers = [await world.call(tool, **buy | change) for tool, change in ASKED]
        answers.append(await world.call("preview_order", **buy))
        answers.append(await world.call("prepare_order", tool="place_limit_order", arguments=buy))
        answers.append(await world.call("cancel_order", perm_id=answers[0]["perm_id"]))
        answers.append(await world.call("get_market_data", symbols=["AAPL"]))
        again = {one.decision_id: one for one in await world.judged_again()}
        stored = await world.app.desk.database.read(lambda c: list(records_of_store(c, ChainReader(), READ)))
    for answer in answers:
        one = again[answer["decision_id"]]
        assert one.differences == ()
        assert one.recorded.partition(",")[0] == ("approved" if answer["success"] else answer["code"])
    assert len({answer.get("code") for answer in answers}) >= 12
    assert "DU9000001" not in str(stored)
    assert [one["event_type"] for one in stored].count("CONTRACT_RULES") >= 3

    first = answers[0]["decision_id"]
    for change in TAMPERING:
        assert _first_after(stored, change, first).differences, change.__name__
    assert _first_after(stored, lambda record: None, first).is_equal


def _first_after(stored: list[dict[str, Any]], change: Callable[[dict[str, Any]], None], decision_id: str) -> Replayed:
    """One decision, judged again after something was changed in all records."""
    records = copy.deepcopy(stored)
    for record in records:
        change(record)
    log = Replay()
    judged = [log.take(record) for record in records]
    [found] = [one for one in judged if one is not None and one.decision_id == decision_id]
    return found


def _value(record: dict[str, Any]) -> None:
    if record["event_type"] == "DECISION":
        record["validation_result"]["observed"]["value_usd"] = "10000.01"


def _age_of_the_quote(record: dict[str, Any]) -> None:
    if record["event_type"] == "DECISION":
        record["validation_result"]["observed"]["taken_at"] = "2026-11-20T20:59:00.000000Z"


def _a_stop(record: dict[str, Any]) -> None:
    if record["event_type"] == "DECISION":
        cause = {"state": "HALT", "code": "KILL_SWITCH_ACTIVE", "reason": "Stopped.", "is_latch": True}
        record["validation_result"]["recorded"]["state"] = {"causes": [cause]}


def _the_verdict(record: dict[str, Any]) -> None:
    if record["event_type"] == "DECISION":
        record["outcome"]["approved"] = not record["outcome"]["approved"]


def _a_check(record: dict[str, Any]) -> None:
    if record["event_type"] == "DECISION":
        record["validation_result"]["safety_checks"].pop()


def _the_rules_of_the_contract(record: dict[str, Any]) -> None:
    if record["event_type"] == "CONTRACT_RULES":
        record["order_data"]["contract"]["min_tick"] = "0.02"


def _a_limit(record: dict[str, Any]) -> None:
    if record["event_type"] == "CONFIG_LOADED":
        record["outcome"]["config"]["IBKR_MAX_ORDER_VALUE_USD"] = "100"


TAMPERING = (_value, _age_of_the_quote, _a_stop, _the_verdict, _a_check, _the_rules_of_the_contract, _a_limit)
