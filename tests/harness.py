"""The whole product in one process: MCP client → server → safety → ib_async → TCP → paper gateway.

    async with running(tmp_path, gateway, clock) as world:
        refused = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=100)
        assert gateway.received_orders == []

Time is `clock`'s. The gateway is handed in, so that it outlives the server where a test restarts that.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mcp import Client
from mcp.types import Implementation
from sqlalchemy import Connection

from ibkr_mcp_server.app import App, open_app
from ibkr_mcp_server.audit.chain import ChainReader
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord, tail
from ibkr_mcp_server.audit.verify import records_of_store
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.orders import OrderStatus
from ibkr_mcp_server.domain.toolsets import ToolChoice
from ibkr_mcp_server.safety.replay import DECISIONS, READ, Replay, Replayed
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.state_dir import StateDirectory, open_state_directory
from ibkr_mcp_server.store import intents, reconciliations
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.store.reconciliations import Report
from ibkr_mcp_server.tools.server import Auth, TradingServer
from tests.private_state import with_tables

WITHOUT_PAUSES: dict[str, Any] = {
    "auto_cancel_orders_on_disconnect": False,  # it comes a moment after the link, when a test looks at its orders
    "max_session_duration_hours": 8_760,
    "order_cooldown_seconds": 0,
    "repeated_order_seconds": 0,
    "max_working_orders": 1_000,
    "max_working_orders_per_symbol": 1_000,
    "max_cycle_value_usd": 10_000_000,
    "max_daily_value_usd": 10_000_000,
    "max_price_walk_pct": 100,
    "breaker_input_grace_seconds": 600,
    "feed_silence_warning_seconds": 599,
    "max_feed_silence_seconds": 600,  # a test that advances by minutes leaves the watch no real time to ask
    "decision_timeout_seconds": 4,  # real seconds: a loaded machine may be slow, and that is no finding
    "allow_weekend_trading": True,
    "messages_per_fill_warning": 100_000,
    "max_messages_per_fill": 100_000,
    "max_attempts_per_minute": 100_000,
    "max_account_reads_per_minute": 3_000,
    "max_modifications_per_minute": 3_000,
    "max_position_size_pct": 30,
    "max_position_value_usd": 10_000_000,
    "max_total_exposure_pct": 400,
    "max_total_exposure_usd": 100_000_000,
    "max_position_pct_per_strategy": 400,
    "max_sector_exposure_pct": 400,
    "max_portfolio_value_at_risk": 1,
    "cash_reserve_pct": 0,
    "margin_preview": False,
    "urgent_reserve_pct": 0,
    "value_at_risk_seconds": 0,
    "max_concurrent_positions": 1_000,
    "max_leverage": 2,
    "allow_short": True,
    "allowed_symbols": "*",
    "confirm_above_usd": 100_000_000,
    "max_order_failures": 1_000,
    "failed_trades_warning": 999,
    "max_failed_trades_per_hour": 1_000,
    "error_rate_warning_pct": 99,
    "max_error_rate_pct": 100,
    "api_errors_warning": 10_000,
    "max_api_errors_per_minute": 20_000,
    "api_errors_kill": 30_000,
    "trades_per_hour_warning": 10_000,
    "max_trades_per_hour": 20_000,
    "trades_per_hour_kill": 30_000,
    "consecutive_losses_warning": 999,
    "max_consecutive_losses": 1_000,
    "strategy_max_consecutive_losses": 1_000,
    "repeated_executions_warning": 999,
    "max_repeated_executions": 1_000,
    "order_failures_warning": 999,
}
"""Most tests are about one rule and place several orders at one moment; those about a pause or a count set it."""
PATIENCE_SECONDS = 10.0
"""Far longer than anything takes; a wait that reaches it is a failure."""


@dataclass(kw_only=True)
class World:
    """A running server, and the parts of it that tests look at."""

    client: Client
    app: App
    gateway: PaperGateway
    clock: ManualClock
    state: StateDirectory
    answers: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured answer of one tool call, a refusal included."""
        result = await self.client.call_tool(tool, arguments)
        answer = result.structured_content
        assert isinstance(answer, dict), result
        assert [json.loads(part.text) for part in result.content if part.type == "text"] == [answer]  # for text readers
        assert result.is_error is not answer["success"], answer
        self.answers.append(answer)
        return answer

    @asynccontextmanager
    async def agent(
        self, name: str, *, auth: Auth = "in-process", says: str = "another client"
    ) -> AsyncIterator[World]:
        """The same server as seen by another agent, which calls itself `says`."""
        server = self.server(name, auth=auth)
        async with Client(server, client_info=Implementation(name=says, version="1"), cache=None) as client:
            await know_tools(client, self.app.desk.settings.tool_choice)
            yield replace(self, client=client, answers=[])

    def server(self, name: str, *, auth: Auth = "in-process") -> TradingServer:
        """Another door to the same app, for the agent of that name."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[App]:
            yield self.app

        settings = self.app.desk.settings
        return TradingServer(
            opened,
            venue=settings.broker_mode.value,
            clock=self.clock,
            auth=auth,
            agent=name,
            choice=settings.tool_choice,
        )

    async def call_while_time_passes(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """As `call`, for one that sends more messages than may leave in a second."""
        async with time_passing(self.clock):
            return await self.call(tool, **arguments)

    async def call_with(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """As `call`, for arguments that come as a whole."""
        return await self.call(tool, **arguments)

    async def last_price(self, symbol: str) -> float:
        """The newest price of `symbol` at the gateway."""
        last = self.gateway.market.quote(self.gateway.con_id(symbol)).last
        assert last is not None
        return float(last)

    async def buy(self, quantity: float = 1, *, symbol: str = "AAPL", **arguments: Any) -> dict[str, Any]:
        """A limit order that rests."""
        return await self.call("place_limit_order", **self.resting(quantity, symbol=symbol, **arguments))

    def resting(self, quantity: float = 1, *, symbol: str = "AAPL", **arguments: Any) -> dict[str, Any]:
        """The arguments of a limit order that rests: 10 % below the bid, on the grid."""
        given = {"symbol": symbol, "action": "BUY", "quantity": quantity, **arguments}
        if "limit_price" not in given:
            bid = self.gateway.market.quote(self.gateway.con_id(symbol)).bid
            assert bid is not None
            given["limit_price"] = float((bid * Decimal("0.9")).quantize(Decimal("0.01")))
        return given

    @property
    def sent(self) -> int:
        """How many orders reached the gateway, over all connections."""
        return len(self.gateway.received_orders)

    async def until(self, true: Callable[[], object]) -> None:
        """Wait, bounded, for something that the loop is about to bring."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not true():  # noqa: ASYNC110 - what is awaited has no event; the wait is bounded
                await asyncio.sleep(0.005)

    async def until_up(self) -> None:
        link = await self.app.desk.broker.wait_until_up(PATIENCE_SECONDS)
        assert link.is_up, link
        readiness = self.app.desk.safety.readiness
        if not await readiness.wait_until_settled(PATIENCE_SECONDS / 4):
            async with time_passing(self.clock):  # a comparison that a loaded machine delayed too long is repeated
                assert await readiness.wait_until_settled(PATIENCE_SECONDS), "not compared"

    async def reconnected(self) -> None:
        """Let time pass until a link that was lost is back and the records were compared."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await self.app.desk.broker.wait_until_up(0.01)).is_up:
                await self.clock.advance(1)
        await self.until_up()

    async def sleep_through(self, seconds: float) -> None:
        """Let the machine sleep for so long, and then some seconds pass until whoever watches has looked about."""
        await self.clock.leap(seconds)
        await self.until_watched()
        await self.until_up()

    async def until_watched(self) -> None:
        """Let seconds pass until the watch over the risk has looked about and knows all that it needs."""
        breaker = self.app.desk.safety.breaker
        async with asyncio.timeout(PATIENCE_SECONDS):
            while breaker.missing is not None or breaker.looked_at < self.clock.monotonic() - 2:
                await self.clock.advance(1)

    async def until_quiet(self) -> None:
        """Wait until a comparison with the broker that is under way has ended."""
        async with self.app.reconciler.working:
            await self.app.follower.settled()

    def working_orders(self) -> list[OrderStatus]:
        """Statuses of the working orders as the adapter knows them."""
        return [order.status for order in self.app.desk.broker.known_orders() if order.is_working]

    async def records(self, event_type: EventType | None = None) -> list[AuditRecord]:
        """The audit log so far, oldest first."""
        await self.app.follower.settled()
        await self.app.desk.audit.flush()
        return await self.app.desk.database.read(lambda connection: tail(connection, 100_000, event_type))

    async def decisions(self) -> list[AuditRecord]:
        """The record of each call so far, oldest first; that of a request for prices has a type of its own."""
        return [record for record in await self.records() if record.event_type in DECISIONS]

    async def judged_again(self) -> list[Replayed]:
        """Every decision so far, judged again from the log alone."""
        await self.app.follower.settled()
        await self.app.desk.audit.flush()
        return await self.app.desk.database.read(judged_again)

    async def newest_report(self) -> Report:
        """Of comparing the records with the broker's."""
        report = await self.app.desk.database.read(reconciliations.newest)
        assert report is not None
        return report

    async def intent(self, request_key: str) -> Intent:
        found = await self.app.desk.database.read(lambda connection: intents.find_by_key(connection, request_key))
        assert found is not None
        return found


