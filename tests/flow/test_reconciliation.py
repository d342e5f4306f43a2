"""The start in its order, and our records against the broker's: compared, put right, or held against trading."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import BY_THRESHOLD
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.acceptance import accept_figures, report_to_accept
from ibkr_mcp_server.safety.operator import OperatorDoor
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.breaker import Stage
from ibkr_mcp_server.store.reconciliations import Report
from ibkr_mcp_server.store.runs import unclean_run_before
from tests.flow.breaker_kit import ACCOUNT, breaker_closed, looked_at
from tests.harness import World, running
from tests.people import PASSPHRASE

EXECUTION_DATA = 11
"""The message of one row of a list of executions."""


def working_ids(world: World) -> set[int]:
    return {order.perm_id for order in world.app.desk.broker.known_orders() if order.is_working}


async def compared(world: World) -> Report:
    """The outcome of a comparison that is made now."""
    before = world.clock.now()
    await world.clock.advance(31)
    async with asyncio.timeout(10):
        while (
            report := await world.newest_report()
        ).last_at <= before:  # one that was under way may have slept through it
            await world.clock.advance(1)
            await asyncio.sleep(0.005)
    await world.until_quiet()
    return report


async def test_start_takes_its_steps_in_order_and_then_accepts_writes(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """SU-01."""
    async with running(tmp_path, gateway, clock) as world:
        steps = [record.outcome["step"] for record in await world.records(EventType.START_STEP)]
        assert steps == [
            "configuration", "lock", "store", "audit chain", "latches", "link", "accounts", "reconciliation",
            "invariants", "ready",
        ]  # fmt: skip
        assert (await world.newest_report()).occasion == "start"
        assert (await world.buy())["success"]


async def test_writes_are_refused_as_starting_until_the_records_were_compared(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with running(tmp_path, gateway, clock, wait=False) as world:
        readiness = world.app.desk.safety.readiness
        await world.until_up()
        readiness.begin()  # as when the role of the writer is taken over
        refused = await world.buy()
        assert refused["code"] == "STARTING"
        assert world.sent == 0
        world.app.reconciler.take_over()
        await world.until_up()
        assert (await world.buy())["success"]


async def test_position_that_no_fill_explains_holds_trading_back_until_a_fill_does(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-15, CB-30: the difference is named, the report kept, cancelling stays possible; a person lets it go on."""
    async with running(tmp_path, gateway, clock) as world:
        resting = await world.buy()
        gateway.add_position(ACCOUNT, "MSFT", 7, 100)
        report = await compared(world)
        assert not report.clean
        assert [found["kind"] for found in report.report["differences"]] == ["POSITION_UNEXPLAINED"]
        refused = await world.buy(symbol="SPY")
        assert refused["code"] == "RECORDS_DISAGREE"
        assert "MSFT" in refused["error"]
        assert ACCOUNT not in refused["error"]
        assert (await world.call("cancel_order", perm_id=resting["perm_id"]))["success"]
        gateway.add_position(ACCOUNT, "MSFT", 0, 100)
        assert (await compared(world)).clean
        paused = await world.buy()
        assert (paused["code"], "CB-30" in paused["error"]) == ("CIRCUIT_BREAKER_OPEN", True)
        assert (await breaker_closed(world)).stage is Stage.FULL
        assert (await world.buy())["success"]


