"""What a drill does and measures: the whole stop path, on a paper gateway of its own or on a paper account."""

from __future__ import annotations

import asyncio
import math
import statistics
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.app import App, open_app
from ibkr_mcp_server.cli.drill_trigger import DRILL
from ibkr_mcp_server.clock import Clock, SystemClock
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery
from ibkr_mcp_server.domain.operations import Actor, ActorType, Operation, OperationClass, OrderDraft
from ibkr_mcp_server.domain.orders import OrderType
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.errors import Fault, Unavailable
from ibkr_mcp_server.operations.orders import send_order
from ibkr_mcp_server.operations.safe_operation import OperationFailed
from ibkr_mcp_server.safety.decision import OperationRefused
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.simulator.requests import PlaceOrder
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.state_dir import StateDirectory
from ibkr_mcp_server.store.latches import KillMode

SYMBOLS = (
    "AAPL", "MSFT", "NVDA", "IBM", "TSLA", "GOOG", "AMZN", "META", "NFLX", "AMD",
    "INTC", "CSCO", "ORCL", "JPM", "BAC", "V", "XOM", "JNJ", "PFE", "KO",
)  # fmt: skip
LATCHES = 20
TRIES = 5
"""On a busy machine a decision may take too long; that is no finding of a drill."""
VALUE_WAIT_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
_CLOSE_TO_ZERO = Decimal("0.9")
"""Of the bid: entries that rest, inside every rule about prices."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One thing that was measured, against its target; both in seconds."""

    name: str
    measured: float
    target: float

    @property
    def passed(self) -> bool:
        return self.measured <= self.target


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a drill is."""

    orders: int = 100
    positions: int = 20
    triggers: int = 30


def settings_for_drills(state: StateDirectory, port: int) -> Settings:
    """Limits that so many orders at once do not reach."""
    return load_settings(
        environ={},
        state_dir=state.path,
        broker_mode="paper",
        port=port,
        restart_windows="",
        allow_weekend_trading=True,
        enable_trading=True,
        max_orders_per_minute=3_000,
        max_daily_orders=100_000,
        order_cooldown_seconds=0,
        repeated_order_seconds=0,
        max_working_orders=1_000,
        max_working_orders_per_symbol=1_000,
        max_cycle_value_usd=100_000_000,
        max_daily_value_usd=100_000_000,
        max_price_walk_pct=100,
        messages_per_fill_warning=100_000,
        max_messages_per_fill=100_000,
        max_attempts_per_minute=100_000,
        max_position_size_pct=30,
        max_position_value_usd=10_000_000,
        max_total_exposure_pct=400,
        max_total_exposure_usd=100_000_000,
        max_position_pct_per_strategy=400,
        max_sector_exposure_pct=400,
        max_portfolio_value_at_risk=1,
        cash_reserve_pct=0,
        margin_preview=False,
        max_concurrent_positions=1_000,
        max_leverage=2,
    )


async def on_the_simulator(state: StateDirectory, size: Size) -> list[Figure]:
    """The whole path, on a paper gateway and a store that are thrown away."""
    clock = SystemClock()
    async with PaperGateway(clock=clock, market_always_open=True) as gateway, AsyncExitStack() as stack:
        account = gateway.accounts.served[0]
        for symbol in SYMBOLS[: size.positions]:  # long, so that what is bought besides opens
            gateway.add_position(account, symbol, Decimal(10), Decimal(100))
        app = await stack.enter_async_context(open_app(settings_for_drills(state, gateway.port), state, clock=clock))
        await _until_up(app)
        figures = [await _latch(app, clock), await _other_process(app, gateway, clock, state, size)]
        figures.append(await _cancel_and_close(app, gateway, clock, size))
        begun = clock.monotonic()
        await stack.aclose()
        figures.append(Figure(name="the server ends in order", measured=clock.monotonic() - begun, target=5.0))
    return figures


async def on_paper(settings: Settings, state: StateDirectory, orders: int) -> list[Figure]:
    """A halt on the configured paper account, with a few entries of one share; trading stays halted afterwards.

    Raises:
        Unavailable: another server writes, or the link does not come up.
        Refused: an entry was refused.
    """
    clock = SystemClock()
    async with open_app(settings, state, clock=clock) as app:
        if not app.desk.safety.writer.is_writer:
            raise Unavailable("WRITER_ELSEWHERE", "A server writes for this account.", next_step="End it first.")
        await _until_up(app)
        await _place_entries(app, SYMBOLS[:orders], orders, clock)
        begun = clock.monotonic()
        await app.desk.safety.kill_switch.activate(KillMode.HALT_ONLY, "drill", DRILL)
        latched = Figure(name="the stop is durable", measured=clock.monotonic() - begun, target=1.0)
        await _until(
            lambda: not any(order.is_working and order.placed_here for order in app.desk.broker.known_orders())
        )
        return [
            latched,
            Figure(name=f"{orders} entries are cancelled", measured=clock.monotonic() - begun, target=5.0),
        ]


async def _until_up(app: App) -> None:
    link = await app.desk.broker.wait_until_up(PATIENCE_SECONDS)
    if not link.is_up or not await app.desk.safety.readiness.wait_until_settled(PATIENCE_SECONDS):
        raise Unavailable("LINK_DOWN", f"The link to the broker is {link.state}. {link.problem or ''}".strip())


async def _latch(app: App, clock: Clock) -> Figure:
    took = []
    for _ in range(LATCHES):
        begun = clock.monotonic()
        await app.desk.safety.kill_switch.activate(
            KillMode.HALT_ONLY, "drill", DRILL, scope=scopes.of_strategy("drill-latch")
        )
        took.append(clock.monotonic() - begun)
    return Figure(name="the stop is durable in this process, median", measured=statistics.median(took), target=0.010)


async def _other_process(app: App, gateway: PaperGateway, clock: Clock, state: StateDirectory, size: Size) -> Figure:
    """Another process stops one agent after the other, each while it sends orders as fast as it can."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ibkr_mcp_server.cli.drill_trigger", str(state.path), stdin=PIPE, stdout=PIPE
    )
    try:
        await _line(child)
        draft = _entry(*await _priced(app, SYMBOLS[0]))
        took = [
            await _stopped_from_outside(app, gateway, clock, child, f"drill-{number}", draft)
            for number in range(size.triggers)
        ]
    finally:
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()
    await _until(lambda: not any(order.is_working for order in app.desk.broker.known_orders()))
    ranked = sorted(took)
    p99 = ranked[math.ceil(0.99 * len(ranked)) - 1]
    return Figure(
        name=f"trigger in another process to no new orders, p99 of {size.triggers}", measured=p99, target=0.100
    )


