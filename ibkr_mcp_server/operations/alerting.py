"""Sends what the outbox holds: by the process that writes, each channel for itself, until it is taken (AL-04).

A channel takes its alerts one after the other, the most urgent first, so that the end of an incident never overtakes
its beginning. One that cannot be reached is tried again with growing pauses; no other channel, and nothing that trades,
waits for it. What is sent and not written down as sent, because the process ended, is sent again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from ibkr_mcp_server.alerts.channels import Channel, Unsent, channels_of, within
from ibkr_mcp_server.alerts.cooldown import is_cooling
from ibkr_mcp_server.alerts.rules import KILL_SWITCH
from ibkr_mcp_server.alerts.text import filled, quoted
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.alerts import Alert, Priority, Told
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.safety.callbacks import News
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.state import Cause, SafetyState
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import alerts
from ibkr_mcp_server.store.alerts import Waiting
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.schema import DeliveryState

LOOK_SECONDS = 1.0
"""How soon an alert that any process raised is seen."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""Between two attempts on a channel; each pause is twice the one before."""
GIVE_UP_AFTER = timedelta(hours=24)
KEPT = timedelta(days=30)
"""How long the outbox keeps what was sent; the audit log keeps that it was for good."""

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one look at the outbox found."""

    unrouted: tuple[Alert, ...]
    counted: tuple[Told, ...]
    """Subjects of which alerts were held back, and whose cooldown is over."""
    awaited: frozenset[str]
    unreached_since: datetime | None


class AlertSender:
    """The sender of one process."""

    def __init__(
        self,
        *,
        settings: Settings,
        channels: Sequence[Channel],
        database: Database,
        audit: AuditLog,
        clock: Clock,
        is_writer: Callable[[], bool],
    ) -> None:
        self._channels = {channel.name: channel for channel in channels}
        self._settings = settings
        self._database = database
        self._audit = audit
        self._clock = clock
        self._is_writer = is_writer
        self._late = timedelta(seconds=float(settings.alert_unreachable_seconds))
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._again_at: dict[str, float] = {}
        """By channel that could not be reached: when it is tried again."""
        self._pauses: dict[str, float] = {}
        self._unrecorded: list[Alert] = []
        """Stops that the store could not take, and so the outbox neither."""
        self._told_directly_at: float | None = None
        self.working = asyncio.Lock()
        """Held while the outbox is looked through."""
        self._settled = False
        """Nothing is to be done, and what came of all that was done is known."""
        self.unreachable: str | None = None
        """That a critical alert reaches nobody, and since when; None while alerts arrive (AL-06)."""

    @property
    def paused(self) -> frozenset[str]:
        """The channels that could not be reached and are tried again."""
        return frozenset(self._again_at)

    @property
    def sending(self) -> frozenset[str]:
        """The channels that an alert is being handed to just now."""
        return frozenset(name for name, task in self._sending.items() if not task.done())

    # ---- the job

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                self._tell_unrecorded()
                try:
                    await self.look()
                except Exception:  # whatever it is, the next alert must find its sender
                    _log.exception("the outbox of the alerts could not be looked through")
                await self._clock.sleep(LOOK_SECONDS)
        finally:
            for task in self._sending.values():
                task.cancel()
            await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def look(self) -> None:
        """Route what is new, and begin to send on every channel that something waits for."""
        async with self.working:
            await self._look()

    async def _look(self) -> None:
        if not self._is_writer():
            return
        is_idle = not await self._database.read(alerts.anything_to_do)
        if is_idle and self._settled:
            return
        seen = await self._database.read(self._seen)
        self._settled = is_idle and seen.unreached_since is None
        if seen.unrouted or seen.counted:
            seen = await self._database.run(self._route)
        await self._judge(seen.unreached_since)
        now = self._clock.monotonic()
        for name in seen.awaited:
            if name not in self.sending and now >= self._again_at.get(name, now):
                self._sending[name] = asyncio.create_task(self._empty(name), name=f"alerts-{name}")

    def _seen(self, connection: Connection) -> Seen:
        now, cooldown = self._clock.now(), float(self._settings.alert_cooldown_seconds)
        counted = (one for one in alerts.with_counted(connection) if not is_cooling(one, now, cooldown))
        return Seen(
            unrouted=tuple(alerts.unrouted(connection)),
            counted=tuple(counted),
            awaited=alerts.channels_awaited(connection),
            unreached_since=alerts.unreached_since(connection, untried_before=now - self._late),
        )

    def _route(self, connection: Connection) -> Seen:
        now = self._clock.now()
        alerts.forget(connection, before=now - KEPT)
        for told in self._seen(connection).counted:
            alerts.add(connection, _summary(told, now), told.subject)
            alerts.keep_told(connection, replace(told, told_at=now, suppressed=0, newest=""))
        for alert in alerts.unrouted(connection):
            taking = [name for name, channel in self._channels.items() if channel.takes(alert)]
            alerts.route(connection, alert, taking, now)
        return self._seen(connection)

    # ---- one channel

    async def _empty(self, name: str) -> None:
        """Hand over what waits for a channel until nothing does, or it takes no more."""
        try:
            while (waiting := await self._database.read(lambda c: alerts.next_waiting(c, name))) is not None:
                if not await self._deliver(name, waiting):
                    return
        except Exception:  # the next look begins anew
            _log.exception("the outbox of the alerts could not be used", channel=name)

    async def _deliver(self, name: str, waiting: Waiting) -> bool:
        """Whether the channel may be given the next one."""
        channel, alert = self._channels.get(name), waiting.alert
        if channel is None:
            await self._settle(name, waiting, DeliveryState.FAILED, "The channel is not set any more.")
            return True
        try:
            await within(channel.send(alert), self._clock)
        except Unsent as error:
            problem = hidden(str(error), self._settings)
            _log.warning("an alert was not taken", channel=name, number=alert.number, reason=problem)
            if error.for_good or self._clock.now() - alert.raised_at > GIVE_UP_AFTER:
                await self._settle(name, waiting, DeliveryState.FAILED, problem)
                return True
            pause = min(LONGEST_PAUSE_SECONDS, 2 * self._pauses.get(name, FIRST_PAUSE_SECONDS / 2))
            self._pauses[name], self._again_at[name] = pause, self._clock.monotonic() + pause
            await self._settle(name, waiting, DeliveryState.WAITING, problem)
            return False
        self._pauses.pop(name, None)
        self._again_at.pop(name, None)
        await self._settle(name, waiting, DeliveryState.SENT, None)
        return True

    async def _settle(self, name: str, waiting: Waiting, state: DeliveryState, problem: str | None) -> None:
        """Write down what came of an attempt; the first failure and the last are recorded, not those between."""
        alert, now = waiting.alert, self._clock.now()
        assert alert.number is not None

        def work(connection: Connection) -> None:
            alerts.settle(connection, alert.number or 0, name, state, problem, now)
            if state is not DeliveryState.WAITING or waiting.attempts == 0:
                attempts = waiting.attempts + 1
                self._audit.append(connection, delivery_event(alert, name, state, problem, attempts=attempts))

        await self._database.run(work)

    # ---- without the store

    def halted(self, news: News) -> None:
        """The kill switch's callback, on a thread of its own: what is durable is in the outbox already."""
        if news.get("durable"):
            return
        text = "Reason: {reason!q}. The stop holds by the stop file and in this process; the store needs attention."
        alert = Alert(
            number=None,
            raised_at=self._clock.now(),
            event=EventType.KILL_SWITCH_ACTIVATE,
            priority=Priority.CRITICAL,
            title="All trading is stopped, and the store could not record it",
            text=filled(text, news),
            incident=filled(KILL_SWITCH, {"scope": "account"}),
        )
        self._unrecorded.append(alert)

    def _tell_unrecorded(self) -> None:
        """At most one such alert for each cooldown: the watch repeats the stop as long as the store fails."""
        waiting, self._unrecorded = self._unrecorded[:1], []
        now, last = self._clock.monotonic(), self._told_directly_at
        if waiting and (last is None or now - last >= float(self._settings.alert_cooldown_seconds)):
            self._told_directly_at = now
            self._sending["unrecorded"] = asyncio.create_task(self._tell_directly(waiting[0]), name="alerts-unrecorded")

    async def _tell_directly(self, alert: Alert) -> None:
        left, pause = list(self._channels.values()), FIRST_PAUSE_SECONDS
        while left and self._clock.now() - alert.raised_at < GIVE_UP_AFTER:
            taken = await asyncio.gather(*(_try(channel, alert, self._clock, self._settings) for channel in left))
            left = [channel for channel, is_taken in zip(left, taken, strict=True) if not is_taken]
            if left:
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)

    # ---- nobody reached

    async def _judge(self, since: datetime | None) -> None:
        """AL-06: say wherever it can be seen that a critical alert reaches nobody."""
        if since is None or self._clock.now() - since < self._late or not self._channels:
            if self.unreachable is not None:
                _log.warning("alerts reach people again")
            self.unreachable = None
            return
        is_news = self.unreachable is None
        self.unreachable = (
            f"Since {since:%Y-%m-%d %H:%M:%S} UTC no alert reaches anybody, a critical one included; channels: "
            f"{', '.join(self._channels)}."
        )
        if is_news:
            _log.critical("alerts reach nobody", since=since)
            sys.stderr.write(f"ALERTS REACH NOBODY. {self.unreachable}\n")
            outcome = {"channel": "all of them", "since": since, "channels": list(self._channels)}
            await self._audit.record(AuditEvent(type=EventType.ALERT_FAILED, actor=SYSTEM, outcome=outcome))

    def causes(self) -> tuple[Cause, ...]:
        """What of it holds trading back."""
        if self.unreachable is None:
            return ()
        text = f"{self.unreachable} Nothing more is opened until one does."
        return (Cause(state=SafetyState.OBSERVE, code=Code.ALERTS_UNREACHABLE, reason=text, is_latch=False),)


