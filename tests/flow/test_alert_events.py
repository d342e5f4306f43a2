"""What people must hear of is told to them, whichever part of the product met it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ibkr_mcp_server.app import open_app
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.safety.approval_queue import SecondPersonNeeded
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.settings.gates import DISABLED_CONTROLS_ACKNOWLEDGEMENT
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.simulator.accounts import Accounts, HoldingValue, Position
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.state_dir import open_state_directory
from ibkr_mcp_server.store import alerts
from tests.alert_kit import WebHook, channels, serving, texts, until
from tests.flow.breaker_kit import ACCOUNT
from tests.harness import running
from tests.people import people, raised
from tests.stores import fill_the_disk


async def test_agents_in_loops_raised_limits_controls_that_are_off_and_lost_links_are_told(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-10, CFG-18, CFG-21, KS-24, EM-01, AL-02."""
    webhook = WebHook(path="/services/secret")
    off: dict[str, Any] = {"enable_audit_logging": False, "disabled_controls_ack": DISABLED_CONTROLS_ACKNOWLEDGEMENT}
    async with (
        serving(webhook),
        running(tmp_path, gateway, clock, alert_slack_webhook=webhook.url, max_attempts_per_minute=2, **off) as world,
    ):

        def told(*parts: str) -> bool:
            return all(part in texts(webhook.posts) for part in parts)

        await until(world, lambda: told("A control is switched off: enable_audit_logging"))

        codes = [(await world.buy(quantity=-1))["code"] for _ in range(5)]
        assert codes.count("AGENT_THROTTLED") == 3
        await until(world, lambda: told("runs in a loop and is in timeout", "more than 2 attempts"))
        assert texts(webhook.posts).count("runs in a loop") == 1

        proofs = await people(world, rita=Role.RISK_MANAGER, rob=Role.RISK_MANAGER)
        end = clock.now() + timedelta(hours=1)
        with pytest.raises(SecondPersonNeeded):
            await raised(world, proofs["rita"], "15000", end)
        await raised(world, proofs["rob"], "15000", end)
        await until(world, lambda: told("A limit was raised: max_order_value_usd", "“rita and rob”", "“a roll”"))

        await world.call("emergency_stop", reason="all of it")
        await until(world, lambda: told("All trading is stopped", "The stop of account was carried out (HALT_ONLY)"))
        gateway.disconnect_all()
        await until(world, lambda: told("The link to the broker is down"))
        await world.reconnected()
        await until(world, lambda: told("The link to the broker is up"))


