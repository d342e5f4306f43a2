"""Coming back after a trip: what must hold before the breaker is reset, and the stages to full size (RC-01 to RC-07).

Works on the store alone, so that a person at a shell needs no part of the server. What only the server can see it
leaves there: the watch's newest figures, and the newest comparison with the broker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.reset import OBSTACLES, require_cool_down_over
from ibkr_mcp_server.safety import agent_stages
from ibkr_mcp_server.safety.agent_stages import AgentStage
from ibkr_mcp_server.safety.circuit_breaker import CircuitBreaker, enter
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import breaker, reconciliations, risk_records
from ibkr_mcp_server.store.breaker import Acknowledged, BreakerState, Mode, Stage
from ibkr_mcp_server.store.database import Database

WATCH = "watch"
"""Name of the record in which the watch keeps its newest figures."""
FRESH_SECONDS = 60.0
"""How old the watch's figures, and the newest comparison with the broker, may be at a reset."""
COMPARED_SECONDS = 600.0


async def reset_breaker(
    database: Database,
    audit: AuditLog,
    clock: Clock,
    settings: Settings,
    proof: OperatorProof,
    reason: str,
    *,
    acknowledge: Collection[str] = (),
) -> BreakerState:
    """Close the breaker for an admin who says why; `acknowledge` names triggers whose figure stays as it is.

    Raises:
        Refused: it is closed, the cool-down is not over, or something that is named stands against it.
    """
    proof.require(Power.RESET_BREAKER)
    _require_reason(reason)

    def work(connection: Connection) -> BreakerState:
        now = clock.now()
        before = breaker.current(connection)
        require_resettable(connection, before, now, acknowledge)
        stage = before.stage
        if before.loses_money or settings.stage_minor_pauses or not before.is_readable:
            stage = Stage.PAPER
        after = replace(
            before,
            is_open=False,
            mode=Mode.REDUCE,  # until all figures have been calm for a while
            opened_at=None,
            first=None,
            breaches={},
            earliest_reset=None,
            counting_since=now,
            acknowledged={**before.acknowledged, **_acknowledged(connection, acknowledge)},
        )
        if stage is not before.stage:
            after = enter(after, stage, now)
            outcome = {"stage": stage, "was": before.stage, "because": "reset after a loss"}
            audit.append(connection, AuditEvent(type=EventType.STAGE_CHANGE, actor=proof.actor, outcome=outcome))
        told = {
            "reason": reason,
            "breaches": [breach.text for breach in before.breaches.values()],
            "acknowledged": sorted(acknowledge),
            "stage": after.stage,
        }
        audit.append(connection, AuditEvent(type=EventType.CIRCUIT_BREAKER_RESET, actor=proof.actor, outcome=told))
        return breaker.store(connection, after, now)

    return await database.run(work)


async def promote_stage(
    database: Database, audit: AuditLog, clock: Clock, settings: Settings, proof: OperatorProof, reason: str
) -> BreakerState:
    """One stage up, for a senior who says why (RC-05).

    Raises:
        Refused: the stage has not lasted long enough, or something else stands against it.
    """
    proof.require(Power.PROMOTE_STAGE)
    _require_reason(reason)
    rules = CircuitBreaker(settings=settings, audit=audit, clock=clock)

    def work(connection: Connection) -> BreakerState:
        before = breaker.current(connection)
        if against := rules.against_promotion(before):
            raise Refused(
                "STAGE_NOT_RIPE",
                f"The stage {before.stage} cannot be promoted yet.",
                details=against,
                next_step="Wait; `stage show` tells how far it is.",
            )
        after = enter(before, before.stage.above, clock.now())
        outcome = {"stage": after.stage, "was": before.stage, "reason": reason}
        audit.append(connection, AuditEvent(type=EventType.STAGE_CHANGE, actor=proof.actor, outcome=outcome))
        return breaker.store(connection, after, clock.now())

    return await database.run(work)


