"""When an outcome is lost, a record cannot be kept or a part fails: nothing is guessed, doubled or sent unrecorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Operation, OperationClass
from ibkr_mcp_server.safety.decision import Findings, Validation
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents
from tests.flow.broker_kit import TamperedLine
from tests.harness import World, running

Run = Callable[..., AbstractAsyncContextManager[World]]
SECRET = "token=canary-4711-canary-4711"


@pytest.fixture
def run(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> Run:
    return partial(running, tmp_path, gateway, clock, broker_deadline_seconds=0.4)


async def resolved(world: World) -> None:
    """Let time pass until the link is up and no outcome is unknown any more."""
    async with asyncio.timeout(10):
        while world.app.desk.database.read_blocking(intents.unresolved) or not world.app.desk.broker.link.is_up:
            await world.clock.advance(1)
            await world.app.desk.broker.wait_until_up(0.05)
            await asyncio.sleep(0)
    await world.until_up()  # and the records were compared


async def test_while_an_outcome_is_unknown_its_quota_stays_and_nothing_more_opens_there(run: Run) -> None:
    """ID-08, ID-09: until the broker shows the order; other instruments are not held up."""
    async with run() as world:
        await world.call("get_market_data", symbols=["AAPL", "MSFT"])
        world.gateway.faults.freeze()
        lost = await world.buy(client_request_id="lost-in-ice")
        assert (lost["outcome"], lost["code"]) == ("unknown", "OUTCOME_UNKNOWN")
        more = await world.buy()
        assert more["code"] == "UNRESOLVED_ORDER"
        assert "lost-in-ice" in more["error"]
        elsewhere = {"symbol": "MSFT", "action": "BUY", "quantity": 1, "order_type": "MKT"}
        verdicts = (await world.call("check_order", **elsewhere))["verdicts"]
        assert next(one for one in verdicts if one["check"] == "unresolved_order")["passed"]
        status = await world.call("get_safety_status")
        assert (status["daily_stats"]["opening_orders"], len(status["unresolved_orders"])) == (1, 1)

        world.gateway.faults.thaw()
        await resolved(world)
        found = await world.call("get_order_status", order_request_id="lost-in-ice")
        assert (found["outcome"], found["record"]["client_request_id"]) == ("accepted", "lost-in-ice")
        assert (await world.buy())["success"]
    references = [order.terms.order_ref for order in world.gateway.received_orders]
    assert len(references) == len(set(references)) == 2


async def test_an_order_that_never_arrived_is_not_credited_with_one_that_got_its_id(run: Run) -> None:
    """ID-07, A12: the gateway restarts and hands the same order id out again."""
    async with run() as world:
        await world.buy(symbol="MSFT")
        world.gateway.faults.disconnect_before_order()
        lost = await world.buy(client_request_id="never-arrived")
        assert lost["outcome"] == "unknown"
        world.gateway.roll_back_order_ids(10)
        await world.until(lambda: not world.app.desk.broker.link.is_up)
        await world.clock.advance(5)
        await world.until_up()
        other = await world.buy(symbol="IBM", client_request_id="the-other-order")
        assert other["success"], other
        await resolved(world)  # after a quiet time absence is proof
        first = await world.intent("never-arrived")
        second = await world.intent("the-other-order")
        assert (first.state, first.perm_id) == ("REJECTED", None)
        assert (second.state, second.perm_id) == ("ACCEPTED", other["perm_id"])
        told = await world.call("get_order_status", order_request_id="never-arrived")
        assert told["outcome"] == "rejected"
    assert [order.terms.order_ref for order in world.gateway.received_orders].count(first.order_ref) <= 1


async def test_a_repeated_request_is_told_where_its_order_stands_now(run: Run) -> None:
    """FD-38, ID-04: the answer of the first time is not kept for ever."""
    async with run() as world:
        world.gateway.market.set_quote(world.gateway.con_id("AAPL"), bid="199.98", ask="200.00")
        order = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 199.0}
        place = partial(world.call, "place_limit_order", client_request_id="asked-three-times", **order)
        first, second = await place(), await place()
        world.gateway.market.set_quote(world.gateway.con_id("AAPL"), bid="198.00", ask="198.50")
        await world.gateway.tick()
        await world.until(lambda: not world.working_orders())
        await world.app.follower.settled()
        third = await place()
    assert [one["outcome"] for one in (first, second, third)] == ["accepted", "accepted", "filled"]
    assert [one["replayed"] for one in (first, second, third)] == [False, True, True]
    assert len(world.gateway.received_orders) == 1


async def test_a_request_that_comes_again_while_its_order_is_on_its_way_is_told_to_wait(run: Run) -> None:
    """ID-04: neither a second order nor an answer that nobody knows yet."""
    async with run() as world:
        order = {**world.resting(), "client_request_id": "asked-twice-at-once"}
        async with world.app.desk.safety._gate.held():  # the moment before the socket, held open
            first = asyncio.create_task(world.call_with("place_limit_order", order))
            await world.until(lambda: world.app.desk.database.read_blocking(intents.unresolved))
            again = await world.call_with("place_limit_order", order)
        placed = await first
        after = await world.call_with("place_limit_order", order)
    assert (again["success"], again["code"]) == (False, "IN_PROGRESS")
    assert (placed["success"], after["replayed"], after["perm_id"]) == (True, True, placed["perm_id"])
    assert len(world.gateway.received_orders) == 1


async def test_a_key_is_known_eight_days_later_and_its_request_is_still_not_sent_again(run: Run) -> None:
    """ID-05: nothing ever deletes an intent."""
    async with run() as world:
        placed = await world.buy(client_request_id="a-key-to-remember")
        await world.sleep_through(8 * 86_400)
        price = float(placed["terms"]["limit_price"])
        again = await world.buy(client_request_id="a-key-to-remember", limit_price=price)
        assert (again["success"], again["replayed"], again["perm_id"]) == (True, True, placed["perm_id"])
        assert world.sent == 1


async def test_an_order_that_the_broker_echoes_in_another_account_stops_trading(
    run: Run, gateway: PaperGateway
) -> None:
    """ACC-09."""

    def other_account(fields: list[str]) -> list[list[str]]:
        if fields[0] == "5":
            fields = ["DU9000002" if field == "DU9000001" else field for field in fields]
        return [fields]

    async with TamperedLine(gateway.port) as line, run(port=line.port) as world:
        line.tamper = other_account
        flagged = await world.buy()
        refused = await world.buy(symbol="MSFT")
        status = await world.call("get_safety_status")
    assert flagged["code"] == "ACCOUNT_ECHO_MISMATCH"
    assert refused["code"] == "KILL_SWITCH_ACTIVE"
    assert (status["effective_state"], status["causes"][0]["ends"]) == ("HALT", "by a person")
    assert len(gateway.received_orders) == 1


@pytest.mark.parametrize("event", ["DECISION", "INTENT_RESERVED"])
async def test_what_cannot_be_recorded_is_not_sent_and_cancelling_still_works(
    run: Run, gateway: PaperGateway, event: str
) -> None:
    """AUD-04, FD-57, invariants 1 and 6: whichever record fails, before the socket."""
    async with run() as world:
        resting = await world.buy()
        failing = f"CREATE TRIGGER broken BEFORE INSERT ON audit_log WHEN NEW.event_type = '{event}' \
BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        await world.app.desk.database.run(lambda connection: connection.execute(text(failing)).rowcount)
        refused = await world.buy(client_request_id="unrecorded")
        cancelled = await world.call("cancel_order", perm_id=resting["perm_id"])
        await world.app.desk.database.run(lambda connection: connection.execute(text("DROP TRIGGER broken")).rowcount)
        assert refused["success"] is False
        assert refused["outcome"] in ("refused", "not_sent"), refused
        assert cancelled["success"], (cancelled["code"], cancelled["error"], cancelled.get("details"))
        await world.until(lambda: not gateway.exchange.open_orders())
        status = await world.call("get_safety_status")
        assert status["daily_stats"]["opening_orders"] == 1
    assert len(gateway.received_orders) == 1


async def test_an_order_that_no_rule_stops_is_still_not_sent_without_its_record(
    run: Run, gateway: PaperGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AUD-04: the failing store refuses by the state, and, were no rule to look at that, by itself."""
    async with run() as world:
        desk = world.app.desk
        monkeypatch.setattr(desk.safety.policy, "review", lambda operation, seen: Validation(rules=(), findings=()))
        await desk.database.run(
            lambda connection: connection.execute(text("ALTER TABLE audit_log RENAME TO hidden")).rowcount
        )
        refused = await world.buy()
        await desk.database.run(
            lambda connection: connection.execute(text("ALTER TABLE hidden RENAME TO audit_log")).rowcount
        )
    assert (refused["code"], refused["outcome"]) == ("RECORD_FAILED", "refused")
    assert gateway.received_orders == []


