"""What the audit log holds: every start, decision and effect, before and after, and enough to judge again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord, tail
from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.broker.base import LinkState, LinkStatus
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.instruments import Instrument, SecType, TradingSession
from ibkr_mcp_server.domain.operations import Actor, ActorType, Operation, OperationClass
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, OrderStatus, OrderType, Side, TimeInForce
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.portfolio import Portfolio
from ibkr_mcp_server.safety.snapshot import Observed, Recorded, Snapshot
from ibkr_mcp_server.safety.state import Action, EffectiveState
from ibkr_mcp_server.settings import load_settings
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import DayOfMessages, Opening
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


async def test_a_recorded_decision_judged_again_gives_the_same_verdict(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AUD-09: from the records alone. Only the account check is left out, because account numbers are masked."""
    gateway.market.set_quote(gateway.con_id("AAPL"), bid="199.98", ask="200.00")
    buy: dict[str, Any] = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 199.0}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("place_limit_order", buy),
        ("place_limit_order", buy | {"quantity": 1001}),
        ("place_limit_order", buy | {"quantity": 51, "limit_price": 200.0}),
        ("place_limit_order", buy | {"limit_price": 206.01}),
        ("place_limit_order", buy | {"limit_price": 199.005, "quantity": 1.5, "tif": "GTC"}),
        ("place_limit_order", buy | {"action": "SELL", "limit_price": 193.98}),
        ("place_limit_order", buy | {"symbol": "SAP.IBIS.EUR", "quantity": 9, "limit_price": 40.0}),
        ("place_market_order", {"symbol": "EUR.USD", "action": "BUY", "quantity": 1000}),
        ("place_market_order", {"symbol": "AAPL", "action": "BUY", "quantity": 1}),
        ("place_limit_order", buy),
        ("place_limit_order", buy),
    ]
    async with running(tmp_path, gateway, clock, max_orders_per_minute=3, max_daily_orders=3,
                       daily_orders_warning=1) as world:  # fmt: skip
        answers = [await world.call(tool, **arguments) for tool, arguments in asked]
        [configured] = await world.records(EventType.CONFIG_LOADED)
        stored = {record.decision_id: record for record in await world.records(EventType.DECISION)}
    shown = {name: value for name, value in configured.outcome["config"].items() if value and "*" not in value}
    policy = Policy(load_settings(environ=shown))
    codes = []
    for answer in answers:
        record = stored[answer["decision_id"]]
        again = policy.review(*_as_it_was(record))
        told = [f"{found.code}: {found.message}" for check, found in again.failures if check != "account"]
        assert told == record.validation_result["errors"]
        assert list(again.warnings) == record.validation_result["warnings"]
        codes.append(answer.get("code"))
    assert len(set(codes)) >= 7, codes


def _as_it_was(record: AuditRecord) -> tuple[Operation, Snapshot]:
    """The operation and the snapshot that a DECISION record describes."""
    seen, order = record.validation_result, _order(record)
    verified = seen["accounts_verified_at"]
    observed = Observed(
        taken_at=_time(seen["taken_at"]),
        link=LinkStatus(
            state=LinkState.UP, venue="paper", address="", client_id=17, since=_time(verified),
            accounts=(order.account,), accounts_verified_at=_time(verified),
        ),
        order=order,
        quote=_quote(seen["quote"]),
        usd_per_unit=_number(seen["usd_per_unit"]),
        action=Action(seen["action"]),
        reference_price=_number(seen["reference_price"]),
        earlier_price=_number(seen["earlier_price"]),
        working=tuple(_working(told, order) for told in seen["working"]),
        value_usd=_number(seen["worst_case_value_usd"]),
        timeout_seconds=float(seen["timeout_seconds"]),
        portfolio=_portfolio(seen["portfolio"]),
    )  # fmt: skip
    assert (seen["state"], seen["unresolved"]) == ("NORMAL", [])
    stored = Recorded(
        state=EffectiveState(),
        opening_ages_seconds=(0.0,) * seen["opening_last_minute"],
        opening_today=seen["opening_today"],
        messages=DayOfMessages(**seen["messages"]),
        openings=tuple(_opening(told) for told in seen["openings"]),
        modification_ages_seconds=tuple(map(float, seen["modification_ages_seconds"])),
    )
    assert record.tool is not None
    operation = Operation(
        tool=record.tool,
        operation_class=OperationClass(str(record.operation_type)),
        actor=Actor(type=ActorType.AGENT, id="", auth=""),
        arguments=record.order_data["arguments"],
    )
    return operation, Snapshot(observed=observed, recorded=stored)


