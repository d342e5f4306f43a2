"""What proves a human operator: a passphrase that only they know (KS-16).

It is typed at a terminal, never an argument or an environment variable. On disk there is only a salted scrypt hash, in
a file of its own beside the store. Wrong attempts are counted durably; five in a row lock the door for 15 minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.state_dir import write_private
from ibkr_mcp_server.store import operator_attempts
from ibkr_mcp_server.store.database import Database

SHORTEST_PASSPHRASE = 12
_COST = {"n": 2**15, "r": 8, "p": 1}
"""scrypt parameters of RFC 7914's interactive class: about 32 MiB and 0.1 s for each attempt."""


@dataclass(frozen=True, kw_only=True)
class OperatorProof:
    """A human proved themselves a moment ago; only `OperatorDoor.open` makes one."""

    actor: Actor


class OperatorDoor:
    """Sets and verifies the operator's passphrase."""

    def __init__(self, *, path: Path, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._path = path
        self._database = database
        self._audit = audit
        self._clock = clock

    @property
    def has_passphrase(self) -> bool:
        return self._path.exists()

    async def set_passphrase(self, passphrase: str, *, claimed_name: str) -> None:
        """Store a first passphrase; to change one, `open` the door first and then `replace_passphrase`.

        Raises:
            Refused: a passphrase exists, or the new one is too short.
        """
        if self.has_passphrase:
            raise Refused(
                "PASSPHRASE_EXISTS", "A passphrase is set already.", next_step="Give the current one to change it."
            )
        self._store(passphrase)
        await self._record("passphrase set", claimed_name)

    async def replace_passphrase(self, passphrase: str, proof: OperatorProof) -> None:
        self._store(passphrase)
        await self._record("passphrase replaced", proof.actor.id)

    async def open(self, passphrase: str, *, claimed_name: str) -> OperatorProof:
        """Prove the operator.

        Raises:
            Refused: no passphrase is set, it is wrong, or the door is locked after too many wrong ones.
        """
        if not self.has_passphrase:
            raise Refused(
                "NO_PASSPHRASE",
                "No operator passphrase is set, so nobody can be proved.",
                next_step="Run `ibkr-mcp-server operator set-passphrase` first.",
            )
        # Counted before it is judged, so that neither a crash nor parallel guessing gives an attempt away.
        before = await self._database.run(lambda connection: operator_attempts.begin(connection, self._clock))
        if before.locked:
            raise Refused(
                "OPERATOR_LOCKED",
                f"Too many wrong passphrases; the door stays locked for another {before.locked_for_seconds:.0f} s.",
                next_step="Wait, then type the right one. Stopping needs no passphrase.",
                retry_after_seconds=before.locked_for_seconds,
            )
        actor = Actor(type=ActorType.HUMAN, id=claimed_name, auth="passphrase")
        if not self._matches(passphrase):
            failures = before.failures + 1
            event = AuditEvent(type=EventType.AUTH_FAILED, actor=actor, outcome={"failures": failures})
            await self._audit.record(event)
            left = operator_attempts.MAX_FAILURES - failures
            raise Refused(
                "WRONG_PASSPHRASE",
                f"The passphrase is wrong; {left} more attempts before the door locks for 15 minutes.",
                next_step="Type the operator's passphrase.",
            )
        await self._database.run(operator_attempts.succeeded)
        return OperatorProof(actor=actor)

    def _store(self, passphrase: str) -> None:
        if len(passphrase) < SHORTEST_PASSPHRASE:
            raise Refused(
                "PASSPHRASE_TOO_SHORT",
                f"The passphrase has {len(passphrase)} characters; at least {SHORTEST_PASSPHRASE} are needed.",
                next_step="Choose a longer one, for instance four words.",
            )
        salt = secrets.token_bytes(16)
        record = {"scheme": "scrypt", **_COST, "salt": salt.hex(), "hash": _hash(passphrase, salt, _COST).hex()}
        write_private(self._path, json.dumps(record))

    def _matches(self, passphrase: str) -> bool:
        record = json.loads(self._path.read_text(encoding="utf-8"))
        cost = {name: int(record[name]) for name in _COST}
        return hmac.compare_digest(
            _hash(passphrase, bytes.fromhex(record["salt"]), cost), bytes.fromhex(record["hash"])
        )

    async def _record(self, what: str, claimed_name: str) -> None:
        actor = Actor(type=ActorType.HUMAN, id=claimed_name, auth="local-shell")
        event = AuditEvent(type=EventType.CONFIG_LOADED, actor=actor, outcome={"operator": what})
        await self._audit.record(event)


def _hash(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    return hashlib.scrypt(
        passphrase.encode("utf-8"), salt=salt, n=cost["n"], r=cost["r"], p=cost["p"], maxmem=128 * 1024 * 1024, dklen=32
    )