async def _stopped_from_outside(
    app: App, gateway: PaperGateway, clock: Clock, child: Process, agent: str, draft: OrderDraft
) -> float:
    """Seconds from the trigger to the last order that reached the gateway.

    One that was asked for after the trigger had returned, and accepted, is a fault.
    """
    assert child.stdin is not None
    await _first_sent(app, agent, draft, clock)
    child.stdin.write(f"{scopes.of_strategy(agent)}\n".encode())
    triggered = asyncio.create_task(_line(child))
    accepted: list[datetime] = []  # when the orders were asked for that passed
    asked_at = clock.now()
    while await _sent(app, agent, draft):
        accepted.append(asked_at)
        asked_at = clock.now()
    begun, returned = map(datetime.fromisoformat, (await triggered).split())
    if accepted and accepted[-1] > returned:
        raise Fault("ORDER_AFTER_STOP", f"An order of {agent} was accepted after the stop had returned.")
    last = max(entry.at for entry in gateway.received if isinstance(entry.request, PlaceOrder))
    return max(0.0, (last - begun).total_seconds())


async def _first_sent(app: App, agent: str, draft: OrderDraft, clock: Clock) -> None:
    """Send an agent's first order; what is held may have no value until the broker has told it.

    Raises:
        Unavailable: it was refused each time.
    """
    for _ in range(TRIES - 1):
        if await _sent(app, agent, draft):
            return
        await clock.sleep(VALUE_WAIT_SECONDS)
    await _all_sent(app, agent, [draft])


async def _all_sent(app: App, agent: str, drafts: Sequence[OrderDraft]) -> None:
    try:
        await asyncio.gather(*(send_order(_placement(draft, agent), app.desk) for draft in drafts))
    except (OperationRefused, OperationFailed) as error:
        raise Unavailable("DRILL_REFUSED", f"An entry of the drill did not pass: {error}") from error


async def _sent(app: App, agent: str, draft: OrderDraft) -> bool:
    try:
        await send_order(_placement(draft, agent), app.desk)
    except (OperationRefused, OperationFailed):
        return False
    return True


async def _cancel_and_close(app: App, gateway: PaperGateway, clock: Clock, size: Size) -> Figure:
    account, symbols = gateway.accounts.served[0], SYMBOLS[: size.positions]
    await _place_entries(app, symbols, size.orders, clock)
    begun = clock.monotonic()
    await app.desk.safety.kill_switch.activate(KillMode.CLOSE_POSITIONS, "drill", DRILL)

    def is_flat() -> bool:
        held = gateway.accounts.by_code[account].positions.values()
        return not gateway.exchange.open_orders() and not any(position.quantity for position in held)

    await _until(is_flat)
    name = f"{size.orders} working orders cancelled and {len(symbols)} positions flat"
    return Figure(name=name, measured=clock.monotonic() - begun, target=5.0)


async def _place_entries(app: App, symbols: tuple[str, ...], count: int, clock: Clock) -> None:
    drafts = [_entry(*await _priced(app, symbol)) for symbol in symbols]
    first, *others = (drafts[number % len(drafts)] for number in range(count))
    await _first_sent(app, "drill", first, clock)
    await _all_sent(app, "drill", others)


async def _priced(app: App, symbol: str) -> tuple[Instrument, Decimal]:
    instrument = await app.desk.broker.resolve(InstrumentQuery(symbol=symbol))
    (quote,) = await app.desk.broker.quotes([instrument])
    if not isinstance(quote, Quote) or quote.bid is None:
        raise Unavailable("NO_REFERENCE_PRICE", f"There is no quote for {symbol}.")
    return instrument, quote.bid


def _entry(instrument: Instrument, bid: Decimal) -> OrderDraft:
    return OrderDraft(
        query=InstrumentQuery(symbol=instrument.symbol, con_id=instrument.con_id),
        side="BUY",
        quantity=Decimal(1),
        order_type=OrderType.LMT,
        limit_price=(bid * _CLOSE_TO_ZERO).quantize(Decimal("0.01")),
    )


def _placement(draft: OrderDraft, agent: str) -> Operation:
    return Operation(
        tool="drill",
        operation_class=OperationClass.ORDER_PLACEMENT,
        actor=Actor(type=ActorType.AGENT, id=agent, auth="in-process"),
        arguments={"symbol": draft.query.symbol, "limit_price": f"{draft.limit_price:f}"},
        draft=draft,
    )


async def _line(child: Process) -> str:
    assert child.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        line = await child.stdout.readline()
    if not line:
        raise Fault("DRILL_FAILED", "The other process of the drill ended too soon.")
    return line.decode().strip()


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - what is awaited has no event; the wait is bounded
            await asyncio.sleep(0.005)
