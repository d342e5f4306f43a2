"""The outbox of alerts: what was raised, which channels it waits for, and what was told of each subject."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, insert, or_, select, update

from ibkr_mcp_server.domain.alerts import Alert, Priority, Told
from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import DeliveryState, alert_deliveries, alert_subjects, alerts, meta


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An alert that a channel has not taken yet."""

    alert: Alert
    attempts: int


@dataclass(frozen=True, kw_only=True)
class ChannelState:
    """What the outbox tells of one channel."""

    channel: str
    waiting: int = 0
    given_up: int = 0
    problem: str | None = None
    """Why the oldest alert that waits was not taken."""
    last_sent_at: datetime | None = None


def installation(connection: Connection) -> str:
    """What tells the incidents of this store from those of other ones."""
    found = connection.execute(select(meta.c.value).where(meta.c.name == "store_id")).scalar_one()
    return str(found)[:8]


# ---- raising


def add(connection: Connection, alert: Alert, subject: str, *, routed: bool = False) -> int:
    """Put an alert into the outbox; its number."""
    number = 1 + (connection.execute(select(func.max(alerts.c.number))).scalar_one() or 0)
    row = {name: value for name, value in asdict(alert).items() if name != "number"}
    connection.execute(insert(alerts), {**row, "number": number, "subject": subject, "routed": routed})
    return number


def told_of(connection: Connection, subject: str) -> Told | None:
    row = connection.execute(select(alert_subjects).where(alert_subjects.c.subject == subject)).one_or_none()
    return None if row is None else Told(**row._mapping)


def keep_told(connection: Connection, told: Told) -> None:
    connection.execute(delete(alert_subjects).where(alert_subjects.c.subject == told.subject))
    connection.execute(insert(alert_subjects), asdict(told))


def with_counted(connection: Connection) -> list[Told]:
    """The subjects of which alerts were counted instead of sent."""
    found = connection.execute(select(alert_subjects).where(alert_subjects.c.suppressed > 0))
    return [Told(**row._mapping) for row in found]


# ---- delivering


def anything_to_do(connection: Connection) -> bool:
    """Whether something is to be routed, sent or summed up; one statement, because it is asked all the time."""
    found = select(
        or_(
            exists().where(alerts.c.routed.is_(False)),
            exists().where(alert_deliveries.c.state == DeliveryState.WAITING),
            exists().where(alert_subjects.c.suppressed > 0),
        )
    )
    return bool(connection.execute(found).scalar_one())


def unrouted(connection: Connection) -> list[Alert]:
    query = select(alerts).where(alerts.c.routed.is_(False)).order_by(alerts.c.number)
    return [_alert(row) for row in connection.execute(query)]


def route(connection: Connection, alert: Alert, channels: Collection[str], now: datetime) -> None:
    """Let `alert` wait for these channels."""
    connection.execute(update(alerts).where(alerts.c.number == alert.number).values(routed=True))
    _add_deliveries(connection, alert, channels, now, state=DeliveryState.WAITING, attempts=0)


def note_sent(connection: Connection, alert: Alert, channels: Collection[str], now: datetime) -> None:
    """These channels have taken `alert` already."""
    _add_deliveries(connection, alert, channels, now, state=DeliveryState.SENT, attempts=1)


def _add_deliveries(
    connection: Connection,
    alert: Alert,
    channels: Collection[str],
    now: datetime,
    *,
    state: DeliveryState,
    attempts: int,
) -> None:
    row = {"number": alert.number, "rank": alert.urgency.rank, "changed_at": now, "state": state, "attempts": attempts}
    for channel in channels:
        connection.execute(insert(alert_deliveries), {**row, "channel": channel})


