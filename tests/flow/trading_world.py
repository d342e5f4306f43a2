"""The product and its gateway for a machine that plays with both; what must hold after each of its moves.

One event loop, run only while a move is made, so that every move is whole before the next. Calls enter behind the MCP
transport, each by one of several agents; everything below is real.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import select

from ibkr_mcp_server.app import App, open_app
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord, tail
from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.broker.base import LinkState
from ibkr_mcp_server.clock import ManualClock, trading_day
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.simulator.orders import OrderEvent
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.state_dir import open_state_directory
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.intents import Intent, IntentState
from ibkr_mcp_server.store.schema import intents as intents_table
from ibkr_mcp_server.tools import calls
from tests.harness import PATIENCE_SECONDS, WITHOUT_PAUSES, judged_again, time_passing

ACCOUNT = "DU9000001"
AGENTS = ("alpha", "beta")
SYMBOLS = ("AAPL", "MSFT")
WRITES = (
    "place_limit_order",
    "place_market_order",
    "place_bracket_order",
    "place_stop_loss",
    "modify_order",
    "close_position",
)
PER_MINUTE, PER_DAY = 6, 30
PERSON = OperatorProof(actor=Actor(type=ActorType.HUMAN, id="root", auth="passphrase"), role=Role.ADMIN)


class TradingWorld:
    """A running server, the gateway that outlives it, and what was promised so far."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.gateway = PaperGateway(clock=self.clock, seed=1, accounts=(ACCOUNT,), market_always_open=True)
        self.state = open_state_directory(directory / "state", allow_temporary=True)
        self.stopped = False
        """An agent stopped trading and no human has ended that."""
        self.admitted: dict[str, dict[str, Any]] = {}
        """What was sent for an agent, by request key: it counts for ever."""
        self.broken: list[str] = []
        """What the gateway saw and should never have seen."""
        self.app: App
        self._gateway_stack, self._stack = AsyncExitStack(), AsyncExitStack()

    # ---- life

    async def begin(self) -> None:
        await self._gateway_stack.enter_async_context(self.gateway)
        exchange = self.gateway.exchange
        place, cancel = exchange.place, exchange.cancel

        def placed(client_id: int, order_id: int, contract: Any, terms: Any) -> list[OrderEvent]:
            self._arrived(terms.order_ref, "place" if exchange.order(client_id, order_id) is None else "modify")
            return place(client_id, order_id, contract, terms)

        def cancelled(client_id: int, order_id: int) -> list[OrderEvent]:
            known = exchange.order(client_id, order_id)
            if known is not None:
                self._arrived(known.terms.order_ref, "cancel")
            return cancel(client_id, order_id)

        exchange.place, exchange.cancel = placed, cancelled  # type: ignore[method-assign]  # to see what arrives
        for symbol in SYMBOLS:
            self.gateway.add_position(ACCOUNT, symbol, 5, 100)
        await self.open()

    async def open(self) -> None:
        """Start the server on what the last one left."""
        chosen: dict[str, Any] = {
            **WITHOUT_PAUSES,
            "enable_trading": True,
            "enable_stop_loss_orders": True,
            "broker_mode": "paper",
            "port": self.gateway.port,
            "broker_deadline_seconds": 0.5,
            "connect_timeout_seconds": 0.5,
            "max_orders_per_minute": PER_MINUTE,
            "max_daily_orders": PER_DAY,
            "daily_orders_warning": PER_DAY,
            "allow_short": False,
            "max_market_data_requests_per_minute": 3_000,
        }
        settings = load_settings(environ={}, **chosen)
        self.app = await self._stack.enter_async_context(open_app(settings, self.state, clock=self.clock))
        await self.until_settled()

    async def close(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def end(self) -> None:
        await self.close()
        await self._gateway_stack.aclose()

    async def until_settled(self) -> None:
        """Let time pass, without faults, until the link is up and the records were compared."""
        self.mend()
        async with asyncio.timeout(PATIENCE_SECONDS), time_passing(self.clock):
            while not (self.app.desk.broker.link.is_up and self.app.desk.safety.readiness.is_settled):
                await self.app.desk.broker.wait_until_up(0.02)
                await self.app.desk.safety.readiness.wait_until_settled(0.02)

    def mend(self) -> None:
        self.gateway.faults.clear()
        self.gateway.faults.thaw()
        if self.app.desk.broker.link.state is LinkState.BROKER_OFFLINE:
            self.gateway.faults.connectivity_restored()

    # ---- moves

    async def call(self, agent: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        request = calls.Request(name=tool, arguments=arguments, agent=agent, client="machine 1", auth="in-process")
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = dict((await calls.answer(request, self.app.desk)).body)
        key = arguments.get("client_request_id")
        if key is not None and tool in WRITES:
            await self._note(key, tool, answer)
        return answer

    async def _note(self, key: str, tool: str, answer: dict[str, Any]) -> None:
        found = await self.app.desk.database.read(lambda connection: intents.find_by_key(connection, key))
        if answer["success"] or answer.get("outcome") == "unknown":
            assert found is not None, f"{tool} was carried out without a record: {answer}"
            self.admitted[key] = {"tool": tool, "answer": answer}
        elif "check" in answer and key not in self.admitted:
            assert found is None, f"a refused {tool} was reserved: {answer}, {found}"

    async def human_resets(self) -> None:
        if self.stopped:
            await self.app.desk.safety.kill_switch.clear(PERSON, "looked at it")
            self.stopped = False

    def working(self) -> list[BrokerOrder]:
        known = self.app.desk.broker.known_orders()
        return sorted((one for one in known if one.is_working and one.perm_id), key=lambda one: one.perm_id)

    def move(self, symbol: str, percent: int) -> None:
        con_id = self.gateway.con_id(symbol)
        last = self.gateway.market.quote(con_id).last
        assert last is not None
        middle = (last * (100 + percent) / 100).quantize(Decimal("0.01"))
        self.gateway.market.set_quote(con_id, bid=str(middle - Decimal("0.01")), ask=str(middle + Decimal("0.01")))

    def step_wall(self, seconds: int) -> None:
        self.clock.step_wall(timedelta(seconds=seconds))

    # ---- what must hold (section 0.2 of the requirements)

    def _arrived(self, order_ref: str, kind: str) -> None:
        """The gateway reads a write at this moment: its intent, and with it the decision, must be durable by now."""
        found = [one for one in self._intents() if one.order_ref == order_ref and one.kind == kind]
        if not any(one.release_reason is None for one in found):
            self.broken.append(f"a {kind} of {order_ref} reached the gateway without a record: {found}")

    def _intents(self) -> list[Intent]:
        def read(connection: Any) -> list[Intent]:
            ids = connection.execute(select(intents_table.c.intent_id)).scalars().all()
            return [found for one in ids if (found := intents.get(connection, one)) is not None]

        return self.app.desk.database.read_blocking(read)

    async def check(self) -> None:
        """All that must hold after every move."""
        desk = self.app.desk
        await self.app.follower.settled()
        await desk.audit.flush()
        assert not self.broken, self.broken
        everything = self._intents()
        self._one_order_for_each_intent(everything)
        self._counted(everything)
        status = await self.call("alpha", "get_safety_status", {})
        today = trading_day(self.clock.now())
        counted = [one for one in everything if one.opening and one.release_reason is None]
        assert status["daily_stats"]["opening_orders"] == sum(one.trading_day == today for one in counted)
        assert status["kill_switch_active"] or not self.stopped, "only a human ends a stop"
        self.stopped = status["kill_switch_active"]  # the product stops by itself, too
        held = self.gateway.accounts.by_code[ACCOUNT].positions.values()
        assert all(position.quantity >= 0 for position in held), "short, though that is not allowed"
        self._records_hold(desk.database.read_blocking(lambda connection: tail(connection, 100_000, None)))
        assert verify_database(desk.database).ok

    def _one_order_for_each_intent(self, everything: list[Intent]) -> None:
        refs = [order.terms.order_ref for order in self.gateway.exchange.orders()]
        assert len(refs) == len(set(refs)), "an order was doubled"
        assert set(refs) <= {one.order_ref for one in everything if one.kind == "place"}

    def _counted(self, everything: list[Intent]) -> None:
        by_key = {one.request_key: one for one in everything}
        assert self.admitted.keys() <= by_key.keys()
        given_back = [key for key in self.admitted if by_key[key].release_reason is not None]
        assert not given_back, f"what was sent was un-counted: {given_back}"
        opening = sorted(one.monotonic for one in everything if one.opening and one.release_reason is None)
        for first, last in zip(opening, opening[PER_MINUTE:], strict=False):
            assert last - first >= 60, "more than the limit of a minute"
        days = [one.trading_day for one in everything if one.opening and one.release_reason is None]
        assert all(days.count(day) <= PER_DAY for day in set(days)), "more than the limit of a day"

    def _records_hold(self, records: list[AuditRecord]) -> None:
        """Reserved and decided before it was sent; nothing that opens was sent while a stop was in force."""
        decided, reserved, stopped = set(), set(), False
        for record in records:
            if record.event_type is EventType.DECISION:
                decided.add(record.decision_id)
            elif record.event_type is EventType.INTENT_RESERVED:
                reserved.add(record.intent_id)
            elif record.event_type is EventType.KILL_SWITCH_ACTIVATE:
                stopped = True
            elif record.event_type is EventType.KILL_SWITCH_DEACTIVATE:
                assert record.actor["type"] == "human"
                stopped = False
            elif record.event_type is EventType.ORDER_SENT:
                assert record.intent_id in reserved
                assert record.decision_id in decided
                opening = bool(record.order_data["opening"])
                assert not (stopped and opening), f"opened after the stop: {record}"

    async def check_agreement(self) -> None:
        """Both sides hold the same once nothing goes wrong any more."""
        await self.until_settled()
        desk = self.app.desk
        try:
            # An order that is not there counts as never arrived after half a minute and the next look.
            async with asyncio.timeout(PATIENCE_SECONDS), time_passing(self.clock, step=1):
                while await desk.database.read(intents.unresolved) or desk.safety.readiness.findings:
                    await asyncio.sleep(0.01)  # time passes when nothing else goes on
                    await self.app.follower.settled()
        except TimeoutError:
            unresolved = desk.database.read_blocking(intents.unresolved)
            raise AssertionError(f"not settled: {unresolved}, {desk.safety.readiness.findings}") from None
        self.gateway.faults.freeze_quotes()
        for symbol in SYMBOLS:
            self.gateway.halt(symbol, True)
        async with asyncio.timeout(PATIENCE_SECONDS), time_passing(self.clock):
            positions = await desk.broker.positions(None)
            await desk.broker.open_orders()
            while self._differing():  # the end of a cancellation that was not told comes with the lists
                await desk.broker.open_orders()
                await self.app.follower.settled()
        await self.check()
        again = desk.database.read_blocking(judged_again)
        assert again
        assert [one for one in again if not one.is_equal] == [], "another verdict from the same record"
        account = self.gateway.accounts.by_code[ACCOUNT]
        assert {held.instrument.con_id: held.quantity for held in positions} == {
            con_id: held.quantity for con_id, held in account.positions.items() if held.quantity
        }

    def _differing(self) -> list[object]:
        """Orders of the gateway whose record says something else."""
        records = {one.order_ref: one for one in self._intents() if one.kind == "place"}
        pairs = [(records[order.terms.order_ref], order) for order in self.gateway.exchange.orders()]
        return [
            (record, order)
            for record, order in pairs
            if (record.filled_quantity or Decimal()) != order.filled
            or (record.state is IntentState.ACCEPTED) != (not order.is_done)
        ]