async def test_a_record_that_fails_after_the_send_stops_trading_and_the_order_is_still_known(
    run: Run, gateway: PaperGateway
) -> None:
    """CB-32, invariant 1: the intent was durable before; that it was sent and what came of it is written behind it."""
    async with run() as world:
        failing = "CREATE TRIGGER broken BEFORE INSERT ON audit_log WHEN NEW.event_type = 'ORDER_SENT' \
BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        await world.app.desk.database.run(lambda connection: connection.execute(text(failing)).rowcount)
        sent = await world.buy(client_request_id="sent-and-unrecorded")
        await world.until(lambda: world.app.desk.safety.kill_switch.status_now().active)
        await world.app.desk.database.run(lambda connection: connection.execute(text("DROP TRIGGER broken")).rowcount)
        refused = await world.buy(symbol="MSFT")
        known = await world.call("get_order_status", order_request_id="sent-and-unrecorded")
    assert (sent["success"], sent["outcome"]) == (True, "accepted")
    assert refused["code"] == "KILL_SWITCH_ACTIVE"
    assert known["order"]["perm_id"] == sent["perm_id"]
    assert len(gateway.received_orders) == 1


async def test_checks_that_take_too_long_refuse(run: Run, gateway: PaperGateway) -> None:
    """TW-07: the accounts must be asked for again, and the gateway is silent."""
    async with run(decision_timeout_seconds=0.2) as world:
        assert (await world.buy())["success"]
        await world.clock.advance(61)
        gateway.faults.freeze()
        refused = await world.buy()
        gateway.faults.thaw()
    assert (refused["code"], refused["outcome"]) == ("DECISION_TIMEOUT", "refused")
    assert len(gateway.received_orders) == 1


