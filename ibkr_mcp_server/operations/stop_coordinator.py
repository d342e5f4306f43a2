"""Carries stops out, in order and to the end: cancel entries, close positions if asked, verify, report (EM-01).

The latch comes first and is not made here. Whatever process holds the writer's role carries out what is latched; how
far it came is in the store, so that the next one goes on after a crash. Everything that reaches the broker goes
through the safety chain like any other order, in the name of the `COORDINATOR`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.domain.operations import COORDINATOR
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.closing import Closer, Left, Protection
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.entries import Entries, cancel_entries
from ibkr_mcp_server.store import stop_runs
from ibkr_mcp_server.store.latches import KillMode, Latch
from ibkr_mcp_server.store.stop_runs import StopRun

MOST_TRIES = 3
"""How often the cancellation of entries is tried for one use of the switch; what is left then, is told."""
AGAIN_SECONDS = 1.0
"""Between two rounds of closing, and while the link or the records are not ready."""
ROUNDS = 5
"""Rounds of closing after which what is left is reported, and protection put back."""
LATER_SECONDS = 60.0
"""After such a report the rounds begin anew; also how often a wait for the open looks whether it is over."""

_log = get_logger(__name__)


class Step(StrEnum):
    """How far a stop came; each step is written down when it is reached."""

    LATCHED = "latched"
    ENTRIES_CANCELLED = "entries cancelled"
    CLOSING = "closing positions"
    WAITING = "waiting for the market to open"
    LEFTOVERS = "leftovers reported"
    DONE = "done"


class StopCoordinator:
    """One process's part in carrying stops out."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seen: dict[str, tuple[int, int]] = {}
        """Scope → the generation of its latch, and how often its entries were tried here."""
        self._closing: asyncio.Task[None] | None = None
        self._closing_generation: int | None = None
        self.on_carried_out: Callable[[], None] = lambda: None
        """Called when a stop was carried out, so that the records are compared with the broker's."""

    async def look(self, latches: Sequence[Latch]) -> None:
        """Carry out whatever is latched and was not yet; `latches` begin with the account's."""
        self._end_closing_unless(latches[0])
        if not self._desk.broker.link.is_up or not self._desk.safety.writer.is_writer:
            return  # the process that writes carries it out; this one does when it takes over
        for latch in latches:
            if latch.active and self._tries_left(latch):
                await self._carry_out(latch)

    async def close(self) -> None:
        """Stop working; the next writer goes on."""
        if self._closing is not None:
            self._closing.cancel()
            with suppress(asyncio.CancelledError):
                await self._closing

    def _tries_left(self, latch: Latch) -> bool:
        generation, tries = self._seen.get(latch.scope, (-1, 0))
        return generation != latch.generation or tries < MOST_TRIES

    async def _carry_out(self, latch: Latch) -> None:
        run = await self._run_of(latch)
        entries = Entries()
        if self._desk.settings.kill_cancel_entry_orders or latch.mode is KillMode.CLOSE_POSITIONS:
            entries = await cancel_entries(self._desk, latch.scope)
        generation, tries = self._seen.get(latch.scope, (-1, 0))
        tries = MOST_TRIES if not entries.left else tries + 1 if generation == latch.generation else 1
        self._seen[latch.scope] = latch.generation, tries
        if entries.left and tries < MOST_TRIES:
            return  # the next look tries again
        for entry in entries.left:
            _log.warning("an entry order still works after a stop", perm_id=entry.perm_id, reason=entry.reason)
        if run.finished_at is not None:
            return  # an earlier process finished it; only its entries were looked for again
        report = {**run.report, "entries_left": [asdict(entry) for entry in entries.left]}
        run = await self._reached(replace(run, step=Step.ENTRIES_CANCELLED, report=report))
        if latch.mode is KillMode.CLOSE_POSITIONS:
            self._closing_generation = latch.generation
            self._closing = asyncio.create_task(self._close_positions(run))
        else:
            await self._finished(run)

    async def _run_of(self, latch: Latch) -> StopRun:
        found = await self._desk.database.read(lambda c: stop_runs.of_latch(c, latch.scope, latch.generation))
        if found is not None:
            return found
        now = self._desk.clock.now()
        begun = StopRun(
            scope=latch.scope,
            generation=latch.generation,
            mode=str(latch.mode),
            step=Step.LATCHED,
            begun_at=now,
            updated_at=now,
        )
        return await self._reached(begun)

    async def _reached(self, run: StopRun) -> StopRun:
        return await self._desk.database.run(lambda c: stop_runs.keep(c, run, self._desk.clock.now()))

    async def _finished(self, run: StopRun) -> None:
        now = self._desk.clock.now()
        await self._report(replace(run, step=Step.DONE, finished_at=now))
        self.on_carried_out()

    async def _report(self, run: StopRun) -> StopRun:
        """Keep how it stands, and record it for people."""
        event = AuditEvent(
            type=EventType.STOP_CARRIED_OUT,
            actor=COORDINATOR,
            outcome={"scope": run.scope, "mode": run.mode, "step": run.step, "attempts": run.attempts, **run.report},
        )

        def work(connection: Connection) -> StopRun:
            self._desk.audit.append(connection, event)
            return stop_runs.keep(connection, run, self._desk.clock.now())

        return await self._desk.database.run(work)

    # ---- positions

    def _end_closing_unless(self, account: Latch) -> None:
        """A lockdown, or a reset, ends what a closing would still do."""
        still = account.active and account.mode is KillMode.CLOSE_POSITIONS
        if self._closing is not None and not (still and account.generation == self._closing_generation):
            self._closing.cancel()
            self._closing = None

    async def _close_positions(self, run: StopRun) -> None:
        """Close everything, round by round, until the broker says that nothing is held."""

        async def keep(protection: list[Protection]) -> None:
            nonlocal run
            run = await self._reached(replace(run, report={**run.report, "protection_taken": protection}))

        closer = Closer(self._desk, run.report.get("protection_taken", ()), keep)
        rounds = 0
        while True:
            try:
                if not await self._is_ready():
                    continue
                left = await closer.attempt()
                rounds += 1
                waits = bool(left) and all(one.opens_at is not None for one in left)
                run = await self._reached(_after_round(run, left, waits=waits))
                if not left and await self._is_flat():
                    await keep([])
                    await self._finished(run)
                    return
                if waits or (left and rounds % ROUNDS == 0):
                    run = await self._rest(run, closer, left, waits=waits)
                    continue
            except Exception:  # whatever it is: as long as the order to close stands, it is tried again
                _log.exception("closing positions met a fault and goes on")
            await self._desk.clock.sleep(AGAIN_SECONDS)

    async def _is_ready(self) -> bool:
        """Only on a link that is up, with records that were compared since, is the broker's word complete."""
        safety = self._desk.safety
        if self._desk.broker.link.is_up and safety.readiness.is_settled and safety.writer.is_writer:
            return True
        await self._desk.clock.sleep(AGAIN_SECONDS)
        return False

    async def _is_flat(self) -> bool:
        return not any(position.quantity for position in await self._desk.broker.positions())

    async def _rest(self, run: StopRun, closer: Closer, left: tuple[Left, ...], *, waits: bool) -> StopRun:
        """Put protection back, report what is left, and wait."""
        problems = await closer.protect_again()
        run = replace(run, report={**run.report, "protection_taken": closer.protection, "unprotected": problems})
        if not waits:
            run = await self._report(replace(run, step=Step.LEFTOVERS))
        now = self._desk.clock.now()
        opens = min((one.opens_at for one in left if one.opens_at is not None), default=now)
        pause = max(timedelta(seconds=AGAIN_SECONDS), opens - now) if waits else timedelta(seconds=LATER_SECONDS)
        await self._desk.clock.sleep(min(pause.total_seconds(), LATER_SECONDS))
        return run


def _after_round(run: StopRun, left: tuple[Left, ...], *, waits: bool) -> StopRun:
    step = Step.WAITING if waits else Step.CLOSING
    told = [{**asdict(one), "opens_at": _text(one.opens_at)} for one in left]
    return replace(run, step=step, attempts=run.attempts + 1, report={**run.report, "positions_left": told})


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def in_words(run: StopRun) -> str:
    """How far a stop came, for people."""
    left = run.report.get("positions_left", ())
    entries = run.report.get("entries_left", ())
    parts = [f"{run.step}"]
    if run.attempts:
        parts.append(f"{run.attempts} round(s)")
    parts += [f"{one['quantity']} {one['label']} left: {one['reason']}{_opening(one)}" for one in left]
    parts += [f"{one['label']} still works: {one['reason']}" for one in entries]
    parts += run.report.get("unprotected", ())
    return "; ".join(parts)


def _opening(left: dict[str, str | None]) -> str:
    return f" It is queued for the open at {left['opens_at']}." if left["opens_at"] else ""
