"""What deciding costs: the checks alone in memory, a whole decision with its durable intent, and the verification.

All of it runs in this process, but for the verification (`verifying.py`); the paper gateway is another. Where processor
time says more than the clock on the wall, because the machine does other things too, it stands beside it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from ibkr_mcp_server import log
from ibkr_mcp_server.app import App, open_app
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.domain.instruments import InstrumentQuery
from ibkr_mcp_server.domain.operations import Actor, ActorType, Operation, OperationClass, OrderDraft
from ibkr_mcp_server.domain.orders import OrderType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.snapshot import Recorded, Snapshot
from ibkr_mcp_server.safety.state import EffectiveState
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.state_dir import open_state_directory
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import Opening
from scripts.bench.kit import OPEN_LIMITS, Bench, fine_row
from tests.stores import an_event
from tests.unit.safety import builders

CHECKS = 3_000
DECISIONS = 300
EARLIER_ORDERS = 20
"""Of the day, as the checks see them: the daily limit warns from here on."""
RECORDS = 400_000
AGENT = Actor(type=ActorType.AGENT, id="bench 1", auth="stdio")


def decision_figures(bench: Bench) -> None:
    print("\nOne decision, microseconds")
    _checks_alone()
    with bench.paper_gateway() as port:
        asyncio.run(_whole_decisions(bench, port))
    print("\nThe audit log")
    _verification(bench)


# ---- the checks alone


def _checks_alone() -> None:
    """All rules of a placement over a snapshot that passes them all, beside as many calls that do nothing."""
    policy, operation, seen = Policy(builders.settings()), builders.placement(), _snapshot()
    validation = policy.review(operation, seen)
    assert validation.is_safe, validation.failures
    rules = policy.table[OperationClass.ORDER_PLACEMENT]

    class Nothing:
        def review(self, operation: Operation, seen: Snapshot) -> None:
            return None

    nothing = [Nothing() for _ in rules]

    def called() -> None:
        for check in nothing:
            check.review(operation, seen)

    anchor = _microseconds(called, CHECKS)
    fine_row(f"{len(rules)} calls that do nothing", anchor, anchor)
    fine_row(
        f"{len(rules)} checks, alone in memory", _microseconds(lambda: policy.review(operation, seen), CHECKS), anchor
    )


def _snapshot() -> Snapshot:
    """An order after a day of others."""
    openings = tuple(
        Opening(
            age_seconds=700.0 + 60 * number,
            is_today=True,
            con_id=265598 + number,
            side="BUY",
            quantity=Decimal(1),
            limit_price=Decimal("100.00"),
            stop_price=None,
            value_usd=Decimal(100),
            request_key=f"key-{number:08}",
            order_ref=f"ref-{number:08}",
            agent=AGENT.id,
            is_new=True,
        )
        for number in range(EARLIER_ORDERS)
    )
    recorded = Recorded(state=EffectiveState(), openings=openings, opening_today=len(openings))
    return builders.snapshot(builders.order(quantity=Decimal(1)), recorded=recorded)


# ---- whole decisions


async def _whole_decisions(bench: Bench, port: int) -> None:
    """From the request to the durable intent, beside a bare synced commit; the order is not sent."""
    variables = {"IBKR_BROKER_MODE": "paper", "IBKR_PORT": str(port), **OPEN_LIMITS}
    environment = bench.environment("decisions", **variables)
    settings = load_settings(environ=environment)
    state = open_state_directory(settings.state_directory)
    log.configure("ERROR", None)
    anchor = _bare_commits(Path(environment["IBKR_STATE_DIR"]) / "anchor.db")
    async with open_app(settings, state, clock=SystemClock()) as app:
        await app.desk.broker.wait_until_up(10)
        await app.desk.safety.readiness.wait_until_settled(10)
        price = await _resting_price(app)
        wall, busy = [], []
        for turn in range(DECISIONS + 20):
            operation = Operation(
                tool="place_limit_order",
                operation_class=OperationClass.ORDER_PLACEMENT,
                actor=AGENT,
                arguments={"symbol": "AAPL", "action": "BUY", "quantity": Decimal(1), "limit_price": price},
                draft=OrderDraft(
                    query=InstrumentQuery(symbol="AAPL"),
                    side="BUY",
                    quantity=Decimal(1),
                    order_type=OrderType.LMT,
                    limit_price=price,
                ),
            )
            began, spent = time.perf_counter(), time.process_time()
            admission = await app.desk.safety.admit(operation)
            if turn >= 20:
                wall.append((time.perf_counter() - began) * 1e6)
                busy.append((time.process_time() - spent) * 1e6)
            assert admission.approval is not None, admission.decision.problems
            # Not part of the figure: what was reserved is given back, so that nothing stays open.
            await app.desk.safety.settle(
                admission.decision, admission.decision.intent_id, Refused("BENCH", "Not sent.")
            )
    fine_row("a bare synced commit", anchor, anchor)
    fine_row("a decision with its durable intent", wall, anchor)
    fine_row("  processor time of it", busy, anchor)


async def _resting_price(app: App) -> Decimal:
    instrument = await app.desk.broker.resolve(InstrumentQuery(symbol="AAPL"))
    while True:
        (quote,) = await app.desk.broker.quotes([instrument])
        bid = getattr(quote, "bid", None)
        if bid is not None:
            return (Decimal(bid) * Decimal("0.9")).quantize(Decimal("0.01"))


def _bare_commits(path: Path) -> list[float]:
    """One row in one synced transaction, as SQLite's driver does it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE t (x TEXT)")

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (?)", ("x" * 2_000,))
        connection.execute("COMMIT")

    taken = _microseconds(commit, DECISIONS)
    connection.close()
    return taken


# ---- verification


def _verification(bench: Bench) -> None:
    """Records verified in a second, in one process and in several, beside the hashing of as many bytes."""
    path = Path(bench.environment("verify")["IBKR_STATE_DIR"])
    path.mkdir(mode=0o700)
    database = Database.open(path / "state.db")
    audit = AuditLog(database, session_id=str(uuid4()), config_hash="c" * 64, clock=SystemClock())
    event = an_event()
    for _ in range(RECORDS // 1_000):
        database.run_blocking(lambda connection: audit.append(connection, *[event] * 1_000))
    size = database.read_blocking(
        lambda c: c.exec_driver_sql(
            "SELECT sum(length(actor) + length(order_data) + length(validation_result)) + 400 * count(*) FROM audit_log"
        ).scalar_one()
    )
    body = os.urandom(int(size) // RECORDS)
    began = time.perf_counter()
    for _ in range(RECORDS):
        sha256(body).hexdigest()
    hashing = RECORDS / (time.perf_counter() - began)
    database.close()
    print(f"{'hashing alone':<44}{hashing:>10,.0f} records/s of {len(body)} bytes", flush=True)
    subprocess.run([sys.executable, "-m", "scripts.bench.verifying", path / "state.db"], check=True)


def _microseconds(call: Callable[[], object], count: int) -> list[float]:
    taken = []
    for turn in range(count + 100):
        began = time.perf_counter_ns()
        call()
        if turn >= 100:
            taken.append((time.perf_counter_ns() - began) / 1_000)
    return taken