async def test_a_position_without_a_price_holds_trading_back_and_is_told_outside(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """SU-03."""
    gateway.add_position(ACCOUNT, "MSFT", 7, 100)
    whole = type(gateway.accounts).holding

    def without_price(accounts: Accounts, position: Position) -> HoldingValue:
        return replace(whole(accounts, position), price=Decimal(0))  # as TWS says that it has none

    with patch.object(type(gateway.accounts), "holding", without_price):
        async with channels() as fakes, running(tmp_path, gateway, clock, **fakes.settings) as world:
            refused = await world.buy()
            assert (refused["code"], "MARK_MISSING" in refused["error"]) == ("INVARIANT_BROKEN", True)
            await until(world, lambda: fakes.mail.mails and "MARK" in texts(fakes.slack.posts))
            assert "The records do not agree" in texts(fakes.slack.posts)


async def test_silence_is_noticed_by_the_watcher_that_is_called_while_the_server_lives(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AL-09: off unless set; not called while the store cannot be read, and no more when the process is gone."""
    watcher = WebHook(path="/ping/secret", clock=clock)
    async with serving(watcher):
        async with running(
            tmp_path, gateway, clock, alert_heartbeat_url=watcher.url, alert_heartbeat_seconds=20
        ) as world:
            await world.until(lambda: len(watcher.posts) == 1)
            await until(world, lambda: len(watcher.posts) == 2)
            assert watcher.posts[0]["program"] == "ibkr-mcp-server"
            calls = len(watcher.posts)
            watcher.status = 500
            await until(world, lambda: "heartbeat does not reach" in " ".join(world.app.desk.notices.told()))
        asked = watcher.asked
        await clock.advance(900)
        assert (len(watcher.posts), watcher.asked) == (calls, asked)


async def test_a_stop_that_the_store_cannot_record_is_told_all_the_same(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AL-04, KS-06: there is no outbox then; and a store that does not open is told at once."""

    async with channels() as fakes:
        async with running(tmp_path, gateway, clock, **fakes.settings) as world:
            await world.app.desk.database.run(fill_the_disk)
            for number in range(40):
                await world.call("emergency_stop", reason=f"U1234567 {number} {'x' * 180}")
            await until(world, lambda: "the store could not record it" in texts(fakes.slack.posts))
        assert "1234567" not in texts(fakes.slack.posts)
        (tmp_path / "state" / "state.db").write_bytes(b"nonsense" * 1_000)
        state = open_state_directory(tmp_path / "state", allow_temporary=True)
        settings = load_settings(environ={}, broker_mode="paper", port=gateway.port, **fakes.settings)
        with pytest.raises(Fault):
            async with open_app(settings, state, clock=clock):
                pass
        assert "cannot open its store" in texts(fakes.slack.posts)
        assert fakes.pagerduty.posts[-1]["dedup_key"] == "ibkr-mcp-server/unopened/store"


async def test_positions_without_a_stop_are_told_before_the_close_and_more_urgently_before_a_weekend(
    tmp_path: Path,
) -> None:
    """TM-08."""
    clock = ManualClock(datetime(2026, 11, 19, 20, 20, tzinfo=UTC))  # Thursday, 40 minutes before New York closes
    webhook = WebHook(path="/services/secret")
    async with serving(webhook), PaperGateway(clock=clock, market_always_open=False) as gateway:
        gateway.add_position(ACCOUNT, "AAPL", 7, 100)
        gateway.add_position(ACCOUNT, "MSFT", 5, 100)
        on: dict[str, Any] = {"alert_slack_webhook": webhook.url, "enable_stop_loss_orders": True}
        async with running(tmp_path, gateway, clock, **on) as world:
            watch = world.app.protection_watch
            stop = round(await world.last_price("MSFT") * 0.9, 2)
            placed = await world.call(
                "place_stop_loss", symbol="MSFT", action="SELL", quantity=5, stop_price=stop, tif="GTC"
            )
            assert placed["success"], placed
            await watch.look()
            assert await world.records(EventType.POSITIONS_UNPROTECTED) == []
            clock.step_wall(timedelta(minutes=11))
            for _ in range(2):
                await watch.look()
            (record,) = await world.records(EventType.POSITIONS_UNPROTECTED)
            assert (record.outcome["over"], [one["label"] for one in record.outcome["positions"]]) == (
                "close",
                ["AAPL"],
            )
            assert "No stop covers AAPL" in " ".join((await world.call("get_safety_status"))["warnings"])

            clock.step_wall(timedelta(days=1))
            await watch.look()
            await until(world, lambda: texts(webhook.posts).count("Positions without") == 2)
            told = texts(webhook.posts)
            assert "[WARNING] [paper] Positions without a stop before the close" in told
            assert "[HIGH] [paper] Positions without a stop before the weekend or holiday" in told
            assert "“AAPL: 7 of 7 without a stop”" in told
            assert "closes at 2026-11-20 21:00:00 UTC and opens again at 2026-11-23 14:30:00 UTC" in told


async def test_a_server_that_ends_in_order_leaves_no_alert_behind(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AL-04: a host starts and ends one with every conversation."""
    async with running(tmp_path, gateway, clock):
        pass
    async with running(tmp_path, gateway, clock) as world:
        (ended,) = await world.records(EventType.LINK_DOWN)
        assert ended.outcome["expected"] == "the server ends"
        assert await world.app.desk.database.read(alerts.unrouted) == []
        assert await world.app.desk.database.read(lambda c: alerts.told_of(c, "link")) is None