def next_waiting(connection: Connection, channel: str) -> Waiting | None:
    """The most urgent alert that waits for `channel`, of several the oldest."""
    query = (
        select(alerts, alert_deliveries.c.attempts)
        .join(alert_deliveries, alerts.c.number == alert_deliveries.c.number)
        .where(alert_deliveries.c.channel == channel, alert_deliveries.c.state == DeliveryState.WAITING)
        .order_by(alert_deliveries.c.rank.desc(), alerts.c.number)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Waiting(alert=_alert(row), attempts=row.attempts)


def channels_awaited(connection: Connection) -> frozenset[str]:
    """The channels that alerts wait for."""
    query = select(alert_deliveries.c.channel).where(alert_deliveries.c.state == DeliveryState.WAITING).distinct()
    return frozenset(connection.execute(query).scalars())


def settle(
    connection: Connection, number: int, channel: str, state: DeliveryState, problem: str | None, now: datetime
) -> None:
    """Write down what came of one attempt."""
    of_it = (alert_deliveries.c.number == number) & (alert_deliveries.c.channel == channel)
    values = {"state": state, "problem": problem, "changed_at": now, "attempts": alert_deliveries.c.attempts + 1}
    connection.execute(update(alert_deliveries).where(of_it).values(**values))


def forget(connection: Connection, *, before: datetime) -> None:
    """Take out what was raised `before` and waits for nobody."""
    waiting = select(alert_deliveries.c.number).where(alert_deliveries.c.state == DeliveryState.WAITING)
    old = select(alerts.c.number).where(alerts.c.raised_at < before, alerts.c.routed, alerts.c.number.not_in(waiting))
    numbers = list(connection.execute(old).scalars())
    if numbers:
        connection.execute(delete(alert_deliveries).where(alert_deliveries.c.number.in_(numbers)))
        connection.execute(delete(alerts).where(alerts.c.number.in_(numbers)))


def unreached_since(connection: Connection, *, untried_before: datetime) -> datetime | None:
    """When the oldest critical alert was raised that no channel took, if no channel took any alert since.

    One that a channel has had no chance to take yet does not count, unless it was routed `untried_before`: what was
    raised while no server ran has just begun to go out.
    """
    is_untried = (alert_deliveries.c.state == DeliveryState.WAITING) & (alert_deliveries.c.attempts == 0)
    untried = select(alert_deliveries.c.number).where(is_untried, alert_deliveries.c.changed_at > untried_before)
    sent = select(alert_deliveries.c.number).where(alert_deliveries.c.state == DeliveryState.SENT)
    newest = select(func.max(alert_deliveries.c.changed_at)).where(alert_deliveries.c.state == DeliveryState.SENT)
    last_sent_at = connection.execute(newest).scalar_one()
    query = select(func.min(alerts.c.raised_at)).where(
        alerts.c.priority == Priority.CRITICAL,
        alerts.c.number.in_(select(alert_deliveries.c.number)),
        alerts.c.number.not_in(sent),
        alerts.c.number.not_in(untried),
    )
    if last_sent_at is not None:
        query = query.where(alerts.c.raised_at > last_sent_at)
    found: datetime | None = connection.execute(query).scalar_one()
    return found


def states(connection: Connection) -> list[ChannelState]:
    """What the outbox tells of the channels that it knows."""
    found: dict[str, dict[str, Any]] = {}  # Any: values of the fields
    for channel, state, count, changed_at in _COUNTED.rows(connection):
        of_channel = found.setdefault(channel, {})
        if state is DeliveryState.SENT:
            of_channel["last_sent_at"] = changed_at
        else:
            of_channel["waiting" if state is DeliveryState.WAITING else "given_up"] = count
    for channel, problem in _PROBLEMS.rows(connection):
        found[channel]["problem"] = problem
    return [ChannelState(channel=channel, **values) for channel, values in sorted(found.items())]


_COUNTED = Prepared(
    select(
        alert_deliveries.c.channel,
        alert_deliveries.c.state,
        func.count().label("number"),
        func.max(alert_deliveries.c.changed_at).label("changed_at"),
    ).group_by(alert_deliveries.c.channel, alert_deliveries.c.state)
)
_PROBLEMS = Prepared(
    select(alert_deliveries.c.channel, alert_deliveries.c.problem)
    .where(alert_deliveries.c.state == DeliveryState.WAITING, alert_deliveries.c.problem.is_not(None))
    .order_by(alert_deliveries.c.number.desc())
)
_FIELDS = frozenset(Alert.__dataclass_fields__)


def _alert(row: Row[Any]) -> Alert:  # Any: values of all the columns' types
    return Alert(**{name: value for name, value in row._mapping.items() if name in _FIELDS})