_AMOUNTS = (
    "equity_usd", "symbol_usd", "gross_usd", "shorted", "strategy_usd", "sector_usd", "cash_usd", "outlay_usd",
    "at_risk_usd",
)  # fmt: skip


def _portfolio(told: dict[str, Any] | None) -> Portfolio | None:
    if told is None:
        return None
    numbers = {name: _number(told[name]) for name in _AMOUNTS}
    age = told["equity_age_seconds"]
    return Portfolio(
        **{
            **told,
            **numbers,
            "equity_age_seconds": None if age is None else float(age),
            "unknown": tuple(told["unknown"]),
        }
    )


def _opening(told: dict[str, Any]) -> Opening:
    numbers = {name: _number(told[name]) for name in ("quantity", "limit_price", "stop_price", "value_usd")}
    return Opening(**{**told, **numbers, "age_seconds": float(told["age_seconds"])})


def _working(told: dict[str, Any], judged: Order) -> BrokerOrder:
    order = replace(
        judged,
        instrument=replace(judged.instrument, con_id=told["con_id"]),
        side=Side(told["side"]),
        quantity=Decimal(told["quantity"]),
        order_type=OrderType(told["order_type"]),
        limit_price=_number(told["limit_price"]),
        cap_price=None,
    )
    return BrokerOrder(
        order=order,
        perm_id=told["perm_id"],
        order_id=1,
        client_id=17,
        status=OrderStatus.SUBMITTED,
        filled=Decimal(0),
        remaining=order.quantity,
        average_fill_price=None,
        placed_here=told["placed_here"],
        parent_perm_id=told["parent_perm_id"],
    )


def _order(record: AuditRecord) -> Order:
    told = record.order_data["order"]
    is_pair = told["sec_type"] == SecType.CASH
    instrument = Instrument(
        con_id=told["con_id"],
        symbol=told["instrument"].partition(".")[0],
        sec_type=SecType(told["sec_type"]),
        exchange=told["exchange"],
        primary_exchange=told["primary_exchange"],
        currency=told["currency"],
        local_symbol=told["instrument"] if is_pair else "",
        multiplier=_number(told["multiplier"]),
        min_tick=_number(told["price_increment"]),
        price_magnifier=told["price_magnifier"],
        size_increment=_number(told["size_increment"]),
        min_size=_number(told["min_size"]),
        time_zone_id=told["time_zone_id"],
        hours_known_until=_time(told["hours_known_until"]),
        liquid_hours=_sessions(told["liquid_hours"]),
        trading_hours=_sessions(told["trading_hours"]),
    )
    return Order(
        instrument=instrument,
        account=told["account"],
        side=Side(told["side"]),
        quantity=Decimal(told["quantity"]),
        order_type=OrderType(told["order_type"]),
        limit_price=_number(told["limit_price"]),
        stop_price=_number(told["stop_price"]),
        cap_price=_number(told["cap_price"]),
        time_in_force=TimeInForce(told["time_in_force"]),
        outside_rth=told["outside_rth"],
    )


def _sessions(told: list[dict[str, str]]) -> tuple[TradingSession, ...]:
    return tuple(TradingSession(start=_time(one["start"]), end=_time(one["end"])) for one in told)


def _quote(told: Mapping[str, Any] | None) -> Quote | None:
    if told is None:
        return None
    return Quote(
        con_id=told["con_id"],
        received_at=_time(told["received_at"]),
        data_type=MarketDataType(told["data_type"]),
        bid=_number(told["bid"]),
        ask=_number(told["ask"]),
        last=_number(told["last"]),
        average_volume=_number(told["average_volume"]),
        shortable=_number(told["shortable"]),
        shortable_shares=_number(told["shortable_shares"]),
    )


def _number(told: str | int | None) -> Decimal | None:
    return None if told is None else Decimal(told)


def _time(told: str) -> datetime:
    return datetime.fromisoformat(told)
