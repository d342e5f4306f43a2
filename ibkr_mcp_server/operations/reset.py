"""Ending a stop: what must hold before trading may resume (KS-15)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from sqlalchemy import Connection

from ibkr_mcp_server.audit.verify import verify
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.operations import BY_THRESHOLD, Actor
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.approval_queue import DUAL_SECONDS, ApprovalQueue
from ibkr_mcp_server.safety.kill_switch import KillSwitch, power_to_end
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.settings.broker import BrokerMode
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import approvals, breaker, intents, latches, reconciliations
from ibkr_mcp_server.store.approvals import Approval, Asked
from ibkr_mcp_server.store.breaker import BreakerState
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.latches import Latch

RESET = "reset"
"""Kind of the request for a second person."""


async def reset_kill_switch(
    database: Database,
    kill_switch: KillSwitch,
    proof: OperatorProof,
    reason: str,
    *,
    settings: Settings,
    queue: ApprovalQueue,
    clock: Clock,
    scope: str = ACCOUNT,
) -> Latch:
    """Clear a kill switch for a human who proved themselves and says why.

    Raises:
        SecondPersonNeeded: it takes two people, and this was the first.
        Refused: the switch is off, the reason is missing, the cool-down is not over, or something stands against it.
    """
    if not reason.strip():
        raise Refused(
            "REASON_MISSING", "A reset needs a reason.", next_step="Say in a sentence why trading may resume."
        )
    check_resumable(database, scope, clock=clock)
    latch = database.read_blocking(lambda connection: latches.current(connection, scope))
    if not needs_two_people(settings, latch):
        return await kill_switch.clear(proof, reason, scope=scope)
    subject, power = _subject(latch), power_to_end(scope)
    await queue.two_people(RESET, subject, terms=_terms(latch), reason=reason, power=power, proof=proof)

    def consent(connection: Connection) -> Mapping[str, object]:
        # Of the latch as it is now: an approval of an earlier stop does not end a later one.
        used = queue.use(connection, RESET, _subject(latches.current(connection, scope)))
        if used is None:
            raise Refused("APPROVAL_OVERTAKEN", "The switch was used again since it was approved; ask anew.")
        return {"approval": used.approval_id, "approved_by": [vote.principal for vote in used.votes]}

    return await kill_switch.clear(proof, reason, scope=scope, consent=consent)


def ask_for_reset(
    connection: Connection,
    queue: ApprovalQueue,
    latch: Latch,
    actor: Actor,
    reason: str,
    *,
    settings: Settings,
    clock: Clock,
) -> Approval:
    """Queue a reset that people must approve, from a door that proves nobody; the same stop is asked for once."""
    subject = _subject(latch)
    found = approvals.for_subject(connection, clock, RESET, subject)
    if found is not None:
        return found
    asked = Asked(
        kind=RESET,
        subject=subject,
        terms=_terms(latch),
        reason=reason,
        power=power_to_end(latch.scope).value,
        needed=2 if needs_two_people(settings, latch) else 1,
        seconds=DUAL_SECONDS,
    )
    return queue.ask(connection, asked, actor)


def needs_two_people(settings: Settings, latch: Latch) -> bool:
    """KS-17: a reset of the account or an instrument in live mode, and any one after a KILL threshold."""
    is_reset = scopes.strategy_of(latch.scope) is None
    return (is_reset and settings.broker_mode is BrokerMode.LIVE) or latch.auth == BY_THRESHOLD


def _subject(latch: Latch) -> dict[str, object]:
    return {"scope": latch.scope, "generation": latch.generation}


def _terms(latch: Latch) -> tuple[str, ...]:
    since = "" if latch.activated_at is None else f" since {latch.activated_at:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"End the stop {latch.mode} of the {latch.scope}{since}.",
        f"It was made by {latch.actor_id}: {latch.reason}",
    )


def check_resumable(database: Database, scope: str = ACCOUNT, *, clock: Clock) -> None:
    """Raise Refused, naming everything that stands against a reset. Blocks."""
    database.read_blocking(lambda connection: _require_cool_down_of_kill(connection, scope, clock.now()))
    found = database.read_blocking(
        lambda connection: [text for obstacle in OBSTACLES for text in obstacle(connection, scope)]
    )
    if found:
        raise Refused(
            "NOT_RESUMABLE",
            "Trading cannot resume yet.",
            details=found,
            next_step="Start the server, so that it asks the broker for lost orders and compares the records; "
            "`status --safety` shows the rest.",
        )


def _require_cool_down_of_kill(connection: Connection, scope: str, now: datetime) -> None:
    """RC-01: what a KILL threshold stopped for lost money stays stopped until the next trading day."""
    if scope == ACCOUNT and latches.current(connection, scope).auth == BY_THRESHOLD:
        require_cool_down_over(breaker.current(connection), now)


def require_cool_down_over(state: BreakerState, now: datetime) -> None:
    """Raise Refused, with what is left of it, while the cool-down after a loss lasts (RC-01)."""
    if state.earliest_reset is None or now >= state.earliest_reset:
        return
    left = (state.earliest_reset - now).total_seconds()
    raise Refused(
        "COOLING_DOWN",
        f"After a loss trading stays stopped until {state.earliest_reset:%Y-%m-%d %H:%M} UTC, another "
        f"{left / 60:.0f} minutes.",
        next_step="Use the time to find out what happened; then reset.",
        retry_after_seconds=left,
    )


def _audit_log(connection: Connection, scope: str) -> Iterator[str]:
    report = verify(connection)
    if not report.ok:
        yield f"The audit log does not verify: {report.reason}"


def _unknown_orders(connection: Connection, scope: str) -> Iterator[str]:
    for intent in intents.unresolved(connection):
        # A lost change or cancellation holds back its own instrument only.
        if intent.kind == "place":
            yield (
                f"The outcome of an order is unknown: {intent.side} {intent.quantity:f} {intent.symbol} "
                f"({intent.state}, client_request_id {intent.request_key})."
            )


def _comparison(connection: Connection, scope: str) -> Iterator[str]:
    """KS-15: our records and the broker's agree, and the invariants of a start hold, as found after the stop."""
    report = reconciliations.newest(connection)
    if report is None and not intents.actors(connection):
        return  # nothing was ever sent from here, and no broker was ever asked
    stopped_at = latches.current(connection, scope).activated_at
    if report is None or (stopped_at is not None and report.last_at <= stopped_at):
        yield "Our records were not compared with the broker's since the stop."
        return
    if not report.clean:
        yield f"Our records and the broker's disagree: {' '.join(report.differences)}"
    for broken in report.report.get("broken_invariants", ()):
        yield f"An invariant of the start does not hold: {broken}"


Obstacle = Callable[[Connection, str], Iterator[str]]
"""Says what stands against ending the stop of a scope, a sentence for each."""

OBSTACLES: tuple[Obstacle, ...] = (_audit_log, _unknown_orders, _comparison)