async def tell_unopened(settings: Settings, clock: Clock, problem: str) -> None:
    """Tell people once that the store cannot be opened, which counts as stopped (KS-06); there is no outbox then."""
    alert = Alert(
        number=None,
        raised_at=clock.now(),
        event="STORE_UNREADABLE",
        priority=Priority.CRITICAL,
        title="The server cannot open its store, which counts as stopped",
        text=f"{quoted(problem)} Nothing can be traded; `ibkr-mcp-server status` tells what to do.",
        incident="store",
    )
    await asyncio.gather(*(_try(channel, alert, clock, settings) for channel in channels_of(settings, "unopened")))


async def _try(channel: Channel, alert: Alert, clock: Clock, settings: Settings) -> bool:
    try:
        await within(channel.send(alert), clock)
    except Unsent as error:
        reason = hidden(str(error), settings)
        _log.warning("an alert was not taken", channel=channel.name, title=alert.title, reason=reason)
        return False
    return True


def delivery_event(
    alert: Alert, channel: str, state: DeliveryState, problem: str | None, *, attempts: int
) -> AuditEvent:
    """What is recorded of one alert on one channel."""
    outcome = {
        "alert": alert.number,
        "event": alert.event,
        "priority": alert.priority,
        "title": alert.title,
        "channel": channel,
        "attempts": attempts,
        "problem": problem,
        "given_up": state is DeliveryState.FAILED,
    }
    event = EventType.ALERT_SENT if state is DeliveryState.SENT else EventType.ALERT_FAILED
    return AuditEvent(type=event, actor=SYSTEM, outcome=outcome)


def hidden(text: str, settings: Settings) -> str:
    """`text` without the secrets that a channel was given."""
    for secret in settings.secrets():
        text = text.replace(secret, "[redacted]")
    return text


def _summary(told: Told, now: datetime) -> Alert:
    return Alert(
        number=None,
        raised_at=now,
        event="SUMMARY",
        priority=told.priority if told.priority is not Priority.CRITICAL else Priority.HIGH,
        title=f"{told.suppressed} more of: {told.subject}",
        text=f"They came since {told.told_at:%H:%M:%S} UTC and were counted, not sent. The newest: {told.newest}",
    )
