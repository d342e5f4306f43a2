"""The outbox of alerts: durable with what it tells of, routed once, taken in order."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from ibkr_mcp_server.alerts.outbox import Outbox
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog, tail
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.alerts import Priority
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.store import alerts
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.schema import DeliveryState
from tests.stores import OPERATOR

STOP = {"scope": "account", "mode": "HALT_ONLY", "reason": "a test of account U1234567"}


def log_of(database: Database, clock: ManualClock) -> AuditLog:
    hears = Outbox(load_settings(environ={}), clock).hears
    session = "00000000-0000-4000-8000-000000000001"
    return AuditLog(database, session_id=session, config_hash="c", clock=clock, hears=hears)


def event(type: EventType, **outcome: object) -> AuditEvent:
    return AuditEvent(type=type, actor=OPERATOR, outcome=outcome)


async def test_an_alert_is_raised_with_its_record_and_handed_over_the_most_urgent_first(
    database: Database, clock: ManualClock
) -> None:
    """AL-04, SEC-05."""
    log = log_of(database, clock)
    await log.record(event(EventType.LINK_DOWN, text="gone", code=None))
    stop = await log.record(event(EventType.KILL_SWITCH_ACTIVATE, **STOP))
    await log.record(event(EventType.DECISION, verdict="approved"))
    raised = await database.read(alerts.unrouted)
    assert [(one.event, one.priority) for one in raised] == [
        ("LINK_DOWN", Priority.HIGH),
        ("KILL_SWITCH_ACTIVATE", Priority.CRITICAL),
    ]
    assert raised[1].audit_seq == stop.seq
    assert "1234567" not in raised[1].text

    def deliver(connection: Connection) -> list[int | None]:
        for one in raised:
            alerts.route(connection, one, ["slack"], clock.now())
        order = []
        while (waiting := alerts.next_waiting(connection, "slack")) is not None:
            order.append(waiting.alert.number)
            alerts.settle(connection, waiting.alert.number or 0, "slack", DeliveryState.SENT, None, clock.now())
        return order

    assert await database.run(deliver) == [2, 1]
    assert await database.read(alerts.unrouted) == []
    (slack,) = await database.read(alerts.states)
    assert (slack.waiting, slack.given_up, slack.last_sent_at) == (0, 0, clock.now())


async def test_a_critical_alert_that_no_channel_took_is_known_until_one_takes_any(
    database: Database, clock: ManualClock
) -> None:
    """AL-06."""
    await log_of(database, clock).record(event(EventType.KILL_SWITCH_ACTIVATE, **STOP))
    (stop,) = await database.read(alerts.unrouted)
    clock.step_wall(timedelta(hours=1))  # no server ran meanwhile

    async def unreached() -> datetime | None:
        late = clock.now() - timedelta(seconds=60)
        return await database.read(lambda c: alerts.unreached_since(c, untried_before=late))

    assert await unreached() is None  # nobody was to be reached
    await database.run(lambda c: alerts.route(c, stop, ["slack", "email"], clock.now()))
    await database.run(lambda c: alerts.settle(c, 1, "slack", DeliveryState.FAILED, "no", clock.now()))
    assert await unreached() is None  # the other channel has it in hand
    clock.step_wall(timedelta(seconds=60))
    assert await unreached() == stop.raised_at
    await database.run(lambda c: alerts.settle(c, 1, "email", DeliveryState.WAITING, "no answer", clock.now()))
    assert await unreached() == stop.raised_at
    clock.step_wall(timedelta(seconds=1))
    await database.run(lambda c: alerts.settle(c, 1, "email", DeliveryState.SENT, None, clock.now()))
    assert await unreached() is None


async def test_a_broken_outbox_takes_no_stop_back(first_url: str, clock: ManualClock) -> None:
    """AL-04."""
    database = Database.open(first_url)
    await database.run(lambda connection: connection.execute(text("DROP TABLE alerts")))
    log = log_of(database, clock)
    await log.record(event(EventType.KILL_SWITCH_ACTIVATE, **STOP))
    await log.record(AuditEvent(type=EventType.SERVER_STOP, actor=SYSTEM))
    kept = await database.read(lambda connection: tail(connection, 10))
    assert [record.event_type for record in kept] == [EventType.KILL_SWITCH_ACTIVATE, EventType.SERVER_STOP]
    database.close()


async def test_what_is_old_and_waits_for_nobody_is_forgotten_and_what_waits_is_kept(
    database: Database, clock: ManualClock
) -> None:
    """AL-04: the outbox does not grow for ever, and loses nothing that a channel has yet to take."""
    log = log_of(database, clock)
    await log.record(event(EventType.LINK_DOWN, text="gone", code=None))
    await log.record(event(EventType.KILL_SWITCH_ACTIVATE, **STOP))
    sent, waits = await database.read(alerts.unrouted)

    def deliver_the_first(connection: Connection) -> None:
        for one in (sent, waits):
            alerts.route(connection, one, ["slack"], clock.now())
        alerts.settle(connection, sent.number or 0, "slack", DeliveryState.SENT, None, clock.now())

    def numbers(connection: Connection) -> list[int]:
        return list(connection.execute(text("SELECT number FROM alerts")).scalars())

    await database.run(deliver_the_first)
    for before, left in ((clock.now(), [sent.number, waits.number]), (clock.now() + timedelta(1), [waits.number])):
        await database.run(lambda connection, before=before: alerts.forget(connection, before=before))  # type: ignore[misc]  # the loop's time
        assert await database.read(numbers) == left
