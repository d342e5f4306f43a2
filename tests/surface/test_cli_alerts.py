"""`test-alert`, and alerts that commands raise while no server runs."""

from __future__ import annotations

import asyncio
import json

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.alert_kit import Channels, channels, texts, until
from tests.harness import running
from tests.surface.shell import Done, Shell


async def call(shell: Shell, fakes: Channels, *arguments: str, **settings: str) -> Done:
    """Beside the fakes, which answer on this loop."""
    return await asyncio.to_thread(shell.call, *arguments, **fakes.environment | settings)


async def test_a_test_alert_reaches_the_channels_of_its_priority_and_says_what_each_answered(shell: Shell) -> None:
    """AL-01, AL-02, AL-07."""
    async with channels() as fakes:
        done = await call(shell, fakes, "test-alert", "--priority", "critical")
        assert (done.returncode, done.stdout.count("sent")) == (0, 3), done
        assert [len(fakes.slack.posts), len(fakes.pagerduty.posts), len(fakes.mail.mails)] == [1, 1, 1]
        assert fakes.mail.mails[0][0] == ["ops@example.com", "boss@example.com"]
        for priority, reached in (("info", [2, 1, 1]), ("warning", [3, 1, 2]), ("high", [4, 1, 3])):
            assert (await call(shell, fakes, "test-alert", "--priority", priority)).returncode == 0
            assert [len(fakes.slack.posts), len(fakes.pagerduty.posts), len(fakes.mail.mails)] == reached
        assert fakes.mail.mails[-1][0] == ["ops@example.com"]

        fakes.slack.status, fakes.mail.takes = 404, False
        done = await call(shell, fakes, "test-alert", "--json")
        told = {one["channel"]: one for one in json.loads(done.stdout)["channels"]}
        assert done.returncode == 1
        assert {name: one["sent"] for name, one in told.items()} == {"slack": False, "email": False, "pagerduty": True}
        assert "404" in told["slack"]["problem"]
        assert "451" in told["email"]["problem"]
        assert "secret" not in done.stdout + done.stderr
        tail = await call(shell, fakes, "audit", "tail", "--json")
        assert "ALERT_FAILED" in tail.stdout
        assert "ALERT_SENT" in tail.stdout
    nothing = await asyncio.to_thread(shell.call, "test-alert")
    assert nothing.returncode != 0
    assert "No channel of alerts is set" in nothing.stderr


async def test_a_stop_from_a_shell_without_a_server_is_told_by_the_next_one(
    shell: Shell, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AL-04: and the shell's status shows what waits, and by which channels the newest server tells."""
    beside = Shell(shell.state / "state")
    async with channels() as fakes:
        assert (await call(beside, fakes, "portfolio-halt", "--reason", "nobody is there")).returncode == 0
        assert fakes.slack.posts == []
        fakes.break_down()
        async with running(shell.state, gateway, clock, **fakes.settings) as world:
            sender = world.app.alert_sender
            await until(world, lambda: len(sender.paused) == 3 and not sender.sending)
            status = json.loads((await asyncio.to_thread(beside.call, "status", "--json")).stdout)
            assert status["alerts"]["configured"] == ["slack", "email", "pagerduty"]
            assert any("Alerts do not go out by slack" in concern for concern in status["concerns"])
            fakes.repair()
            await until(world, lambda: fakes.slack.posts and fakes.pagerduty.posts and fakes.mail.mails)
            assert "nobody is there" in texts(fakes.slack.posts)