async def test_difference_is_still_held_against_trading_after_a_restart(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-03, CB-30: and how long it has lasted is counted through it."""
    async with running(tmp_path, gateway, clock):
        pass
    gateway.add_position(ACCOUNT, "MSFT", 7, 100)
    async with running(tmp_path, gateway, clock) as world:
        assert (await world.buy())["code"] == "RECORDS_DISAGREE"
        await looked_at(world)
        assert not (await world.call("get_safety_status"))["kill_switch_active"]
    clock.step_wall(timedelta(seconds=260))
    async with running(tmp_path, gateway, clock) as world:
        await looked_at(world)
        assert (await world.buy())["code"] == "RECORDS_DISAGREE"
        clock.step_wall(timedelta(hours=1))  # a clock that is set is no time that has passed
        await looked_at(world)
        assert not (await world.call("get_safety_status"))["kill_switch_active"]
        await clock.advance(41)
        await looked_at(world)
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
        (activation,) = await world.records(EventType.KILL_SWITCH_ACTIVATE)
        assert ("CB-30" in activation.outcome["reason"], activation.actor["auth"]) == (True, BY_THRESHOLD)


async def test_trade_by_hand_is_explained_by_its_fill_and_counted(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-14: external orders and holdings count and are labelled; nothing is held back for them."""
    async with running(tmp_path, gateway, clock) as world:
        gateway.faults.manual_trade("AAPL", "BUY", Decimal(5))
        gateway.faults.manual_order("AAPL", "BUY", Decimal(3), Decimal("1.00"))
        report = await compared(world)
        assert report.clean
        assert [found["kind"] for found in report.report["differences"]] == ["EXTERNAL_ORDER"]
        assert (await world.call("get_safety_status"))["effective_state"] == "NORMAL"
        preview = await world.call("check_order", symbol="AAPL", action="SELL", quantity=5, order_type="MKT")
        assert preview["would_be_approved"]


async def test_a_fill_that_one_list_lost_does_not_count_twice_when_the_next_list_has_it(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-13, ID-15: figures once explained by a fill stay explained, also when a later answer misses its row."""
    async with running(tmp_path, gateway, clock) as world:
        await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=2)
        with_fill = await compared(world)
        assert (with_fill.clean, with_fill.report["executions"]) == (True, 1)
        gateway.faults.drop_next_message(EXECUTION_DATA)
        without_it = await compared(world)
        assert (without_it.clean, without_it.report["executions"]) == (True, 0)
        with_fill = await compared(world)
        assert (with_fill.report["differences"], with_fill.report["executions"]) == ([], 1)


async def test_cash_follows_from_the_fills_and_what_does_not_is_told_once(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with running(tmp_path, gateway, clock) as world:
        filled = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=10)
        assert filled["success"]
        await clock.advance(200)  # until the balances are as new as the fill
        assert (await compared(world)).report["differences"] == []
        account = gateway.accounts.by_code[ACCOUNT]
        account.cash["USD"] += Decimal("12.34")
        told = await compared(world)
        assert told.clean
        [found] = told.report["differences"]
        assert found["kind"] == "CASH_UNEXPLAINED"
        assert (await compared(world)).report["differences"] == []


async def test_quiet_day_is_one_report_that_grows_and_its_end_is_one_of_its_own(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with running(tmp_path, gateway, clock) as world:
        for _ in range(4):
            await compared(world)
        report = await compared(world)
        assert (report.seq, report.occasion, report.times) == (2, "periodic", 5)
        clock.step_wall(datetime(2026, 11, 20, 22, 1, tzinfo=UTC) - clock.now())  # past 17:00 in New York
        report = await compared(world)
        assert (report.seq, report.occasion) == (3, "end of the trading day")
        assert len(await world.records(EventType.RECONCILED)) == 3


async def test_entry_orders_are_cancelled_after_an_outage_and_protection_stays(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """EM-03."""
    gateway.add_position(ACCOUNT, "AAPL", 10, 150)
    async with running(
        tmp_path, gateway, clock, enable_stop_loss_orders=True, auto_cancel_orders_on_disconnect=True
    ) as world:
        entry = await world.buy()
        stop = await world.call(
            "place_stop_loss",
            symbol="AAPL",
            action="SELL",
            quantity=10,
            stop_price=round(await world.last_price("AAPL") * 0.8, 2),
        )
        assert (entry["success"], stop["success"]) == (True, True), stop
        gateway.disconnect_all()
        await world.until(lambda: not world.app.desk.broker.link.is_up)
        await world.reconnected()
        await world.until(lambda: working_ids(world) == {stop["perm_id"]})


async def test_entry_orders_survive_an_outage_where_that_is_configured(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with running(tmp_path, gateway, clock, auto_cancel_orders_on_disconnect=False) as world:
        await world.buy()
        gateway.disconnect_all()
        await world.until(lambda: not world.app.desk.broker.link.is_up)
        await world.reconnected()
        assert (await world.newest_report()).occasion == "link restored"
        assert len(world.working_orders()) == 1


async def test_run_that_ended_by_a_crash_is_told_until_the_records_agree(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """SU-06."""
    async with running(tmp_path, gateway, clock) as world:
        await world.app.desk.audit.flush()
        told = await world.app.desk.database.read(lambda connection: unclean_run_before(connection, "another run"))
        assert told is not None
        assert "did not end in order" in told
    async with running(tmp_path, gateway, clock) as world:
        assert world.app.desk.safety.readiness.unclean_stop is None
        readiness = world.app.desk.safety.readiness
        readiness.unclean_stop = "The run before did not end in order."
        refused = await world.buy()
        assert refused["code"] == "UNCLEAN_STOP"
        assert (await world.call("get_safety_status"))["effective_state"] == "OBSERVE"
        await compared(world)
        assert (await world.buy())["success"]


async def test_altered_audit_log_starts_halted_and_still_serves_reads(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """SU-05."""
    async with running(tmp_path, gateway, clock) as world:
        await world.buy()
    path = tmp_path / "state" / "state.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TRIGGER audit_log_no_update")
        connection.execute("UPDATE audit_log SET tool = 'another' WHERE seq = 5")
    connection.close()
    async with running(tmp_path, gateway, clock) as world:
        refused = await world.buy()
        assert refused["code"] == "STATE_UNREADABLE"
        assert "does not verify" in refused["error"]
        assert (await world.call("get_portfolio"))["success"]
        assert (await world.call("get_safety_status"))["effective_state"] == "HALT"


@pytest.fixture
async def poor(clock: ManualClock) -> AsyncIterator[PaperGateway]:
    async with PaperGateway(clock=clock, market_always_open=True, accounts=(ACCOUNT,)) as gateway:
        yield gateway


async def test_account_without_equity_is_not_traded_in(tmp_path: Path, poor: PaperGateway, clock: ManualClock) -> None:
    """SU-02."""
    poor.accounts.by_code[ACCOUNT].cash["USD"] = Decimal(-1)
    async with running(tmp_path, poor, clock) as world:
        refused = await world.buy()
        assert refused["code"] == "INVARIANT_BROKEN"
        assert "EQUITY_NOT_POSITIVE" in refused["error"]
        poor.accounts.by_code[ACCOUNT].cash["USD"] = Decimal(100_000)
        await compared(world)
        assert (await world.buy())["success"]


async def test_negative_cash_and_a_short_holding_hold_a_cash_account_back(
    tmp_path: Path, poor: PaperGateway, clock: ManualClock
) -> None:
    poor.accounts.by_code[ACCOUNT].cash["EUR"] = Decimal(-5)
    poor.add_position(ACCOUNT, "AAPL", -3, 150)
    async with running(tmp_path, poor, clock, cash_account=True) as world:
        refused = await world.buy(symbol="MSFT")
        assert "NEGATIVE_CASH: -5.00 EUR" in refused["error"]
        assert "NEGATIVE_QUANTITY: -3" in refused["error"]


async def test_person_accepts_the_figures_of_the_broker_and_trading_goes_on(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """What no fill explains, such as a transfer of shares, ends by a person with a reason, and by nobody else."""
    async with running(tmp_path, gateway, clock) as world:
        desk = world.app.desk
        gateway.add_position(ACCOUNT, "MSFT", 7, 100)
        assert not (await compared(world)).clean
        assert not (await compared(world)).clean
        report = await asyncio.to_thread(report_to_accept, desk.database)
        door = OperatorDoor(path=world.state.operator, database=desk.database, audit=desk.audit, clock=clock)
        await door.set_passphrase(PASSPHRASE, claimed_name="olivia")
        proof = await door.open(PASSPHRASE, claimed_name="olivia")
        with pytest.raises(Refused):
            await accept_figures(desk.database, desk.audit, proof, report, " ")
        await accept_figures(desk.database, desk.audit, proof, report, "transferred from another broker")
        assert (await compared(world)).clean
        await breaker_closed(world)
        assert (await world.buy())["success"]
        with pytest.raises(Refused):
            await asyncio.to_thread(report_to_accept, desk.database)
        [told] = [one for one in await world.records(EventType.RECONCILED) if one.outcome.get("accepted")]
        assert told.actor["id"] == "olivia"