@asynccontextmanager
async def time_passing(clock: ManualClock, *, step: float = 0.1) -> AsyncIterator[None]:
    """Let `clock` run while the body does, by `step` seconds at a time: what waits for a time to pass goes on."""

    async def pass_on() -> None:
        while True:
            await asyncio.sleep(0.005)
            await clock.advance(step)

    passing = asyncio.create_task(pass_on())
    try:
        yield
    finally:
        passing.cancel()
        await asyncio.wait([passing])


_KNOWN_TOOLS: dict[tuple[str, ToolChoice], tuple[Any, ...]] = {}


async def know_tools(client: Client, choice: ToolChoice) -> None:
    """List the tools, or know of them what an earlier client learned: that would be a third of the time of a start."""
    session = client.session
    version = client.protocol_version
    known = _KNOWN_TOOLS.get((version, choice))
    if known is None:
        await client.list_tools()
        _KNOWN_TOOLS[version, choice] = (
            session._tool_output_schemas,
            session._tool_output_validators,
            session._x_mcp_header_maps,
        )
    else:
        session._tool_output_schemas, session._tool_output_validators, session._x_mcp_header_maps = known


def judged_again(connection: Connection) -> list[Replayed]:
    """Every decision of the log, judged again."""
    log = Replay()
    found = [log.take(record) for record in records_of_store(connection, ChainReader(), READ)]
    return [one for one in found if one is not None]


