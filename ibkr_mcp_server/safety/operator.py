"""What proves a human operator: their own passphrase, and a one-time code where they have one (KS-16, KS-19).

Both are typed at a terminal, never an argument or an environment variable. A role belongs to the credential; a name
that somebody types proves nothing (T-16). Wrong attempts are counted durably, over all names; five in a row lock the
door for 15 minutes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety import credentials
from ibkr_mcp_server.safety.credentials import SHORTEST_PASSPHRASE, Credential, CredentialFile
from ibkr_mcp_server.safety.roles import LEAST, Power, Role, may
from ibkr_mcp_server.store import operator_attempts
from ibkr_mcp_server.store.database import Database

__all__ = ["SHORTEST_PASSPHRASE", "OperatorDoor", "OperatorProof"]


@dataclass(frozen=True, kw_only=True)
class OperatorProof:
    """A human proved themselves a moment ago; only `OperatorDoor.open` makes one."""

    actor: Actor
    role: Role

    def require(self, power: Power) -> None:
        """Raise Refused unless the role has `power`; `OperatorDoor.open` has recorded it where a person was asked."""
        if not may(self.role, power):
            raise role_too_low(self.actor.id, self.role, power)


def role_too_low(name: str, role: Role, power: Power) -> Refused:
    return Refused(
        "ROLE_TOO_LOW",
        f"{name} has the role {role}; to {power.value} takes {LEAST[power]} at least.",
        next_step=f"Ask somebody with the role {LEAST[power]}: `ibkr-mcp-server operator list` tells who has it.",
    )


class OperatorDoor:
    """Proves operators, and keeps their credentials."""

    def __init__(self, *, path: Path, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._file = CredentialFile(path)
        self._database = database
        self._audit = audit
        self._clock = clock

    @property
    def has_passphrase(self) -> bool:
        """Whether anybody can be proved."""
        return self._file.exists

    def operators(self) -> tuple[Credential, ...]:
        """Everybody with a credential, by name."""
        return tuple(credential for _, credential in sorted(self._file.read().items()))

    def find(self, name: str) -> Credential | None:
        return self._file.read().get(name)

    # ---- proving

    async def open(
        self, passphrase: str, *, claimed_name: str, power: Power = Power.LOOK, code: str | None = None
    ) -> OperatorProof:
        """Prove the operator who says to be `claimed_name` and wants to use `power`.

        Raises:
            Refused: nobody can be proved yet, name and proof do not belong together, the role does not reach, or the
                door is locked after too many wrong attempts.
        """
        if not self.has_passphrase:
            raise nobody_yet()
        # Counted before it is judged, so that neither a crash nor parallel guessing gives an attempt away.
        before = await self._database.run(lambda connection: operator_attempts.begin(connection, self._clock))
        if before.locked:
            raise Refused(
                "OPERATOR_LOCKED",
                f"Too many wrong passphrases; the door stays locked for another {before.locked_for_seconds:.0f} s.",
                next_step="Wait, then type the right one. Stopping needs no passphrase.",
                retry_after_seconds=before.locked_for_seconds,
            )
        found = self.find(claimed_name)
        auth = self._proved_by(found, passphrase, code)
        if found is None or auth is None:
            raise await self._wrong(claimed_name, failures=before.failures + 1)
        await self._database.run(operator_attempts.succeeded)
        actor = Actor(type=ActorType.HUMAN, id=found.name, auth=auth)
        if not may(found.role, power):
            outcome = {"role": found.role, "wanted": power.value, "needs": LEAST[power]}
            await self._audit.record(AuditEvent(type=EventType.AUTH_FAILED, actor=actor, outcome=outcome))
            raise role_too_low(found.name, found.role, power)
        return OperatorProof(actor=actor, role=found.role)

    def _proved_by(self, found: Credential | None, passphrase: str, code: str | None) -> str | None:
        """What proved the person; None when something was wrong. A code is used up by this."""
        opened = credentials.opened(found, passphrase)
        if found is None or opened is None:
            return None
        if opened.code_key is None:
            return "passphrase"
        with self._file.changing() as everybody:
            stored = everybody.get(found.name)
            if stored is None or stored.hash != found.hash:
                return None  # removed or changed while they typed
            step = credentials.fresh_step(opened.code_key, code or "", after=stored.code_step, now=self._clock.now())
            if step is None:
                return None
            everybody[found.name] = replace(stored, code_step=step)
        return "passphrase and code"

    async def _wrong(self, claimed_name: str, *, failures: int) -> Refused:
        claimed = Actor(type=ActorType.HUMAN, id=claimed_name[:60], auth="claimed")
        event = AuditEvent(type=EventType.AUTH_FAILED, actor=claimed, outcome={"failures": failures})
        await self._audit.record(event)
        left = operator_attempts.MAX_FAILURES - failures
        return Refused(
            "WRONG_PASSPHRASE",
            f"There is no operator {claimed_name[:60]!r} with what was typed; {left} more attempts before the door "
            "locks for 15 minutes.",
            next_step="Type your own passphrase and, if you have one, a fresh one-time code; name yourself with "
            "--user. `ibkr-mcp-server operator list` shows the names.",
        )

    # ---- keeping

    async def set_passphrase(self, passphrase: str, *, claimed_name: str) -> None:
        """The first credential: whoever sets it is an admin. Everybody else is added by one.

        Raises:
            Refused: somebody has a credential already, or the passphrase is too short.
        """
        made = credentials.make(claimed_name, Role.ADMIN, passphrase, now=self._clock.now(), with_code=False)
        with self._file.changing() as everybody:
            if everybody:
                raise Refused(
                    "PASSPHRASE_EXISTS", "A passphrase is set already.", next_step="Give the current one to change it."
                )
            everybody[claimed_name] = made.credential
        first = Actor(type=ActorType.HUMAN, id=claimed_name, auth="local-shell")
        await self._record("first operator", first, made.credential)

    async def replace_passphrase(self, passphrase: str, old: str, proof: OperatorProof) -> None:
        """A new passphrase for the one who proved themselves; role and one-time code stay."""
        with self._file.changing() as everybody:
            before = everybody.get(proof.actor.id)
            opened = credentials.opened(before, old)
            if before is None or opened is None:
                raise Refused("WRONG_PASSPHRASE", "The current passphrase is not what was typed; nothing was changed.")
            after = credentials.sealed(
                before.name,
                before.role,
                passphrase,
                code_key=opened.code_key,
                since=before.since,
                code_step=before.code_step,
            )
            everybody[before.name] = after
        await self._record("passphrase replaced", proof.actor, after)

    async def add(
        self, name: str, role: Role, passphrase: str, proof: OperatorProof, *, with_code: bool = False
    ) -> str | None:
        """Add a person; returns the key of their one-time codes (base32), which is told only now.

        Raises:
            Refused: the name is taken or cannot be one, or the passphrase is too short.
        """
        proof.require(Power.MANAGE_OPERATORS)
        made = credentials.make(name, role, passphrase, now=self._clock.now(), with_code=with_code)
        with self._file.changing() as everybody:
            if name in everybody:
                raise Refused("OPERATOR_EXISTS", f"There is an operator {name} already.", next_step="Remove it first.")
            everybody[name] = made.credential
        await self._record("operator added", proof.actor, made.credential)
        return made.code_key

    async def remove(self, name: str, proof: OperatorProof) -> None:
        """Take a person's credential away.

        Raises:
            Refused: there is no such person, or nobody would be left who can manage the operators.
        """
        proof.require(Power.MANAGE_OPERATORS)
        with self._file.changing() as everybody:
            gone = everybody.pop(name, None)
            if gone is None:
                raise Refused("OPERATOR_UNKNOWN", f"There is no operator {name[:60]!r}.")
            if not any(may(left.role, Power.MANAGE_OPERATORS) for left in everybody.values()):
                raise Refused(
                    "LAST_ADMIN", f"{name} is the only admin; without one nobody could reset.", next_step="Add one."
                )
        await self._record("operator removed", proof.actor, gone)

    async def _record(self, what: str, actor: Actor, credential: Credential) -> None:
        outcome = {
            "operator": what,
            "name": credential.name,
            "role": credential.role,
            "one_time_code": credential.has_code,
        }
        await self._audit.record(AuditEvent(type=EventType.CONFIG_LOADED, actor=actor, outcome=outcome))


def nobody_yet() -> Refused:
    return Refused(
        "NO_PASSPHRASE",
        "No operator passphrase is set, so nobody can be proved.",
        next_step="Run: ibkr-mcp-server operator set-passphrase",
    )