class _Broken:
    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        raise RuntimeError(SECRET)


async def test_an_exception_anywhere_refuses_and_its_text_is_told_to_nobody(
    run: Run, gateway: PaperGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TW-07, TW-15, SEC-05, A7: in each check, what is looked at, a read, the store, the audit log, and the sending."""
    async with run() as world:
        table = world.app.desk.safety.policy.table
        sound = table[OperationClass.ORDER_PLACEMENT]
        for place, rule in enumerate(sound):
            broken = replace(rule, check=_Broken())
            table[OperationClass.ORDER_PLACEMENT] = (*sound[:place], broken, *sound[place + 1 :])
            assert (await world.buy())["code"] == "CHECK_ERROR", rule.name
        table[OperationClass.ORDER_PLACEMENT] = sound

        async def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError(SECRET)

        with monkeypatch.context() as patch:
            patch.setattr(world.app.desk.broker, "quotes", fail)
            assert (await world.buy())["code"] == "CHECK_ERROR"
            patch.setattr(world.app.desk.broker, "account_summary", fail)
            assert (await world.call("get_account_summary"))["code"] == "INTERNAL_ERROR"

        def fail_at_once(*_: Any, **__: Any) -> None:
            raise RuntimeError(SECRET)

        for part, name, failing in (
            (world.app.desk.database, "run", fail),
            (world.app.desk.audit, "append", fail_at_once),
            (world.app.desk.safety, "admit", fail),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(part, name, failing)
                assert not (await world.buy())["success"], name
        assert world.sent == 0
        assert (await world.buy())["success"]
        sent = world.sent
        with monkeypatch.context() as patch:
            patch.setattr(world.app.desk.broker, "place_order", fail)
            assert (await world.buy(symbol="MSFT"))["outcome"] == "not_sent"
        assert "canary" not in str(world.answers)
        assert "canary" not in str(await world.records())
    assert world.sent == sent == 1
