"""The server, killed by itself at one step of the order path: `python -m scripts.crashes.victim STEP COUNT serve`.

It kills itself with SIGKILL as it passes that step of an order's placement for the COUNT-th time. Nothing in the
product knows of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.__main__ import run
from ibkr_mcp_server.domain.operations import Operation, OperationClass
from ibkr_mcp_server.safety.decision import Decision
from ibkr_mcp_server.safety.final_gate import FinalGates
from ibkr_mcp_server.safety.manager import Admission, TradingSafetyManager
from ibkr_mcp_server.safety.settlement import Settlement
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.intents import Intent

STEPS = (
    "asked",
    "reserved, not committed",
    "reserved",
    "at the gate",
    "let through",
    "written to the socket",
    "answered",
    "settled, not recorded",
    "recorded",
)
"""The moments of one order, in their order, as this module can hit them exactly."""


TRAPPED: tuple[tuple[Any, str], ...] = (  # Any: what they belong to, a class or a module
    (TradingSafetyManager, "admit"),
    (intents, "reserve"),
    (FinalGates, "of"),
    (Settlement, "settle"),
    (Settlement, "_recorded"),
)
"""The functions that `arm` replaces."""


class Trap:
    """Kills this process at the `count`-th time that `step` is passed."""

    def __init__(self, step: str, count: int) -> None:
        self._step = step
        self._left = count

    def passing(self, step: str) -> None:
        if step != self._step:
            return
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def arm(trap: Trap) -> None:
    """Put the trap on the order path of every server that this process starts."""
    manager: Any = TradingSafetyManager
    gates: Any = FinalGates
    settlement: Any = Settlement
    admit, final_gate, settle, reserve = manager.admit, gates.of, settlement.settle, intents.reserve
    recorded = settlement._recorded

    async def admit_trapped(self: TradingSafetyManager, operation: Operation) -> Admission:
        places = operation.operation_class is OperationClass.ORDER_PLACEMENT
        if places:
            trap.passing("asked")
        admission: Admission = await admit(self, operation)
        if places and admission.gates:
            trap.passing("reserved")
        return admission

    def reserve_trapped(connection: Connection, intent: Intent, **given: bool) -> None:
        reserve(connection, intent, **given)
        trap.passing("reserved, not committed")

    def final_gate_trapped(self: FinalGates, *arguments: Any) -> Any:
        gate = final_gate(self, *arguments)

        @asynccontextmanager
        async def trapped() -> AsyncIterator[None]:
            trap.passing("at the gate")
            async with gate():
                trap.passing("let through")
                yield
                trap.passing("written to the socket")

        return trapped

    async def settle_trapped(self: Settlement, decision: Decision, *arguments: Any) -> Any:
        trap.passing("answered")
        settled = await settle(self, decision, *arguments)
        trap.passing("settled, not recorded")
        return settled

    def recorded_trapped(self: Settlement, done: asyncio.Future[object]) -> None:
        recorded(self, done)
        trap.passing("recorded")

    settlement._recorded = recorded_trapped
    manager.admit, gates.of, settlement.settle = admit_trapped, final_gate_trapped, settle_trapped
    intents.reserve = reserve_trapped


if __name__ == "__main__":
    step, count, *rest = sys.argv[1:]
    if step not in STEPS:
        sys.exit(f"unknown step {step!r}; steps are: {'; '.join(STEPS)}")
    arm(Trap(step, int(count)))
    sys.exit(run(rest))
