"""What is paid in or out, and what is moved in or out, is neither profit nor loss; it is noticed and recorded."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.operations.risk_monitor import BALANCES_SECONDS
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.breaker import Mode
from ibkr_mcp_server.store.latches import current
from tests.flow.breaker_kit import ACCOUNT, SLOWLY, invested, state_of, tick
from tests.harness import World, running

PAYMENTS = (EventType.DEPOSIT, EventType.WITHDRAWAL, EventType.TRANSFER)


async def payments(world: World) -> list[AuditRecord]:
    """What the log tells of them."""
    return [record for record in await world.records() if record.event_type in PAYMENTS]


async def noticed(world: World, how_many: int) -> list[tuple[str, Decimal]]:
    """The payments, once so many were recorded: the broker is asked for balances now and then only."""
    told = await payments(world)
    for _ in range(6):
        if len(told) >= how_many:
            break
        await world.clock.advance(BALANCES_SECONDS)
        await tick(world)
        told = await payments(world)
    return [(record.event_type.value, Decimal(record.outcome["amount"])) for record in told]


async def test_a_withdrawal_of_thirty_percent_trips_nothing_and_a_loss_after_it_still_does(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LED-07, AUD-07: of 2,000,000 USD 600,000 leave, then money and shares come; none of it moves the breaker."""
    invested(gateway)
    async with running(tmp_path, gateway, clock, **SLOWLY) as world:
        await tick(world)
        gateway.pay(ACCOUNT, -600_000)
        assert await noticed(world, 1) == [("WITHDRAWAL", Decimal(-600_000))]
        gateway.pay(ACCOUNT, 100_000)
        assert (await noticed(world, 2))[1] == ("DEPOSIT", Decimal(100_000))
        [withdrawal, deposit] = await payments(world)
        assert withdrawal.outcome["account"] == "******001"
        assert [float(one.outcome["equity"]) for one in (withdrawal, deposit)] == [1_400_000, 1_500_000]
        state = await state_of(world)
        assert (state.mode, state.is_open, state.breaches) == (Mode.NORMAL, False, {})
        assert not (await world.app.desk.database.read(current)).active
        bought = await world.buy(1, symbol="MSFT", limit_price=95.0)
        assert bought["success"], bought

        await tick(world, "96.90")  # 2.07 % of 1,500,000
        assert {one.trigger for one in (await state_of(world)).breaches.values()} == {"CB-13"}
        gateway.add_position(ACCOUNT, "IBM", 5_000, 100)
        assert (await noticed(world, 3))[2] == ("TRANSFER", Decimal(484_500))
        gateway.add_position(ACCOUNT, "IBM", 0, 0)
        assert (await noticed(world, 4))[3] == ("TRANSFER", Decimal(-484_500))
        losses = {one.trigger: one.observed for one in (await state_of(world)).breaches.values() if one.loses_money}
        assert losses.keys() == {"CB-13"}
    async with running(tmp_path, gateway, clock, **SLOWLY) as world:
        await tick(world)
        assert len(await payments(world)) == 4  # a restart notices none of them again
