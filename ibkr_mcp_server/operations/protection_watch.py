"""Warns of positions that no stop covers, a while before their exchange closes (TM-08).

Nothing is sold and nothing is held back: people are told, once for each close, and the status says it until a stop is
there or the exchange has closed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.domain.instruments import InstrumentQuery
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.stop_losses import Covered, coverage

LOOK_SECONDS = 60.0
LONG_PAUSE = timedelta(hours=24)
"""An exchange that stays closed for longer has a weekend or a holiday."""
SUBJECT = "unprotected positions"

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pause:
    """The time between two regular sessions of an exchange."""

    closes_at: datetime
    opens_at: datetime | None
    """None when the broker does not tell yet."""

    @property
    def over(self) -> str:
        is_long = self.opens_at is not None and self.opens_at - self.closes_at > LONG_PAUSE
        return "weekend or holiday" if is_long else "close"


class ProtectionWatch:
    """The job of the process that writes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._ahead = timedelta(minutes=desk.settings.unprotected_warning_minutes)
        self._told: set[tuple[str, int, datetime]] = set()
        """Account, contract and close of what was told already."""

    async def run(self) -> None:
        """Look until cancelled; without a warning time there is nothing to do."""
        while self._ahead:
            await self._desk.clock.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except (ProductError, OSError):
                _log.exception("the protection of the positions could not be looked at")

    async def look(self) -> None:
        """Tell of what is not covered and closes soon."""
        desk = self._desk
        if not desk.broker.link.is_up or not desk.safety.writer.is_writer:
            return
        now = desk.clock.now()
        self._told = {one for one in self._told if one[2] > now}
        found: dict[Pause, list[Covered]] = defaultdict(list)
        for one in coverage(desk.broker.known_orders(), desk.broker.known_positions() or ()):
            if one.uncovered and (pause := await self._pause_of(one.position, now)) is not None:
                found[pause].append(one)
        labels = ", ".join(one.position.instrument.label for several in found.values() for one in several)
        desk.notices.tell(
            SUBJECT, f"No stop covers {labels} in whole, and the exchange closes soon." if labels else None
        )
        for pause, several in found.items():
            await self._tell(pause, several)

    async def _pause_of(self, held: Position, now: datetime) -> Pause | None:
        """The pause that begins soon; None while the exchange is closed, or has time, or its hours are not known."""
        instrument = await self._desk.broker.resolve(InstrumentQuery(symbol="", con_id=held.instrument.con_id))
        session = instrument.regular_session(now)
        if session is None or session.end - now > self._ahead:
            return None
        return Pause(closes_at=session.end, opens_at=instrument.next_regular_start(session.end - timedelta.resolution))

    async def _tell(self, pause: Pause, several: list[Covered]) -> None:
        keys = {(one.position.account, one.position.instrument.con_id, pause.closes_at): one for one in several}
        news = [one for key, one in keys.items() if key not in self._told]
        if not news:
            return
        outcome = {
            "over": pause.over,
            "closes_at": pause.closes_at,
            "opens_at": pause.opens_at,
            "positions": [
                {
                    "account": one.position.account,
                    "label": one.position.instrument.label,
                    "text": f"{one.uncovered:f} of {one.position.quantity:f} without a stop",
                }
                for one in news
            ],
        }
        await self._desk.audit.record(AuditEvent(type=EventType.POSITIONS_UNPROTECTED, actor=SYSTEM, outcome=outcome))
        self._told |= keys.keys()
