"""Judges signed requests: who asks, may they, and did they ask this before (SIG-01 to SIG-06).

A request without a valid signature costs one HMAC and never touches the store, so that a flood of them cannot stand
before a stop. Failures are recorded, each kind at once and then at most once a minute with their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.control.keys import Key, Role
from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.control.signature import Headers, Signed, content, fingerprint, read_headers, signer
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.store import nonces

TOLERANCE_SECONDS = 300
FAILURES_RECORDED_EVERY_SECONDS = 60.0

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who signed a request."""

    key: Key
    replayed: bool = False
    """The identical request was answered before; it may only be told what holds, and changes nothing."""

    @property
    def actor(self) -> Actor:
        """The authenticated key, whatever name the body claims (SIG-08)."""
        return Actor(type=ActorType.SYSTEM, id=self.key.id, auth="hmac")


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """Why a request was turned away; told to the audit log and never to the caller."""

    why: str
    key_id: str | None = None
    """The key that signed, all the same."""


class Door:
    """Lets signed requests in, each once."""

    def __init__(self, parts: Parts, keys: Sequence[Key]) -> None:
        self._parts = parts
        self._keys = tuple(keys)
        self._failures = _Failures(parts)

    @property
    def refused(self) -> Mapping[str, int]:
        """How many requests were turned away in this run, by reason."""
        return self._failures.totals

    async def judge(self, role: Role, method: str, target: str, headers: Headers, body: bytes) -> Caller | None:
        """The caller, or None for every reason not to listen."""
        signed = read_headers(headers)
        if signed is None:
            await self._failures.note(_Failure(why="unsigned"), role)
            return None
        message = content(signed, method, target, body)
        key = signer(signed, message, self._keys)
        if key is None:
            await self._failures.note(_Failure(why="signature"), role)
            return None
        failure = self._objection(signed, key, role)
        if failure is not None:
            await self._failures.note(failure, role)
            return None
        return await self._once(key, signed, fingerprint(message))

    def _objection(self, signed: Signed, key: Key, role: Role) -> _Failure | None:
        now = self._parts.clock.now()
        if abs(now.timestamp() - signed.timestamp) > TOLERANCE_SECONDS:
            return _Failure(why="timestamp", key_id=key.id)
        if not key.holds_at(now):
            return _Failure(why="key not in force", key_id=key.id)
        return None if key.role is role else _Failure(why=f"a {key.role} key", key_id=key.id)

    async def _once(self, key: Key, signed: Signed, digest: str) -> Caller | None:
        parts, now = self._parts, self._parts.clock.now()

        def claim(connection: Connection) -> tuple[str | None, bool]:
            earlier = nonces.use(connection, key.role, signed.id, digest, now)
            return earlier, earlier is not None and parts.kill_switch.status(connection).active

        try:
            earlier, active = await parts.database.run(claim)
        except (ProductError, OSError):
            _log.exception("the id of a signed request could not be stored", key=key.id)
            # A stop does not wait for a disk; everything else does.
            return Caller(key=key) if key.role is Role.TRIGGER else None
        if earlier is None:
            return Caller(key=key)
        if key.role is Role.TRIGGER and active and earlier == digest:
            return Caller(key=key, replayed=True)
        await self._failures.note(_Failure(why="replayed", key_id=key.id), key.role)
        return None


class _Failures:
    """Counts what was turned away, and records it without letting a flood through to the store."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._recorded_at: dict[str, float] = {}
        self._since: dict[str, int] = {}
        self.totals: dict[str, int] = {}

    async def note(self, failure: _Failure, role: Role) -> None:
        self._since[failure.why] = self._since.get(failure.why, 0) + 1
        self.totals[failure.why] = self.totals.get(failure.why, 0) + 1
        now, last = self._parts.clock.monotonic(), self._recorded_at.get(failure.why)
        if last is not None and now - last < FAILURES_RECORDED_EVERY_SECONDS:
            return
        self._recorded_at[failure.why] = now
        count, self._since[failure.why] = self._since[failure.why], 0
        actor = Actor(
            type=ActorType.SYSTEM, id="unknown" if failure.key_id is None else failure.key_id[:40], auth="none"
        )
        outcome = {"door": "control API", "wanted": role, "reason": failure.why, "requests": count}
        try:
            await self._parts.audit.record(AuditEvent(type=EventType.AUTH_FAILED, actor=actor, outcome=outcome))
        except (ProductError, OSError):
            _log.exception("failed authentications could not be recorded")
