"""Alerts, from what happens in the product to what reaches Slack, a mailbox and PagerDuty."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.control.status import of_the_server
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.latches import KillMode
from tests.alert_kit import WebHook, channels, serving, texts, until
from tests.control_kit import KEYS, calling
from tests.harness import World, running
from tests.people import people


def parts_of(world: World) -> Parts:
    """What the control API beside the server works with."""
    desk = world.app.desk
    switch = desk.safety.kill_switch
    return Parts(
        settings=desk.settings,
        database=desk.database,
        audit=desk.audit,
        kill_switch=switch,
        clock=desk.clock,
        desk=desk,
    )


async def test_a_stop_reaches_every_channel_and_its_reset_resolves_what_it_opened(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AL-01, AL-02, AL-05, AL-07, AL-08, PERF-03."""
    async with channels(clock) as fakes, running(tmp_path, gateway, clock, **fakes.settings) as world:
        clock_at = clock.monotonic()
        stopped = await world.call("emergency_stop", reason="<!channel> see https://evil.example *now*\nAll is well")
        assert stopped["success"]
        await clock.advance(1)
        await world.until(lambda: fakes.slack.posts and fakes.mail.mails and fakes.pagerduty.posts)
        assert fakes.pagerduty.times[0] - clock_at < 5

        told = texts(fakes.slack.posts)
        assert "[CRITICAL] [paper] All trading is stopped (HALT_ONLY)" in told
        assert "<" not in told
        assert "://" not in told.replace(": //", "")
        assert "\nAll is well" not in told
        recipients, mail = fakes.mail.mails[0]
        assert recipients == ["ops@example.com", "boss@example.com"]
        assert mail["subject"].startswith("[CRITICAL] [paper]")
        assert mail.get_content_type() == "text/plain"
        assert fakes.mail.logins
        opened = fakes.pagerduty.posts[0]
        assert (opened["event_action"], opened["payload"]["severity"]) == ("trigger", "critical")

        ann = (await people(world))["ann"]
        await world.app.desk.safety.kill_switch.clear(ann, "it was a test")
        await until(world, lambda: len(fakes.pagerduty.posts) == 2)
        closed = fakes.pagerduty.posts[1]
        assert closed["event_action"] == "resolve"
        assert closed["dedup_key"] == opened["dedup_key"]
        sent = await world.records(EventType.ALERT_SENT)
        assert {(record.outcome or {})["channel"] for record in sent} == {"slack", "email", "pagerduty"}
        everything = repr([record.outcome for record in await world.records()])
        assert "hook-secret" not in everything
        assert "mail-secret" not in everything
        health = (await of_the_server(world.app.desk)).alerts
        assert health is not None
        assert health.configured == ("slack", "email", "pagerduty")
        assert health.concerns == ()


async def test_a_channel_that_hangs_delays_no_halt_and_gets_the_alert_when_it_is_back(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """AL-04, AL-06, KS-24: and while nobody is reached, nothing is opened and it is said everywhere."""
    async with (
        channels(clock) as fakes,
        running(tmp_path, gateway, clock, alert_unreachable_seconds=12, **fakes.settings, **KEYS) as world,
        calling(parts_of(world), clock) as caller,
    ):
        fakes.slack.hangs = True
        fakes.pagerduty.status = 503
        fakes.mail.takes = False
        before = clock.monotonic()
        assert (await world.call("emergency_stop", reason="a hanging channel"))["durable"]
        assert clock.monotonic() == before
        await until(world, lambda: fakes.slack.asked and fakes.pagerduty.asked > 1, hangs="slack")
        status = await world.call("get_safety_status")
        assert "ALERTS_UNREACHABLE" not in {cause["code"] for cause in status["causes"]}

        await until(world, lambda: world.app.alert_sender.unreachable, hangs="slack")
        assert clock.monotonic() - before >= 12
        status = await world.call("get_safety_status")
        cause = next(one for one in status["causes"] if one["code"] == "ALERTS_UNREACHABLE")
        assert (cause["state"], cause["ends"]) == ("OBSERVE", "by itself")

        assert "a critical alert reaches nobody" in status["alerts"]
        assert "ALERTS REACH NOBODY" in capsys.readouterr().err
        page = (await caller.ask("GET", "/metrics")).text
        assert "ibkr_alerts_unreachable 1.0" in page
        assert "ibkr_alerts_waiting 0.0" not in page

        fakes.repair()
        await until(world, lambda: fakes.slack.posts and fakes.pagerduty.posts and fakes.mail.mails)
        assert "a hanging channel" in texts(fakes.slack.posts)
        await until(world, lambda: world.app.alert_sender.unreachable is None)
        failed = [record.outcome or {} for record in await world.records(EventType.ALERT_FAILED)]
        assert {one["channel"] for one in failed} == {"slack", "email", "pagerduty", "all of them"}


async def test_a_hundred_equal_warnings_are_one_alert_and_a_summary(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AL-03: and the one that is an escalation is not among those that are counted."""
    async with channels(clock) as fakes, running(tmp_path, gateway, clock, **fakes.settings) as world:
        switch = world.app.desk.safety.kill_switch
        for number in range(100):
            await switch.activate(KillMode.HALT_ONLY, f"again {number}")
        await switch.activate(KillMode.LOCKDOWN, "worse")
        counted = "Before it 99 like it were counted."
        await until(world, lambda: len(fakes.pagerduty.posts) == 2 and counted in texts(fakes.slack.posts))
        assert "LOCKDOWN" in fakes.pagerduty.posts[1]["payload"]["summary"]
        await switch.activate(KillMode.LOCKDOWN, "and again")
        await clock.advance(2)
        assert len(fakes.pagerduty.posts) == 2
        clock.step_wall(timedelta(seconds=300))
        await until(world, lambda: "1 more of: stop of account" in texts(fakes.slack.posts))


async def test_a_channel_that_refuses_for_good_is_not_asked_again_and_nobody_is_reached(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """AL-06: until an alert arrives, be it about something else."""
    slack = WebHook(path="/services/revoked", status=404)
    async with (
        serving(slack),
        running(tmp_path, gateway, clock, alert_slack_webhook=slack.url, alert_unreachable_seconds=5) as world,
    ):
        switch, sender = world.app.desk.safety.kill_switch, world.app.alert_sender
        await switch.activate(KillMode.HALT_ONLY, "nobody hears it")
        await until(world, lambda: sender.unreachable)
        assert slack.asked <= 3  # the stop, that it was carried out, and no more
        given_up = [record.outcome["given_up"] for record in (await world.records(EventType.ALERT_FAILED))[:1]]
        assert given_up == [True]
        slack.status = 200
        await switch.activate(KillMode.HALT_ONLY, "another", scope="strategy:momentum")
        await until(world, lambda: slack.posts and sender.unreachable is None)