async def promote_agent(
    database: Database, audit: AuditLog, clock: Clock, settings: Settings, proof: OperatorProof, reason: str, agent: str
) -> AgentStage:
    """One stage up for an agent that was halted, for a senior who says why (ST-09).

    Raises:
        Refused: the stage has not lasted long enough, or the agent is halted.
    """
    proof.require(Power.PROMOTE_STAGE)
    _require_reason(reason)

    def work(connection: Connection) -> AgentStage:
        before = agent_stages.stage_of(connection, agent)
        if against := agent_stages.against_promotion(connection, agent, before, clock, settings):
            raise Refused(
                "STAGE_NOT_RIPE",
                f"The stage {before.stage} of {agent} cannot be promoted yet.",
                details=against,
                next_step="Wait; `stage show --agent` tells how far it is.",
            )
        above = before.stage.above
        agent_stages.keep(connection, agent, above, before.generation, clock.now())
        outcome = {"agent": agent, "stage": above, "was": before.stage, "reason": reason}
        audit.append(connection, AuditEvent(type=EventType.STAGE_CHANGE, actor=proof.actor, outcome=outcome))
        return agent_stages.stage_of(connection, agent)

    return await database.run(work)


def require_resettable(
    connection: Connection, state: BreakerState, now: datetime, acknowledge: Collection[str]
) -> None:
    """Raise Refused, naming everything that stands against closing the breaker."""
    if not state.is_open:
        raise Refused("BREAKER_CLOSED", "The circuit breaker is closed; there is nothing to reset.")
    require_cool_down_over(state, now)
    if found := list(obstacles(connection, state, now, acknowledge)):
        raise Refused(
            "NOT_RESUMABLE",
            "The circuit breaker cannot be reset yet.",
            details=found,
            next_step="Repair what is named. A figure that will not recover soon is accepted with --acknowledge.",
        )


def obstacles(
    connection: Connection, state: BreakerState, now: datetime, acknowledge: Collection[str]
) -> Iterator[str]:
    """RC-02, each with the name of what is checked."""
    for obstacle in OBSTACLES:
        yield from obstacle(connection, ACCOUNT)
    watch = risk_records.read(connection, WATCH)
    if watch is None or (now - watch.updated_at).total_seconds() > FRESH_SECONDS:
        told = "never said" if watch is None else f"last said {(now - watch.updated_at).total_seconds():.0f} s ago"
        yield f"Data: the server's watch {told} how things stand. Start the server, connected to the broker."
        return
    yield from (f"Invariants: {text}" for text in watch.record["broken_invariants"])
    yield from (f"Reconciliation: {text}" for text in watch.record["findings"])
    newest = reconciliations.newest(connection)
    if newest is None or (now - newest.last_at).total_seconds() > COMPARED_SECONDS:
        yield "Reconciliation: the records have not been compared with the broker's in the last ten minutes."
    if watch.record["missing"]:
        yield f"Data: {watch.record['missing']}."
    yield from _causes(state, watch.record["readings"], acknowledge)


def _causes(
    state: BreakerState, readings: Mapping[str, Mapping[str, Any]], acknowledge: Collection[str]
) -> Iterator[str]:
    """What opened the breaker and is still beyond its warning; a clock that is wrong is one of them."""
    tripped = {key for key, breach in state.breaches.items() if breach.level != "WARN"}
    for key, one in readings.items():
        trigger = key.partition(":")[0]
        if one["level"] != "NONE" and (key in tripped or one["level"] != "WARN") and trigger not in acknowledge:
            yield f"Cause: {one['text']} is still at {one['level']} (accept it with --acknowledge {trigger})."


def _acknowledged(connection: Connection, acknowledge: Collection[str]) -> dict[str, Acknowledged]:
    watch = risk_records.read(connection, WATCH)
    readings = {} if watch is None else watch.record["readings"]
    return {
        key: Acknowledged(level=one["level"], observed=Decimal(one["observed"]))
        for key, one in readings.items()
        if key.partition(":")[0] in acknowledge and one["level"] != "NONE"
    }


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Refused("REASON_MISSING", "This needs a reason.", next_step="Say in a sentence why.")
