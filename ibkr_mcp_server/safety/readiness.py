"""How far the start has come, and whether the broker's records agree with ours; until both are so, nothing is opened.

SU-01: configuration → lock → store integrity → audit chain → latches → link → accounts → reconciliation → invariants →
writes. This object only remembers; `operations/reconciliation.py` walks the steps and reports here.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import StrEnum

from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.state import Cause, SafetyState


class Step(StrEnum):
    """The steps of a start, in their order."""

    CONFIGURATION = "configuration"
    LOCK = "lock"
    STORE = "store"
    AUDIT_CHAIN = "audit chain"
    LATCHES = "latches"
    LINK = "link"
    ACCOUNTS = "accounts"
    RECONCILIATION = "reconciliation"
    INVARIANTS = "invariants"
    READY = "ready"


class Readiness:
    """What of the start and of the agreement with the broker holds trading back."""

    def __init__(self) -> None:
        self.step = Step.CONFIGURATION
        """The step that is being taken; READY once all were."""
        self.unclean_stop: str | None = None
        """How the run before ended, if not in order (SU-06); None again after a clean reconciliation."""
        self.findings: tuple[str, ...] = ()
        """Differences with the broker that hold trading back."""
        self.broken_invariants: tuple[str, ...] = ()
        self.lost_orders: tuple[str, ...] = ()
        """Orders whose outcome has been unknown for longer than looking for them takes (ID-11)."""
        self.chain_problem: str | None = None
        """Why the audit log is not what was written (SU-05)."""
        self.session_over: str | None = None
        """Why a person must look before anything more is opened (TM-06)."""
        self.ending = False
        """The process is about to end, and takes nothing more in (EM-09)."""
        self._restoring = False
        self._settled = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        return self.step is Step.READY

    @property
    def is_settled(self) -> bool:
        """Whether the start and the last return of the link have been worked off, whatever was found."""
        return self._settled.is_set()

    def begin(self) -> None:
        """The steps that need the broker begin (again): this process just became the writer."""
        self.step = Step.LINK
        self._settled.clear()

    def link_lost(self) -> None:
        """From here until `compared`, what we know may be old (EM-07)."""
        self._restoring = True
        self._settled.clear()

    def compared(self, *, findings: tuple[str, ...], broken_invariants: tuple[str, ...]) -> None:
        """A comparison with the broker was carried through."""
        self.findings, self.broken_invariants = findings, broken_invariants
        self.step = Step.READY
        if not findings and not broken_invariants:
            self.unclean_stop = None
        self._restoring = False
        self._settled.set()

    def read_only(self) -> None:
        """Another process writes: there is nothing to wait for."""
        self._settled.set()

    async def wait_until_settled(self, timeout_seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._settled.wait()
        return self.is_settled

    def causes(self, *, is_writer: bool, link_is_up: bool) -> tuple[Cause, ...]:
        """What this means for table 0.1."""
        found = []
        if self.chain_problem is not None:
            text = f"The audit log does not verify: {self.chain_problem}"
            found.append(Cause(state=SafetyState.HALT, code=Code.STATE_UNREADABLE, reason=text, is_latch=True))
        if self.ending:
            found.append(_safe(Code.SERVER_ENDING, "The server is ending and takes no more orders."))
        if not is_writer:
            return tuple(found)  # it writes nothing, whatever its state
        if not self.is_ready and link_is_up:
            text = f"The server is starting; its next step is: {self.step}."
            found.append(_safe(Code.STARTING, text))
        elif self._restoring and link_is_up:
            text = "The link came back; orders, fills, positions and cash are being compared with the broker's."
            found.append(_safe(Code.RECONCILING, text))
        if self.findings:
            found.append(_safe(Code.RECORDS_DISAGREE, " ".join(self.findings)))
        if self.broken_invariants:
            found.append(_safe(Code.INVARIANT_BROKEN, " ".join(self.broken_invariants)))
        if self.lost_orders:
            text = f"The outcome of {len(self.lost_orders)} order(s) stays unknown: {', '.join(self.lost_orders)}."
            found.append(_safe(Code.UNRESOLVED_ORDER, text))
        if self.session_over is not None:
            found.append(
                Cause(state=SafetyState.OBSERVE, code=Code.SESSION_OVER, reason=self.session_over, is_latch=True)
            )
        if self.unclean_stop is not None:
            found.append(
                Cause(state=SafetyState.OBSERVE, code=Code.UNCLEAN_STOP, reason=self.unclean_stop, is_latch=False)
            )
        return tuple(found)


def _safe(code: Code, reason: str) -> Cause:
    return Cause(state=SafetyState.SAFE, code=code, reason=reason, is_latch=False)
