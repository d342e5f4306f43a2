"""How often an agent may ask at all (RL-10), read the account, and change working orders (RL-11)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.checks.order_rate import wait_for_room
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.safety.state import Action


@dataclass(frozen=True, kw_only=True)
class AgentTimeout:
    """Refuses everything of an agent that is in timeout; the classes that are always heard do not have this rule."""

    per_minute: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        left = seen.observed.timeout_seconds
        if not left:
            return PASSED
        limit = f"{self.per_minute} attempts per 60 s, refused ones included"
        text = f"{operation.actor.id!r} asked more often than {limit}, and is in timeout for another {left:.0f} s."
        return beyond(problem(Code.AGENT_THROTTLED, text, limit=limit, retry_after_seconds=round(left, 3)))


@dataclass(frozen=True, kw_only=True)
class AccountReadRate:
    """Admits `per_minute` reads of account and orders in any 60 seconds."""

    per_minute: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        ages = seen.recorded.account_read_ages_seconds
        observed, limit = f"{len(ages)} in the last 60 s", f"{self.per_minute} per 60 s"
        if len(ages) < self.per_minute:
            return passes(observed, limit)
        text = f"{len(ages)} reads of account and orders were made in the last 60 s; the limit is {self.per_minute}."
        wait = wait_for_room(ages, self.per_minute, 1)
        return beyond(problem(Code.ACCOUNT_READ_LIMIT, text, observed=observed, limit=limit, retry_after_seconds=wait))


@dataclass(frozen=True, kw_only=True)
class ModificationRate:
    """Admits `per_minute` changes in any 60 seconds; all count, and those of orders that close a position pass."""

    per_minute: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        ages = seen.recorded.modification_ages_seconds
        observed, limit = f"{len(ages)} in the last 60 s", f"{self.per_minute} per 60 s"
        if len(ages) < self.per_minute or _serves_a_position(seen):
            return passes(observed, limit)
        text = f"{len(ages)} orders were changed in the last 60 s; the limit is {self.per_minute}."
        wait = wait_for_room(ages, self.per_minute, 1)
        return beyond(problem(Code.MODIFICATION_LIMIT, text, observed=observed, limit=limit, retry_after_seconds=wait))


def _serves_a_position(seen: Snapshot) -> bool:
    """The order protects or lowers a position, and the change leaves it as strong: no quota may stand in its way.

    An entry that is made smaller lowers no position; cancelling it needs no quota.
    """
    order, exposure = seen.order, seen.observed.exposure
    if order is None or exposure is None or seen.observed.weakens_protection:
        return False
    return seen.observed.action in (Action.REDUCE, Action.PROTECT) and exposure.reducible(order.side) > 0
