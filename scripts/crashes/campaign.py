"""Worlds in which a server is killed again and again, and what must hold after each restart.

The restart after one crash is the server that the next one kills, so damage would add up and show.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import Intent, IntentState
from scripts.crashes.victim import STEPS
from tests.server_process import Server, serving

ANY_MOMENT = "any moment"
"""Killed from outside, some milliseconds after the orders were asked for."""
BOUNDARIES = (*STEPS, ANY_MOMENT)
FAULTS = (None, None, None, "duplicate_next_order_ack", "reject_next_order", "inactive_next_order", "delay_acks:0.1")
SYMBOLS = ("AAPL", "MSFT", "AMZN")
DEATH_SECONDS = 30
LATEST_MOMENT_SECONDS = 0.15
MOST_CRASHES_OF_A_WORLD = 10
"""So that the orders of a world stay below the day's limit, which is 50 unless set otherwise."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One crash."""

    boundary: str
    count: int
    """At which order; for any moment, nothing."""
    fault: str | None
    after_seconds: float


@dataclass
class Report:
    """What was tried and what went wrong."""

    crashes: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    """Orders that had arrived at the gateway when the server died, by boundary."""
    broken: list[str] = field(default_factory=list)
    stops_kept: int = 0

    def add(self, other: Report) -> None:
        self.crashes += other.crashes
        self.reached += other.reached
        self.broken += other.broken
        self.stops_kept += other.stops_kept


def schedules(seed: int, first: int, count: int) -> list[Schedule]:
    """Schedules number `first` and following of the campaign `seed`; the boundaries take turns, the rest is drawn."""
    drawn = []
    for number in range(first, first + count):
        chance = random.Random(f"{seed}/{number}")
        drawn.append(
            Schedule(
                boundary=BOUNDARIES[number % len(BOUNDARIES)],
                count=chance.randint(1, len(SYMBOLS)),
                fault=chance.choice(FAULTS),
                after_seconds=chance.uniform(0, LATEST_MOMENT_SECONDS),
            )
        )
    return drawn