@asynccontextmanager
async def running(
    tmp_path: Path | None = None,
    gateway: PaperGateway | None = None,
    clock: ManualClock | None = None,
    *,
    mode: str = "auto",
    asked: Any = None,
    wait: bool = True,
    **settings: Any,
) -> AsyncIterator[World]:
    """Run the server on `gateway`, trading enabled, with its state in `tmp_path`; `settings` as `load_settings` has it.

    Without `tmp_path` the state is thrown away; without `gateway` the server brings its own, as `serve` does. `mode` is
    the MCP client's ("auto" or "legacy"), and `asked` answers what the server asks it. With `wait` the link is up when
    the body begins.
    """
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        if tmp_path is None:
            tmp_path = Path(stack.enter_context(TemporaryDirectory()))
        clock = clock or ManualClock()
        chosen = {"enable_trading": True, **WITHOUT_PAUSES, **settings}
        if gateway is not None:
            chosen = {"broker_mode": "paper", "port": gateway.port, **chosen}
        state = with_tables(open_state_directory(tmp_path / "state", allow_temporary=True))
        configured = load_settings(environ={}, **chosen)

        @asynccontextmanager
        async def opening(clock: ManualClock = clock) -> AsyncIterator[App]:
            async with open_app(configured, state, clock=clock) as app:
                yield app

        server = TradingServer(
            opening,
            venue=configured.broker_mode.value,
            clock=clock,
            sentinel=state.sentinel,
            choice=configured.tool_choice,
        )
        client = await stack.enter_async_context(Client(server, mode=mode, elicitation_callback=asked, cache=None))
        await know_tools(client, configured.tool_choice)
        assert server._background is not None
        opened = await server._background.opened()  # as the first call does
        app = opened.app
        assert isinstance(app, App), opened.error
        gateway = gateway or app.gateway
        assert gateway is not None
        world = World(client=client, app=app, gateway=gateway, clock=clock, state=state)
        if wait:
            await world.until_up()
        try:
            yield world
        except Exception as error:  # raised below, because the client would wrap it in a group
            failure = error
    if failure is not None:
        raise failure
