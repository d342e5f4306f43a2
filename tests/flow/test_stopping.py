"""Stopping, and staying stopped: from the agent's tool call to the gateway's socket."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.entries import cancel_entries, working_entries
from ibkr_mcp_server.safety.operator import OperatorDoor
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.errors import StoreUnavailable
from ibkr_mcp_server.store.latches import KillMode
from tests.harness import World, running
from tests.people import PASSPHRASE, proof


async def test_after_the_agent_stops_no_opening_order_reaches_the_gateway_and_entries_are_cancelled(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-01, KS-04, KS-12, KS-18."""
    async with running(tmp_path, gateway, clock) as world:
        resting = await world.buy()
        stopped = await world.call("emergency_stop")
        refused = await world.buy()
        status = await world.call("get_safety_status")

    assert stopped["cancelled_perm_ids"] == [resting["perm_id"]]
    assert [order.status for order in gateway.exchange.completed_orders()] == ["Cancelled"]
    assert (refused["code"], refused["check"]) == ("KILL_SWITCH_ACTIVE", "kill_switch")
    assert world.sent == 1
    assert status["kill_switch"]["reason"] == "unspecified"
    assert status["kill_switch"]["mode"] == "HALT_ONLY"
    assert status["effective_state"] == "HALT"


async def test_a_stop_survives_a_restart_and_the_wall_clock(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-05: it never expires."""
    async with running(tmp_path, gateway, clock) as world:
        await world.call("emergency_stop", reason="the agent was unsure")
    clock.step_wall(timedelta(days=40))
    async with running(tmp_path, gateway, clock) as world:
        refused = await world.buy()
    assert refused["code"] == "KILL_SWITCH_ACTIVE"
    assert "the agent was unsure" in refused["error"]
    assert gateway.received_orders == []


async def test_a_stop_in_one_server_holds_in_another_on_the_same_state_directory(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-01 across processes: here two servers, each with its own connection and its own open database."""
    async with (
        running(tmp_path, gateway, clock, client_id=17) as one,
        running(tmp_path, gateway, clock, client_id=18) as other,
    ):
        assert (await one.buy())["success"]
        await other.call("emergency_stop")
        refused = await one.buy()
        assert refused["code"] == "KILL_SWITCH_ACTIVE"
        assert one.sent == 1
        # The other server notices and cancels the entry that only its connection can cancel.
        await clock.advance(1)
        await other.until(lambda: not gateway.exchange.open_orders())


async def test_an_order_that_waits_for_the_gate_while_somebody_stops_is_dropped(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """TW-11, KS-22, T-22: approved, and stopped before its bytes were written."""
    async with running(tmp_path, gateway, clock) as world:
        switch = world.app.desk.safety.kill_switch
        async with world.app.desk.safety._gate.held():  # the moment before the socket, held open
            placing = asyncio.create_task(world.buy())
            await world.until(lambda: _reserved(world))
            stopping = asyncio.create_task(
                switch.activate(KillMode.HALT_ONLY, "now", Actor(type=ActorType.HUMAN, id="o", auth="local-shell"))
            )
            await world.until(lambda: world.app.desk.database.read_blocking(switch.status).latch.active)
            assert not stopping.done(), "a stop returns only when nothing is on its way"
        dropped = await placing
        activation = await stopping

    assert dropped["code"] == "STATE_CHANGED"
    assert world.sent == 0
    assert activation.nothing_in_flight


async def test_an_order_that_was_approved_before_a_stop_and_its_reset_is_dropped(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """TW-11: whoever resets says that trading may go on, not that what was on its way before the stop may."""
    async with running(tmp_path, gateway, clock) as world:
        switch, operator = world.app.desk.safety.kill_switch, await proof(world)
        async with world.app.desk.safety._gate.held():
            placing = asyncio.create_task(world.buy())
            await world.until(lambda: _reserved(world))
            stopping = asyncio.create_task(switch.activate(KillMode.HALT_ONLY, "now", operator.actor))
            await world.until(lambda: world.app.desk.database.read_blocking(switch.status).latch.active)
            await switch.clear(operator, "a false alarm")
        dropped = await placing
        await stopping
        assert (await world.buy())["success"]
    assert dropped["code"] == "STATE_CHANGED"
    assert "the kill switch was used after the order had been approved" in dropped["error"]
    assert world.sent == 1


async def test_the_file_that_appears_while_the_gate_reads_the_switches_still_holds_the_order_back(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KS-07, TW-11: the last thing that happens before the bytes are written is a look at the file."""
    async with running(tmp_path, gateway, clock) as world:
        database, sentinel = world.app.desk.database, world.state.sentinel
        look = database.look

        async def look_and_then_the_file_appears(*asked: Any, **how: Any) -> Any:
            seen = await look(*asked, **how)
            sentinel.touch()
            return seen

        monkeypatch.setattr(database, "look", look_and_then_the_file_appears)
        dropped = await world.buy(client_request_id="dropped-by-file")
        intent = await world.intent("dropped-by-file")
    assert (dropped["code"], intent.state) == ("STATE_CHANGED", "EXPIRED")
    assert "the sentinel file appeared" in dropped["error"]
    assert world.sent == 0


async def test_a_cancellation_leaves_although_the_gate_cannot_read_the_store_and_an_order_does_not(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TW-07, invariant 6: what lowers the risk does not wait for a disk."""

    async def fails(*asked: Any, **how: Any) -> None:
        raise StoreUnavailable("STORE_DISK_ERROR", "The disk failed.")

    async with running(tmp_path, gateway, clock) as world:
        resting = await world.buy()
        monkeypatch.setattr(world.app.desk.database, "look", fails)
        refused = await world.buy()
        cancelled = await world.call("cancel_order", perm_id=resting["perm_id"])
    assert (refused["success"], refused["code"]) == (False, "STATE_UNREADABLE")
    assert cancelled["success"], cancelled
    assert (world.sent, gateway.exchange.open_orders()) == (1, [])


def _reserved(world: World) -> bool:
    query = text("SELECT count(*) FROM intents WHERE state = 'RESERVED'")
    return bool(world.app.desk.database.read_blocking(lambda connection: connection.execute(query).scalar_one()))


async def test_a_dropped_order_gives_its_quota_back_and_a_sent_one_does_not(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-08."""
    async with running(tmp_path, gateway, clock) as world:
        async with world.app.desk.safety._gate.held():
            placing = asyncio.create_task(world.buy(client_request_id="dropped-1"))
            await world.until(lambda: _reserved(world))
            world.state.sentinel.touch()
        assert (await placing)["code"] == "STATE_CHANGED"
        assert (await world.intent("dropped-1")).state == "EXPIRED"
        world.state.sentinel.unlink()
        status = await world.call("get_safety_status")
        assert status["daily_stats"]["opening_orders"] == 0


async def test_a_hundred_stops_at_once_are_one_activation_and_ninety_nine_recorded_repeats(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-09."""
    async with running(tmp_path, gateway, clock) as world:
        answers = await asyncio.gather(*(world.call("emergency_stop", reason=f"r{n}") for n in range(100)))
        records = await world.records(EventType.KILL_SWITCH_ACTIVATE)
    assert sum(answer["first"] for answer in answers) == 1
    assert len(records) == 100
    assert sum(record.outcome["first"] for record in records) == 1


async def test_the_sentinel_file_stops_at_once_and_is_latched(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-07's file, SIG-11: no secret, no command; removing the file later does not resume."""
    async with running(tmp_path, gateway, clock) as world:
        await world.buy()
        world.state.sentinel.touch()
        refused = await world.buy()
        assert refused["code"] == "KILL_SWITCH_ACTIVE"
        await clock.advance(1)
        await world.until(lambda: not gateway.exchange.open_orders())
        world.state.sentinel.unlink()
        still = await world.buy()
    assert still["code"] == "KILL_SWITCH_ACTIVE"
    assert world.sent == 1


async def test_only_the_operators_proof_ends_a_stop_and_orders_pass_again(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-15, KS-16: clearing takes the passphrase and a reason; it also removes the sentinel."""
    async with running(tmp_path, gateway, clock) as world:
        await world.call("emergency_stop")
        world.state.sentinel.touch()
        switch = world.app.desk.safety.kill_switch
        with pytest.raises(Refused, match="needs a reason"):
            await switch.clear(await proof(world), "  ")
        await switch.clear(await proof(world), "looked at it")
        assert not world.state.sentinel.exists()
        assert (await world.buy())["success"]
        (record,) = await world.records(EventType.KILL_SWITCH_DEACTIVATE)
    assert record.actor["auth"] == "passphrase"
    assert record.outcome["reason"] == "looked at it"


async def test_five_wrong_passphrases_lock_the_door_for_fifteen_minutes_also_across_a_restart(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-16."""

    def door_of(world: World) -> OperatorDoor:
        desk = world.app.desk
        return OperatorDoor(path=world.state.operator, database=desk.database, audit=desk.audit, clock=world.clock)

    async with running(tmp_path, gateway, clock) as world:
        await proof(world)
        for _ in range(5):
            with pytest.raises(Refused, match="WRONG_PASSPHRASE"):
                await door_of(world).open("guess number something", claimed_name="mallory")
    async with running(tmp_path, gateway, clock) as world:
        with pytest.raises(Refused, match="OPERATOR_LOCKED"):
            await door_of(world).open(PASSPHRASE, claimed_name="olivia")
        await world.sleep_through(15 * 60 + 1)
        await world.until_up()
        await proof(world)
        assert len(await world.records(EventType.AUTH_FAILED)) == 5


async def test_cancelling_works_while_stopped_and_so_does_a_verified_reduction(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """Invariant 6, T-13, FD-11: what lowers the risk never becomes impossible; what crosses zero is no reduction."""
    gateway.add_position("DU9000001", "AAPL", Decimal(10), Decimal(150))
    async with running(tmp_path, gateway, clock, kill_cancel_entry_orders=False) as world:
        resting = await world.buy()
        await world.call("emergency_stop")
        cancelled = await world.call("cancel_order", perm_id=resting["perm_id"])
        too_much = await world.call("place_market_order", symbol="AAPL", action="SELL", quantity=11)
        closing = await world.call("place_market_order", symbol="AAPL", action="SELL", quantity=10)
        again = await world.call("place_market_order", symbol="AAPL", action="SELL", quantity=10)
    assert cancelled["success"]
    assert too_much["code"] == "KILL_SWITCH_ACTIVE"
    assert "at most 10" in too_much["error"]
    assert closing["outcome"] == "filled"
    assert again["code"] == "KILL_SWITCH_ACTIVE"


async def test_two_reductions_at_once_cannot_both_use_the_same_position(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-13, T-23: the second one sees the first one's intent."""
    gateway.add_position("DU9000001", "AAPL", Decimal(10), Decimal(150))
    async with running(tmp_path, gateway, clock) as world:
        await world.call("emergency_stop")
        bid = gateway.market.quote(gateway.con_id("AAPL")).bid
        assert bid is not None
        price = float((bid * Decimal("1.05")).quantize(Decimal("0.01")))
        order = {"symbol": "AAPL", "action": "SELL", "quantity": 10, "limit_price": price}
        answers = await asyncio.gather(*(world.call("place_limit_order", **order) for _ in range(5)))
    assert sorted(answer["success"] for answer in answers) == [False] * 4 + [True]
    assert world.sent == 1


@pytest.mark.parametrize("damage", ["DELETE FROM latches", "UPDATE latches SET mode = 'NONSENSE'"])
async def test_a_switch_that_cannot_be_read_counts_as_on(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, damage: str
) -> None:
    """KS-06."""
    async with running(tmp_path, gateway, clock) as world:
        await world.app.desk.database.run(lambda connection: connection.execute(text(damage)).rowcount)
        refused = await world.buy()
        status = await world.call("get_safety_status")
    assert refused["code"] == "KILL_SWITCH_ACTIVE"
    assert status["kill_switch_active"] is True
    assert gateway.received_orders == []


async def test_a_stop_holds_when_the_store_cannot_be_written(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-08, invariant 5: in memory at once, by the sentinel file for everybody else and for the next start."""
    async with running(tmp_path, gateway, clock) as world:
        assert (await world.buy())["success"]
        await world.app.desk.database.run(
            lambda connection: connection.execute(text("ALTER TABLE latches RENAME TO hidden")).rowcount
        )
        stopped = await world.call("emergency_stop")
        refused = await world.buy()
        await world.app.desk.database.run(
            lambda connection: connection.execute(text("ALTER TABLE hidden RENAME TO latches")).rowcount
        )
    assert stopped["durable"] is False
    assert world.state.sentinel.exists()
    assert refused["success"] is False
    assert world.sent == 1


async def test_a_stop_latches_before_its_effects_and_holds_when_they_fail(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-08, FD-17: a broker that does not answer cannot undo a stop, and what is left is told and cancelled later."""
    async with running(tmp_path, gateway, clock, broker_deadline_seconds=0.4) as world:
        resting = await world.buy()
        gateway.faults.freeze()
        stopped = await world.call("emergency_stop")
        assert (stopped["success"], stopped["durable"], stopped["kill_switch_active"]) == (True, True, True)
        assert [left["perm_id"] for left in stopped["still_working"]] == [resting["perm_id"]]
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
        [latched] = await world.records(EventType.KILL_SWITCH_ACTIVATE)
        effects = [record.seq for record in await world.records(EventType.DECISION) if record.tool == "stop"]
        assert effects
        assert latched.seq < min(effects)
        gateway.faults.thaw()
    async with running(tmp_path, gateway, clock) as world:
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
        await clock.advance(1)
        await world.until(lambda: not gateway.exchange.open_orders())
    assert world.sent == 1


async def test_a_stop_cancels_entries_and_keeps_what_protects_a_position(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-12."""
    gateway.add_position("DU9000001", "AAPL", Decimal(10), Decimal(150))
    async with running(tmp_path, gateway, clock, enable_stop_loss_orders=True) as world:
        entry = await world.buy()
        level = round(await world.last_price("AAPL") * 0.9, 2)
        stop = await world.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=10, stop_price=level)
        assert stop["success"], stop
        stopped = await world.call("emergency_stop")
        assert stopped["cancelled_perm_ids"] == [entry["perm_id"]]
        assert stopped["protective_perm_ids"] == [stop["perm_id"]]
    assert [order.perm_id for order in gateway.exchange.open_orders()] == [stop["perm_id"]]


async def test_an_entry_that_the_watch_cancelled_first_is_told_as_cancelled_by_the_stop(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-12: the watch over stops and the stop itself cancel side by side, and one of them is first."""
    async with running(tmp_path, gateway, clock) as world:
        first, second = await world.buy(), await world.buy()
        before, _ = await working_entries(world.app.desk)
        assert (await world.call("cancel_order", perm_id=first["perm_id"]))["success"]  # as the watch would
        told = await cancel_entries(world.app.desk, before=before)
    assert told.cancelled == (first["perm_id"], second["perm_id"])
    assert told.left == ()


async def test_no_tool_resets_resumes_approves_or_configures(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-10, FD-9, FD-13: the list has none, and guesses are refused and recorded."""
    async with running(tmp_path, gateway, clock) as world:
        names = {tool.name for tool in (await world.client.list_tools()).tools}
        await world.call("emergency_stop")
        for guess in ("reset", "reset_kill_switch", "resume_trading", "approve", "set_limits", "configure"):
            answer = await world.call(guess, passphrase=PASSPHRASE, admin_override=True)
            assert answer["code"] == "UNKNOWN_TOOL", guess
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
    forbidden = ("reset", "resume", "approve", "configure", "enable", "disable", "override", "setting", "limit")
    assert not [name for name in names if any(word in name for word in forbidden) and name != "place_limit_order"]
