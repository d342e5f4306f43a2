"""How the alerts fare, as every status and the metrics tell it (MON-01); read from the store, for a shell, too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from ibkr_mcp_server.settings.alerts import channels_set
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import alerts
from ibkr_mcp_server.store.alerts import ChannelState


@dataclass(frozen=True, kw_only=True)
class AlertHealth:
    """Whether alerts reach people."""

    configured: tuple[str, ...]
    channels: tuple[ChannelState, ...]
    """Those that something was sent to, or waits for."""
    unreachable_since: datetime | None
    """Since when a critical alert has reached nobody; None while all arrive, or no channel is set."""

    @property
    def concerns(self) -> tuple[str, ...]:
        """What people should know."""
        found = [
            f"Alerts do not go out by {one.channel} ({one.waiting} wait): {one.problem}"
            for one in self.channels
            if one.problem is not None and one.channel in self.configured
        ]
        if self.unreachable_since is not None:
            since = f"{self.unreachable_since:%Y-%m-%d %H:%M:%S}"
            found.insert(0, f"Since {since} UTC a critical alert reaches nobody; see `ibkr-mcp-server test-alert`.")
        return tuple(found)

    @property
    def summary(self) -> str:
        """All of it in a sentence or two."""
        waiting = sum(one.waiting for one in self.channels)
        return " ".join((f"{self.in_words}; {waiting} waiting.", *self.concerns))

    @property
    def in_words(self) -> str:
        return ", ".join(self.configured) if self.configured else "no channel is set"


def alert_health(
    connection: Connection, settings: Settings, now: datetime, configured: tuple[str, ...] | None = None
) -> AlertHealth:
    """How the alerts fare at `now`; `configured` are the channels of another process, whose secrets are not known."""
    if configured is None:
        configured = channels_set(settings)
    late = now - timedelta(seconds=float(settings.alert_unreachable_seconds))
    since = alerts.unreached_since(connection, untried_before=late) if configured else None
    is_late = since is not None and since <= late
    return AlertHealth(
        configured=configured,
        channels=tuple(alerts.states(connection)),
        unreachable_since=since if is_late else None,
    )
