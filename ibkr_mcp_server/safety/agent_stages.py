"""An agent that was halted and that a person let go on comes back in stages of its own (ST-09).

Its stage begins with the resume, at a quarter of the size, and is kept beside the generation of its stop: a later stop
begins anew. A person promotes it, as the stages of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from ibkr_mcp_server.clock import Clock, trading_day
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import latches, risk_records
from ibkr_mcp_server.store.breaker import Stage
from ibkr_mcp_server.store.schema import intents


@dataclass(frozen=True, kw_only=True)
class AgentStage:
    """Where one agent stands."""

    stage: Stage
    since: datetime | None = None
    """None at full size."""
    generation: int = 0
    """Of the stop that it comes back from."""


def stage_of(connection: Connection, agent: str) -> AgentStage:
    """The stage of an agent; FULL for one that was never halted."""
    stop = latches.current(connection, scopes.of_strategy(agent))
    if stop.generation <= latches.FIRST_GENERATION:
        return AgentStage(stage=Stage.FULL)
    kept = risk_records.read(connection, _name(agent))
    if kept is None or kept.record["generation"] != stop.generation:
        return AgentStage(stage=Stage.QUARTER, since=stop.changed_at, generation=stop.generation)
    return AgentStage(stage=Stage(kept.record["stage"]), since=kept.updated_at, generation=stop.generation)


def keep(connection: Connection, agent: str, stage: Stage, generation: int, now: datetime) -> None:
    risk_records.write(connection, _name(agent), {"stage": stage.value, "generation": generation}, now)


def against_promotion(
    connection: Connection, agent: str, at: AgentStage, clock: Clock, settings: Settings
) -> list[str]:
    """What stands against the next stage (RC-04); empty when a person may promote it."""
    if at.stage is Stage.FULL:
        return [f"{agent} trades at full size already."]
    found = []
    if latches.current(connection, scopes.of_strategy(agent)).active:
        found.append(f"{agent} is halted.")
    if at.since is None or trading_day(at.since) >= trading_day(clock.now()):
        found.append(f"The stage {at.stage} of {agent} has not lasted a trading day yet.")
    decided = connection.execute(
        select(func.count())
        .select_from(intents)
        .where(intents.c.actor_id == agent, intents.c.opening, intents.c.created_at > at.since)
    ).scalar_one()
    if decided < settings.stage_decisions:
        found.append(f"{decided} opening orders of {agent} in this stage; {settings.stage_decisions} are needed.")
    return found


def _name(agent: str) -> str:
    return f"stage:{agent}"
