"""Replays the autumn of 2008 through the paper gateway, and draws where the circuit breaker acted.

    python -m scripts.autumn_2008 [docs/autumn-2008.svg]

The prices are the real ones of four stocks (see the README beside `simulator/data/daily.csv.gz`), the portfolio is
scripted: bought at the first price and held. Everything is the product as it runs, with its default levels for what is
lost in a day, a week and altogether. Time goes in steps of half an hour, which is too coarse for how fast equity falls
within five minutes and for how prices move together; those two triggers are therefore set aside.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ibkr_mcp_server.app import App, open_app
from ibkr_mcp_server.clock import NEW_YORK, ManualClock
from ibkr_mcp_server.domain.accounts import AccountPnl, AccountSummary
from ibkr_mcp_server.safety.triggers.base import Level
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.state_dir import open_state_directory
from ibkr_mcp_server.store import breaker, latches
from tests.quiescence import clocks_wait_for_what_they_set_off

ACCOUNT = "DU9000001"
FIRST_DAY, LAST_DAY = date(2008, 9, 2), date(2008, 10, 10)
STEP = timedelta(minutes=30)
INVESTED = Decimal("0.6")
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
SET_ASIDE: dict[str, Any] = {
    "loss_velocity_warning_pct": 97,
    "max_loss_velocity_pct": 98,
    "loss_velocity_kill_pct": 99,
    "correlation_warning_pct": 99,
    "max_correlation_pct": 100,
    "volatility_warning": 999,
    "max_volatility_ratio": 1000,
    "max_total_exposure_usd": 100_000_000,
    "max_position_value_usd": 10_000_000,
}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """How things stood at one step."""

    at: datetime
    equity: Decimal
    day_start: Decimal
    high_water: Decimal
    is_open: bool
    is_killed: bool
    breaches: dict[str, str]
    """Trigger to level."""

    @property
    def level(self) -> Level:
        if self.is_killed:
            return Level.KILL
        return Level.PAUSE if self.is_open else Level.WARN if self.breaches else Level.NONE


async def replayed(
    state: Path, *, first: date = FIRST_DAY, last: date = LAST_DAY, step: timedelta = STEP
) -> list[Moment]:
    """Hold the portfolio through the days, and look at the breaker after each step."""
    clock = ManualClock(datetime.combine(first, time(9, 30), tzinfo=NEW_YORK).astimezone(UTC))
    async with PaperGateway(clock=clock, replay_from=first) as gateway:
        await clock.advance(1)
        share = Decimal(1_000_000) * INVESTED / (1 - INVESTED) / len(SYMBOLS)
        for symbol in SYMBOLS:
            price = gateway.market.quote(gateway.con_id(symbol)).last
            assert price is not None
            gateway.add_position(ACCOUNT, symbol, int(share / price), price)
        gateway.set_accounts(ACCOUNT)
        settings = load_settings(environ={}, broker_mode="paper", port=gateway.port, **SET_ASIDE)
        private = open_state_directory(state, allow_temporary=True)
        async with open_app(settings, private, clock=clock) as app:
            await app.desk.broker.wait_until_up(10)
            await app.desk.safety.readiness.wait_until_settled(10)
            async with app.risk_monitor.working:  # the watch looks when it is asked to, and not while things move
                return [await _moment(app, clock) async for _ in _steps(clock, last, step)]


async def _steps(clock: ManualClock, last: date, step: timedelta) -> AsyncIterator[None]:
    """Each step within the sessions; nights and weekends are stepped over."""
    while (here := clock.now().astimezone(NEW_YORK)).date() <= last:
        if here.time() >= time(16, 0):
            following = here.date() + timedelta(days=1 if here.weekday() < 4 else 7 - here.weekday())
            clock.step_wall(datetime.combine(following, time(9, 30, 2), tzinfo=NEW_YORK) - here)
        else:
            clock.step_wall(step)
        yield


async def _moment(app: App, clock: ManualClock) -> Moment:
    """A second passes, in which the market moves once: profit and balances are told, and the watch judges them."""
    desk, monitor = app.desk, app.risk_monitor
    before = clock.now()

    def is_told(figures: AccountPnl | AccountSummary | None) -> bool:
        return figures is not None and figures.received_at > before

    async with asyncio.timeout(30):
        await clock.advance(1)
        while not is_told(desk.broker.known_pnl(ACCOUNT)):
            await clock.advance(0)
        await monitor.look()  # which asks for the balances
        while not is_told(desk.broker.known_balances(ACCOUNT)):
            await clock.advance(0)
        await monitor.look()
    state = await desk.database.read(breaker.current)
    latch = await desk.database.read(latches.current)
    assert monitor.metrics is not None
    (account,) = monitor.metrics.accounts
    assert account.equity is not None
    assert account.day_start is not None
    assert account.high_water is not None
    return Moment(
        at=clock.now(),
        equity=account.equity,
        day_start=account.day_start,
        high_water=account.high_water,
        is_open=state.is_open,
        is_killed=latch.active,
        breaches={one.trigger: one.level for one in state.breaches.values()},
    )


def first_reached(moments: Sequence[Moment]) -> dict[Level, int]:
    """Index of the first moment at each level."""
    found: dict[Level, int] = {}
    for index, moment in enumerate(moments):
        for level in (Level.WARN, Level.PAUSE, Level.KILL):
            if moment.level >= level:
                found.setdefault(level, index)
    return found


def draw(moments: Sequence[Moment], target: Path) -> None:
    """Equity, the levels that it was measured against, and where the breaker acted."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "autumn 2008"  # the same picture to the byte
    from matplotlib import pyplot as plt

    thousand = Decimal(1000)
    steps = range(len(moments))  # nights take no room
    figure, axes = plt.subplots(figsize=(11, 5.5), layout="constrained")
    axes.plot(steps, [float(one.equity / thousand) for one in moments], color="black", linewidth=1.4, label="equity")
    for share, color, label in ((2, "#e0a800", "WARN"), (3, "#d9622b", "PAUSE"), (5, "#b3001b", "KILL")):
        levels = [float(one.day_start * (100 - share) / 100 / thousand) for one in moments]
        text = f"{label}: {share} % below the start of the day (CB-13)"
        axes.plot(steps, levels, color=color, linewidth=0.8, drawstyle="steps-post", label=text)
    for share, color in ((10, "#e0a800"), (15, "#d9622b"), (20, "#b3001b")):
        levels = [float(one.high_water * (100 - share) / 100 / thousand) for one in moments]
        text = f"{share} % below the highest (CB-12)"
        axes.plot(steps, levels, color=color, linewidth=0.8, linestyle=":", label=text)
    marks = {Level.WARN: ("#e0a800", "^"), Level.PAUSE: ("#d9622b", "s"), Level.KILL: ("#b3001b", "X")}
    for level, index in first_reached(moments).items():
        one, (color, shape) = moments[index], marks[level]
        axes.plot([index], [float(one.equity / thousand)], shape, color=color, markersize=9, markeredgecolor="black")
        which = ", ".join(sorted(name for name, reached in one.breaches.items() if Level[reached] >= level))
        axes.annotate(
            f"{level.name} {one.at.astimezone(NEW_YORK):%d %b %H:%M}\n{which}",
            (index, float(one.equity / thousand)),
            xytext=(10, 22) if level is Level.WARN else (-95, -45),
            textcoords="offset points",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
            arrowprops={"arrowstyle": "-", "linewidth": 0.6},
        )
    days = [index for index in steps if not index or moments[index].at.date() != moments[index - 1].at.date()]
    axes.set_xticks(days[::5], [f"{moments[index].at:%d %b}" for index in days[::5]])
    axes.set_ylabel("thousand USD")
    axes.set_title("Autumn 2008, replayed: 60 % in AAPL, GOOG, IBM and MSFT, held without an order")
    axes.legend(fontsize=8, loc="lower left")
    axes.grid(visible=True, axis="y", linewidth=0.3)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)
    plt.close(figure)


def main() -> int:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/autumn-2008.svg")
    clocks_wait_for_what_they_set_off()  # or the picture would differ with the pace of the machine
    with TemporaryDirectory() as directory:
        moments = asyncio.run(replayed(Path(directory) / "state"))
    for level, index in first_reached(moments).items():
        one = moments[index]
        lost = (one.day_start - one.equity) / one.day_start * 100
        print(f"{level.name:5} {one.at:%Y-%m-%d %H:%M} UTC  equity {one.equity:,.0f}  {lost:.2f} % lost in the day")
    draw(moments, target)
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
