"""What the control API takes and gives, as JSON."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from ibkr_mcp_server.safety.kill_switch import KillStatus


class View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TriggerBody(BaseModel):
    """What a stop may say about itself; all of it is optional, and what cannot be used is left out with a warning."""

    reason: object = Field(default="unspecified", description="Text: why, for the people who will reset it.")
    triggered_by: object = Field(default=None, description="Text: a name, recorded as claimed.")
    mode: object = Field(default="HALT_ONLY", description="HALT_ONLY, CLOSE_POSITIONS or LOCKDOWN.")


class KillSwitchView(View):
    """The kill switch (KS-04)."""

    active: bool
    mode: str | None = None
    reason: str | None = None
    triggered_at: datetime | None = None
    actor: str | None = None
    auth: str | None = None
    scope: str = "account"
    repeats: int = 0
    sentinel_file: bool = False


class StopView(KillSwitchView):
    """The kill switch after a stop, and what the stop achieved."""

    first: bool
    durable: bool
    nothing_in_flight: bool = True
    replayed: bool = False
    warnings: list[str] = []


class ResetBody(BaseModel):
    """Why trading may resume, and who says so; a person decides."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)
    reset_by: str = Field(default="", max_length=100, description="A name, recorded as claimed.")


class Pending(View):
    """A request that waits for people."""

    approval_id: str
    state: str
    approvals_needed: int
    approved_by: list[str]
    expires_at: datetime
    next_step: str


class Ready(View):
    """Whether opening orders may be accepted."""

    ready: bool
    reasons: list[str]


def kill_switch_view(status: KillStatus) -> KillSwitchView:
    latch = status.latch
    return KillSwitchView(
        active=status.active,
        mode=str(latch.mode) if latch.active else None,
        reason=latch.reason if latch.active else None,
        triggered_at=latch.activated_at,
        actor=f"{latch.actor_type} {latch.actor_id}" if latch.active else None,
        auth=latch.auth if latch.active else None,
        scope=latch.scope,
        repeats=latch.repeats,
        sentinel_file=status.sentinel,
    )
