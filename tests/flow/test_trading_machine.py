"""Agents trade, the market moves, the gateway fails and the server restarts, in random order: the invariants hold.

Section 0.2 of the requirements is looked at after each move (`trading_world.py`). A few short plays here, the same each
time; `make statemachine` plays many long ones (MACHINE_EXAMPLES, MACHINE_STEPS).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.flow.trading_world import AGENTS, SYMBOLS, TradingWorld

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "2"))
STEPS = int(os.environ.get("MACHINE_STEPS", "12"))
IS_CAMPAIGN = "MACHINE_EXAMPLES" in os.environ

NOBODYS_ORDER = 1

FAULTS = (
    "drop_next_order_ack",
    "duplicate_next_order_ack",
    "disconnect_before_order",
    "disconnect_after_order",
    "reject_next_order",
    "inactive_next_order",
    "warn_next_order:399",
    "fill_before_cancel",
    "slow_cancels:3",
    "drop_next_message:3",
    "drop_next_message:5",
    "drop_next_message:11",
    "duplicate_next_message:11",
    "cut_next_frame",
    "pace_next_requests",
    "disconnect",
    "partial_fills:1",
    "connectivity_lost",
    "freeze",
    "roll_back_order_ids:5",
    "restart:3",
)
agents, symbols = st.sampled_from(AGENTS), st.sampled_from(SYMBOLS)
quantities, offsets = st.integers(1, 4), st.sampled_from([-2, -1, 0, 1, 2])


class TradingMachine(RuleBasedStateMachine):
    """What agents, the market, the gateway and people do."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="trading-"))
        self.runner = asyncio.Runner()
        self.keys, self.failed = 0, False
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.run(self._begin())

    async def _begin(self) -> None:
        self.world = TradingWorld(self.directory)
        await self.world.begin()

    def run(self, move: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(move)

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            self.run(self.world.check_agreement())
        finally:
            self.run(self.world.end())
            self.runner.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- agents

    def _ask(self, agent: str, tool: str, **arguments: Any) -> dict[str, Any]:
        self.keys += 1
        if self.keys % 3 and not self.world.app.desk.broker.link.is_up:
            self.run(self.world.until_settled())  # else most of a play would be calls on a dead link
        asked = {"client_request_id": f"machine-{self.keys:05}", **arguments}
        self.asked.append((agent, tool, asked))
        answer: dict[str, Any] = self.run(self.world.call(agent, tool, asked))
        return answer

    def _price(self, symbol: str, percent: int) -> float:
        last = self.world.gateway.market.quote(self.world.gateway.con_id(symbol)).last
        assert last is not None
        return round(float(last) * (100 + percent) / 100, 2)

    @rule(
        agent=agents, symbol=symbols, action=st.sampled_from(["BUY", "BUY", "SELL"]), quantity=quantities, off=offsets
    )
    def limit_order(self, agent: str, symbol: str, action: str, quantity: int, off: int) -> None:
        price = self._price(symbol, off)
        self._ask(agent, "place_limit_order", symbol=symbol, action=action, quantity=quantity, limit_price=price)

    @rule(agent=agents, symbol=symbols, action=st.sampled_from(["BUY", "SELL"]), quantity=quantities)
    def market_order(self, agent: str, symbol: str, action: str, quantity: int) -> None:
        self._ask(agent, "place_market_order", symbol=symbol, action=action, quantity=quantity)

    @rule(agent=agents, symbol=symbols, quantity=quantities)
    def bracket(self, agent: str, symbol: str, quantity: int) -> None:
        order = {"symbol": symbol, "action": "BUY", "quantity": quantity, "limit_price": self._price(symbol, 0)}
        exits = {"take_profit_price": self._price(symbol, 4), "stop_loss_price": self._price(symbol, -4)}
        self._ask(agent, "place_bracket_order", **order, **exits)

    @rule(agent=agents, symbol=symbols, quantity=quantities)
    def stop_loss(self, agent: str, symbol: str, quantity: int) -> None:
        stop = {"action": "SELL", "quantity": quantity, "stop_price": self._price(symbol, -2)}
        self._ask(agent, "place_stop_loss", symbol=symbol, **stop)

    @rule(agent=agents, symbol=symbols)
    def close_position(self, agent: str, symbol: str) -> None:
        self._ask(agent, "close_position", symbol=symbol)

    @rule(agents=st.permutations(AGENTS), symbol=symbols, quantity=quantities)
    def two_at_once(self, agents: list[str], symbol: str, quantity: int) -> None:
        """Both agents close, or sell, what only one of them can."""

        async def both() -> None:
            calls = []
            for agent in agents:
                self.keys += 1
                order = {"symbol": symbol, "action": "SELL", "quantity": quantity}
                order["client_request_id"] = f"machine-{self.keys:05}"
                calls.append(self.world.call(agent, "place_market_order", order))
            await asyncio.gather(*calls)

        self.run(both())

    @rule(agent=agents, which=st.integers(0, 20), quantity=quantities)
    def change(self, agent: str, which: int, quantity: int) -> None:
        self._ask(agent, "modify_order", perm_id=self._perm_id(which), quantity=quantity)

    @rule(agent=agents, which=st.integers(0, 20))
    def cancel(self, agent: str, which: int) -> None:
        self._ask(agent, "cancel_order", perm_id=self._perm_id(which))

    def _perm_id(self, which: int) -> int:
        """One of the working orders, or an order that nobody has.

        Which moves are possible never depends on what works: a game that is played again has to offer the same ones.
        """
        working = self.world.working()
        return working[which % len(working)].perm_id if working else NOBODYS_ORDER

    @rule(agent=agents, protective=st.booleans())
    def cancel_all(self, agent: str, protective: bool) -> None:
        self._ask(agent, "cancel_all_orders", include_protective=protective)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 50))
    def repeat(self, which: int) -> None:
        """Exactly the same request again, whatever became of it."""
        agent, tool, arguments = self.asked[which % len(self.asked)]
        self.run(self.world.call(agent, tool, arguments))

    @precondition(lambda self: len(self.asked) > 3)
    @rule(agent=agents)
    def stop(self, agent: str) -> None:
        answer = self.run(self.world.call(agent, "emergency_stop", {"reason": "the machine says so"}))
        assert answer["kill_switch_active"]
        self.world.stopped = True

    @rule(agent=agents, tool=st.sampled_from(["reset_kill_switch", "place_limit_order", "approve", "set_limits"]))
    def overreach(self, agent: str, tool: str) -> None:
        wish = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 1, "override": True, "confirmed": True}
        answer = self.run(self.world.call(agent, tool, wish))
        assert not answer["success"]

    # ---- people, the market, the machine and the gateway

    @rule()
    def human_resets(self) -> None:
        if self.world.stopped:
            self.run(self.world.human_resets())

    @rule(symbol=symbols, percent=st.sampled_from([-5, -2, -1, 1, 2, 5]))
    def price_moves(self, symbol: str, percent: int) -> None:
        self.world.move(symbol, percent)
        self.run(self.world.gateway.tick())

    @rule(seconds=st.sampled_from([0.2, 1, 5, 31, 61]))
    def time_passes(self, seconds: float) -> None:
        self.run(self.world.clock.advance(seconds))

    @rule(seconds=st.sampled_from([-600, -1, 1, 600]))
    def wall_clock_steps(self, seconds: int) -> None:
        self.world.step_wall(seconds)

    @rule(fault=st.sampled_from(FAULTS))
    def gateway_fails(self, fault: str) -> None:
        async def fail() -> None:
            self.world.gateway.faults.apply(fault)

        self.failed = True
        self.run(fail())

    @precondition(lambda self: self.failed)
    @rule()
    def all_is_well(self) -> None:
        self.failed = False
        self.run(self.world.until_settled())

    @rule()
    def server_restarts(self) -> None:
        async def again() -> None:
            await self.world.close()
            await self.world.open()

        self.run(again())

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.run(self.world.check())


def test_whatever_agents_market_gateway_and_people_do_the_invariants_hold() -> None:
    """QA: a play is a sequence of moves; the smallest one that breaks something is printed."""
    run_state_machine_as_test(
        TradingMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not IS_CAMPAIGN,
            database=None,
            phases=(Phase.generate, Phase.shrink) if IS_CAMPAIGN else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
