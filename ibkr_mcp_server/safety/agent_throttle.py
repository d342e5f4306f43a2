"""Counts every attempt of an agent, refused ones included, and stops listening to one that runs in a loop (RL-10).

Cancelling, stopping and asking for the safety status are neither counted nor refused.
"""

from __future__ import annotations

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import ActorType, Operation, OperationClass
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.minute_window import MinuteWindow
from ibkr_mcp_server.store import agent_timeouts
from ibkr_mcp_server.store.database import Database

ALWAYS_HEARD = frozenset({OperationClass.ORDER_CANCELLATION, OperationClass.SAFETY_STATUS, OperationClass.SAFETY_STOP})
MOST_AGENTS = 1_000
"""More agents than this are not kept apart in memory."""

_log = get_logger(__name__)


class AgentThrottle:
    """Who asked how often, and who is in timeout."""

    def __init__(
        self, *, per_minute: int, timeout_seconds: float, database: Database, audit: AuditLog, clock: Clock
    ) -> None:
        self.per_minute = per_minute
        self._timeout_seconds = timeout_seconds
        self._database = database
        self._audit = audit
        self._clock = clock
        self._attempts: dict[str, MinuteWindow] = {}
        self._ends_at: dict[str, float] = {}
        """By agent, on the monotonic clock; an agent that is not in it was not looked up yet."""

    async def attempt(self, operation: Operation) -> float:
        """Count this attempt; seconds for which its agent is still in timeout, 0 when it is heard."""
        if operation.actor.type is not ActorType.AGENT or operation.operation_class in ALWAYS_HEARD:
            return 0.0
        agent = operation.actor.id
        if agent not in self._ends_at:
            await self._look_up(agent)
        now = self._clock.monotonic()
        left = self._ends_at.get(agent, 0.0) - now
        if left > 0:
            return left
        window = self._attempts.setdefault(agent, MinuteWindow(self._clock))
        if len(window) < self.per_minute:
            window.note()
            return 0.0
        window.clear()
        self._ends_at[agent] = now + self._timeout_seconds  # first, so that parallel attempts begin no second one
        await self._begin(operation)
        return self._timeout_seconds

    def used(self, agent: str) -> int:
        """Attempts of `agent` in the last minute."""
        window = self._attempts.get(agent)
        return 0 if window is None else len(window)

    async def _look_up(self, agent: str) -> None:
        """What an earlier run wrote down of this agent."""
        if len(self._ends_at) >= MOST_AGENTS:
            now = self._clock.monotonic()
            self._ends_at = {name: ends for name, ends in self._ends_at.items() if ends > now}
            self._attempts = {name: window for name, window in self._attempts.items() if window}
        try:
            left = await self._database.read(
                lambda c: agent_timeouts.left_seconds(c, self._clock, agent, self._timeout_seconds)
            )
        except (ProductError, OSError) as error:
            _log.error("the timeout of an agent could not be read", error=str(error))
            return
        self._ends_at.setdefault(agent, self._clock.monotonic() + left if left else 0.0)

    async def _begin(self, operation: Operation) -> None:
        event = AuditEvent(
            type=EventType.SAFETY_VIOLATION,
            actor=operation.actor,
            operation_type=operation.operation_class,
            tool=operation.tool,
            outcome={
                "code": Code.AGENT_THROTTLED,
                "attempts_per_minute": self.per_minute,
                "timeout_seconds": self._timeout_seconds,
            },
        )

        def work(connection: Connection) -> None:
            agent_timeouts.begin(connection, self._clock, operation.actor.id, self.per_minute + 1)
            self._audit.append(connection, event)

        _log.warning("an agent is in timeout", agent=operation.actor.id, seconds=self._timeout_seconds)
        try:
            await self._database.run(work)
        except (ProductError, OSError) as error:  # the timeout holds in this run all the same
            _log.critical("the timeout of an agent could not be recorded", error=str(error))