class World:
    """One state directory and one gateway, through many lives of the server."""

    def __init__(self, state: Path, gateway: PaperGateway, name: str) -> None:
        self._state = state
        self._gateway = gateway
        self._name = name
        self._keys: list[tuple[str, str]] = []
        """Every request so far: its key and its symbol."""
        self._refused_by_the_gateway = 0
        self.report = Report()

    async def crash(self, schedule: Schedule) -> None:
        """One life: what the last crash left is checked, orders are asked for, the server dies."""
        exact = schedule.boundary != ANY_MOMENT
        program = ("scripts.crashes.victim", schedule.boundary, str(schedule.count)) if exact else ("ibkr_mcp_server",)
        async with serving(self._state, self._gateway, program=program) as server:
            await server.until(_settled)
            await self._check_restarted(server)
            arrived = len(self._gateway.received_orders)
            self._gateway.faults.clear()
            if schedule.fault is not None:
                self._gateway.faults.apply(schedule.fault)
                self._refused_by_the_gateway += schedule.fault in ("reject_next_order", "inactive_next_order")
            answers = []
            for symbol in SYMBOLS:
                key = f"{self._name}-{len(self._keys):04}"
                self._keys.append((key, symbol))
                answers.append(server.call("place_limit_order", **_order(key, symbol)))
            if not exact:
                await asyncio.sleep(schedule.after_seconds)  # the moment of the crash is what is drawn
                await server.kill()
            else:
                try:
                    async with asyncio.timeout(DEATH_SECONDS):
                        await server.process.wait()
                except TimeoutError:
                    told = [_told(answer) for answer in answers]
                    self._broken(f"never came to {schedule.boundary!r} at order {schedule.count}: {told}")
                    await server.kill()
        self._gateway.faults.clear()
        self.report.crashes[schedule.boundary] += 1
        self.report.reached[schedule.boundary] += len(self._gateway.received_orders) - arrived
        self._check_store(f"{schedule}")

    async def end(self) -> None:
        """Repeat every request, stop, die, and see that the stop is still there."""
        async with serving(self._state, self._gateway) as server:
            await server.until(_settled)
            await self._check_restarted(server)
            for key, symbol in self._keys:
                await server.ask("place_limit_order", **_order(key, symbol))
            self._check_doubles("after every request was repeated")
            await server.ask("emergency_stop", reason="the end of this world")
            await server.kill()
        async with serving(self._state, self._gateway) as server:
            status = await server.ask("get_safety_status")
            refused = await server.ask("place_limit_order", **_order("after-the-stop", SYMBOLS[0]))
            if status["kill_switch_active"] is not True or refused.get("code") != "KILL_SWITCH_ACTIVE":
                self._broken(f"the stop did not survive: {status['effective_state']}, {refused.get('code')}")
            else:
                self.report.stops_kept += 1
            await server.kill()
        self._check_store("at the end")

    async def _check_restarted(self, server: Server) -> None:
        status = await server.ask("get_safety_status")
        if status["kill_switch_active"]:
            self._broken("the kill switch is on, and nobody stopped")
        counted = status["daily_stats"]["opening_orders"]
        accepted = len(self._arrived()) - self._refused_by_the_gateway
        if not accepted <= counted <= len(self._keys):
            self._broken(f"{counted} orders are counted; the gateway took {accepted} of {len(self._keys)}")
        for intent in self._intents():
            if intent.state in (IntentState.RESERVED, IntentState.SENT):
                self._broken(f"{intent.request_key} is still {intent.state} after the restart")

    def _check_store(self, when: str) -> None:
        database = Database.open(self._state / "state.db", read_only=True)
        try:
            verified = verify_database(database)
        finally:
            database.close()
        if not verified.ok:
            self._broken(f"the audit chain does not verify, {when}")
        unknown = set(self._arrived()) - {intent.order_ref for intent in self._intents()}
        if unknown:
            self._broken(f"sent without a durable intent, {when}: {sorted(unknown)}")
        self._check_doubles(when)

    def _check_doubles(self, when: str) -> None:
        arrived = self._arrived()
        if len(arrived) != len(set(arrived)):
            self._broken(f"an order was doubled, {when}")
        if len(arrived) > len(self._keys):
            self._broken(f"{len(arrived)} orders arrived for {len(self._keys)} requests, {when}")

    def _arrived(self) -> list[str]:
        return [one.terms.order_ref for one in self._gateway.received_orders]

    def _intents(self) -> list[Intent]:
        database = Database.open(self._state / "state.db", read_only=True)
        try:
            found = (
                database.read_blocking(lambda connection, key=key: intents.find_by_key(connection, key))  # type: ignore[misc]  # the loop's key
                for key, _ in self._keys
            )
            return [intent for intent in found if intent is not None]
        finally:
            database.close()

    def _broken(self, what: str) -> None:
        self.report.broken.append(f"{self._name}: {what}")


def _settled(status: dict[str, Any]) -> bool:
    """The link is up, the records were compared with the broker's, and every outcome is known.

    While one was not, the breaker warned (CB-29), and the mode that follows a warning outlasts its cause.
    """
    return status["effective_state"] in ("NORMAL", "REDUCE") and not status["unresolved_orders"]


def _told(answer: asyncio.Future[dict[str, Any]]) -> str:
    """What an order that did not spring the trap was told."""
    if not answer.done() or answer.cancelled():
        return "nothing"
    body = answer.result()["structuredContent"]
    return f"{body.get('code')}: {body.get('error')}"


def _order(key: str, symbol: str) -> dict[str, Any]:
    """Far below the market, so that it works and never fills."""
    return {"client_request_id": key, "symbol": symbol, "action": "BUY", "quantity": 1, "limit_price": 20.0}


async def run_world(state: Path, name: str, crashes: list[Schedule]) -> Report:
    """Live through `crashes` (at most `MOST_CRASHES_OF_A_WORLD`), then stop; the report says what did not hold."""
    async with PaperGateway(clock=SystemClock(), market_always_open=True) as gateway:
        world = World(state, gateway, name)
        for schedule in crashes:
            await world.crash(schedule)
        await world.end()
        return world.report
