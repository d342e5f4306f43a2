"""The composition root: every part is made here from the settings, opened in order and closed in reverse.

Order of the start (SU-01): state directory → store and its integrity → the writer's lock → paper gateway, when it is
ours; then, in the background while reads are served, audit chain → latches → link → accounts → reconciliation →
invariants. Orders are refused as STARTING until the last of them (`operations/reconciliation.py`). Nothing is made at
import; two apps can live in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from ibkr_mcp_server import __version__
from ibkr_mcp_server.agents import Agent, limits_of, load_agents
from ibkr_mcp_server.alerts.channels import channels_of
from ibkr_mcp_server.alerts.outbox import Outbox
from ibkr_mcp_server.audit.checkpoints import CheckpointFile
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.broker.base import Broker
from ibkr_mcp_server.broker.ib import IBBroker
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.errors import Fault, Unavailable
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.alerting import AlertSender, tell_unopened
from ibkr_mcp_server.operations.checkpoints import Checkpointer
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.follow import OrderFollower
from ibkr_mcp_server.operations.heartbeat import Heartbeat
from ibkr_mcp_server.operations.overrides import disabled_controls
from ibkr_mcp_server.operations.portfolio_risk import PortfolioRisk
from ibkr_mcp_server.operations.protection_watch import ProtectionWatch
from ibkr_mcp_server.operations.reconciliation import Reconciler
from ibkr_mcp_server.operations.risk_monitor import RiskMonitor
from ibkr_mcp_server.operations.session_limit import SessionLimit
from ibkr_mcp_server.operations.shutdown import shut_down
from ibkr_mcp_server.operations.stale_entries import StaleEntries
from ibkr_mcp_server.operations.stop import StopWatch
from ibkr_mcp_server.operations.stop_coordinator import StopCoordinator
from ibkr_mcp_server.operations.tool_descriptions import change_since_last_start, tools_hash
from ibkr_mcp_server.safety.callbacks import Occasion
from ibkr_mcp_server.safety.default_account import DefaultAccount
from ibkr_mcp_server.safety.kill_switch import ENVIRONMENT, KillSwitch
from ibkr_mcp_server.safety.manager import TradingSafetyManager
from ibkr_mcp_server.safety.reader_seat import ReaderSeat
from ibkr_mcp_server.safety.redis_switch import RedisSwitch
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.safety.writer import WriterRole
from ibkr_mcp_server.settings.broker import BrokerMode
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.state_dir import StateDirectory
from ibkr_mcp_server.store import alerts
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.latches import KillMode

BROKER_MESSAGES_PER_SECOND = 50
"""What IBKR allows one client of the TWS API."""
QUOTE_SHARE = 0.6
"""Of the time for a decision, what a quote that never comes may use: the checks must still say that it is missing."""
LONGEST_QUOTE_WAIT_SECONDS = 1.2
"""A first tick that has not come by then does not come, however long a decision may take."""

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class App:
    """The running product, as its doors see it."""

    desk: Desk
    follower: OrderFollower
    reconciler: Reconciler
    stop_watch: StopWatch
    risk_monitor: RiskMonitor
    checkpointer: Checkpointer
    session_limit: SessionLimit
    alert_sender: AlertSender
    protection_watch: ProtectionWatch
    gateway: PaperGateway | None
    """The built-in paper gateway, when the broker mode is `simulator`."""


@asynccontextmanager
async def open_app(settings: Settings, state: StateDirectory, *, clock: Clock) -> AsyncIterator[App]:
    """Open everything; the link to the broker comes up in the background.

    Raises:
        Fault: the store cannot be read. Trading is then impossible, and the doors say why.
        ConfigurationError: the file of agents is wrong.
        Unavailable: the store is busy, or another process runs the paper gateway of this state directory.
    """
    session_id = str(uuid.uuid4())
    agents = load_agents(state.agents, settings)
    async with AsyncExitStack() as stack:
        try:
            database = await asyncio.to_thread(Database.open, settings.store_location(state))
        except Fault as error:
            await tell_unopened(settings, clock, error.message)
            raise
        stack.callback(database.close)
        audit = AuditLog(
            database,
            session_id=session_id,
            config_hash=settings.fingerprint,
            clock=clock,
            calls=settings.enable_audit_logging,
            hears=Outbox(settings, clock).hears,
        )
        await _record_start(database, audit, settings, agents)
        stack.push_async_callback(_record_stop, audit)
        stack.push_async_callback(audit.close)  # what waits to be written comes before the last record

        gate = SendGate(state.send_lock)
        kill_switch = KillSwitch(
            database=database,
            audit=audit,
            clock=clock,
            gate=gate,
            sentinel=state.sentinel,
            holds=settings.enable_kill_switch,
        )

        if settings.kill_switch:
            await kill_switch.activate(KillMode.HALT_ONLY, "IBKR_KILL_SWITCH is true", ENVIRONMENT)

        writer = WriterRole(
            lock=database.writer_lock(), database=database, audit=audit, clock=clock, session_id=session_id
        )
        stack.callback(writer.close)
        await writer.claim()

        seat = ReaderSeat(state.path, client_id=settings.client_id, offset=settings.reader_client_id_offset)
        stack.callback(seat.leave)

        gateway = await _paper_gateway(stack, settings, state, clock)
        client_id = settings.client_id if writer.is_writer else seat.take()
        broker = _adapter(settings, gateway, client_id, clock, session_id)
        default_account = DefaultAccount()
        safety = TradingSafetyManager(
            settings=settings,
            broker=broker,
            database=database,
            audit=audit,
            kill_switch=kill_switch,
            gate=gate,
            writer=writer,
            clock=clock,
            default_account=default_account,
            session_id=session_id,
            agent_limits=limits_of(agents),
        )
        desk = Desk(
            settings=settings,
            clock=clock,
            broker=broker,
            safety=safety,
            database=database,
            audit=audit,
            default_account=default_account,
            session_id=session_id,
        )
        follower, coordinator = OrderFollower(desk), StopCoordinator(desk)
        stop_watch, risk_monitor = StopWatch(desk, coordinator), RiskMonitor(desk, follower)
        database.on_trouble = risk_monitor.wake
        follower.on_recorded, safety.settlement.on_settled = risk_monitor.recorded, risk_monitor.settled
        places = settings.checkpoint_places(state)
        checkpoints = CheckpointFile(path=places[0], key=places[1])
        checkpointer, session_limit = Checkpointer(desk, checkpoints), SessionLimit(desk)
        await session_limit.look()
        reconciler = Reconciler(desk, follower, store_location=settings.store_location(state), checkpoints=checkpoints)
        safety.settlement.on_lost = follower.look_again

        def take_over() -> None:
            broker.connect_as(settings.client_id)
            seat.leave()
            follower.take_over()
            reconciler.take_over()

        channels = channels_of(settings, await database.read(alerts.installation))
        alert_sender = AlertSender(
            settings=settings,
            channels=channels,
            database=database,
            audit=audit,
            clock=clock,
            is_writer=lambda: writer.is_writer,
        )
        protection_watch = ProtectionWatch(desk)
        safety.standing.more_conditions.append(alert_sender.causes)
        kill_switch.callbacks.register(Occasion.HALT, alert_sender.halted)
        writer.on_granted = take_over
        coordinator.on_carried_out = reconciler.after_stop
        broker.listen(follower.listen)
        broker.listen(reconciler.listen)
        broker.listen(risk_monitor.listen)
        jobs = (
            follower.run(),
            follower.resolve_unknown(),
            reconciler.run(),
            stop_watch.run(),
            checkpointer.run(),
            session_limit.run(),
            risk_monitor.run(),
            StaleEntries(desk).run(),
            PortfolioRisk(desk).run(),
            alert_sender.run(),
            Heartbeat(desk).run(),
            protection_watch.run(),
            writer.run(on_lost=stop_watch.role_lost),
        )
        stack.push_async_callback(checkpointer.close)
        await stack.enter_async_context(_background(*jobs, *_key_in_redis(settings, desk)))
        await broker.open()
        stack.push_async_callback(broker.close)
        stack.push_async_callback(shut_down, desk)
        _log.info("open", session_id=session_id, venue=settings.broker_mode, version=__version__)
        yield App(
            desk=desk,
            follower=follower,
            reconciler=reconciler,
            stop_watch=stop_watch,
            risk_monitor=risk_monitor,
            checkpointer=checkpointer,
            session_limit=session_limit,
            alert_sender=alert_sender,
            protection_watch=protection_watch,
            gateway=gateway,
        )


@asynccontextmanager
async def link_to_look(settings: Settings, state: StateDirectory, *, clock: Clock) -> AsyncIterator[Broker]:
    """A link of its own, for looking only: nothing is recorded, and nothing could be sent without an approval.

    In simulator mode it meets a paper gateway of its own, whose world is thrown away.
    """
    async with AsyncExitStack() as stack:
        client_id = settings.client_id + settings.reader_client_id_offset
        if state.path.exists():  # without it there is no server whose id could be in the way
            seat = ReaderSeat(state.path, client_id=settings.client_id, offset=settings.reader_client_id_offset)
            stack.callback(seat.leave)
            client_id = seat.take()
        gateway = None
        if settings.broker_mode is BrokerMode.SIMULATOR:
            gateway = await stack.enter_async_context(PaperGateway(clock=clock, accounts=settings.simulator_accounts))
        broker = _adapter(settings, gateway, client_id, clock, str(uuid.uuid4()))
        stack.push_async_callback(broker.close)
        await broker.open()
        yield broker


def _key_in_redis(settings: Settings, desk: Desk) -> Iterator[Coroutine[Any, Any, None]]:
    """The job that looks for the key, when a Redis is configured."""
    if settings.redis_url is None:
        return
    switch = RedisSwitch(
        url=settings.redis_url.get_secret_value(),
        key=settings.kill_switch_redis_key,
        kill_switch=desk.safety.kill_switch,
        database=desk.database,
        clock=desk.clock,
    )
    desk.safety.standing.more_conditions.append(switch.causes)
    yield switch.run()


async def _paper_gateway(
    stack: AsyncExitStack, settings: Settings, state: StateDirectory, clock: Clock
) -> PaperGateway | None:
    if settings.broker_mode is not BrokerMode.SIMULATOR:
        return None
    _keep_to_ourselves(stack, state)
    return await stack.enter_async_context(
        PaperGateway(
            clock=clock,
            seed=settings.simulator_seed,
            accounts=settings.simulator_accounts,
            host=settings.host,
            port=settings.gateway_port or 0,
            market_always_open=settings.simulator_market_always_open,
            speed=settings.simulator_speed,
            state_dir=state.gateway_world,
        )
    )


def _keep_to_ourselves(stack: AsyncExitStack, state: StateDirectory) -> None:
    """One process plays the world of a state directory: two would overwrite each other's accounts."""
    lock = FileLock(str(state.gateway_lock), mode=0o600, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise Unavailable(
            "GATEWAY_IN_USE",
            f"Another server already runs the paper gateway of {state.path}.",
            next_step="End the other server, or give this one its own IBKR_STATE_DIR.",
        ) from error
    stack.callback(lock.release)


def _adapter(
    settings: Settings, gateway: PaperGateway | None, client_id: int, clock: Clock, session_id: str
) -> IBBroker:
    port = gateway.port if gateway is not None else settings.gateway_port
    assert port is not None  # only the simulator leaves it open
    return IBBroker(
        clock=clock,
        host=gateway.host if gateway is not None else settings.host,
        port=port,
        client_id=client_id,
        venue=settings.broker_mode,
        deadline_seconds=float(settings.broker_deadline_seconds),
        connect_timeout_seconds=float(settings.connect_timeout_seconds),
        quote_wait_seconds=min(QUOTE_SHARE * float(settings.decision_timeout_seconds), LONGEST_QUOTE_WAIT_SECONDS),
        messages_per_second=BROKER_MESSAGES_PER_SECOND * float(settings.api_rate_limit_buffer),
        urgent_share=float(settings.urgent_reserve_pct) / 100,
        heartbeat_seconds=float(settings.heartbeat_seconds),
        dead_after_seconds=float(settings.link_dead_after_seconds),
        restart_windows=settings.no_entry_windows,
        jitter_seed=session_id,
    )


async def _record_start(database: Database, audit: AuditLog, settings: Settings, agents: Sequence[Agent]) -> None:
    configuration = {
        "config": settings.effective_redacted,
        "config_hash": settings.fingerprint,
        "agents": [agent.redacted for agent in agents],
        "live_accounts": [masked(account) for account in settings.live_accounts],
    }
    tools = tools_hash()
    changed = await database.read(lambda connection: change_since_last_start(connection, tools))
    started = {"version": __version__, "tools_hash": tools}
    await audit.record(AuditEvent(type=EventType.SERVER_START, actor=SYSTEM, outcome=started))
    if changed is not None:
        await audit.record(changed)
    for name in disabled_controls(settings):
        await audit.record(AuditEvent(type=EventType.CONTROL_DISABLED, actor=SYSTEM, outcome={"setting": name}))
    await audit.record(AuditEvent(type=EventType.CONFIG_LOADED, actor=SYSTEM, outcome=configuration))


async def _record_stop(audit: AuditLog) -> None:
    await audit.record(AuditEvent(type=EventType.SERVER_STOP, actor=SYSTEM))


@asynccontextmanager
async def _background(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run endless jobs beside the body; one that ends by an error is logged loudly and the others go on."""
    tasks = [asyncio.create_task(_guarded(job)) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _guarded(job: Coroutine[Any, Any, None]) -> None:
    try:
        await job
    except Exception:
        _log.critical("a background job ended", job=str(job), exc_info=True)
        raise
