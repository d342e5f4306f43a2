"""`simulate`: the paper gateway alone, for any TWS API client."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Sequence
from typing import Annotated

import typer

from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.setting_rules import is_loopback
from ibkr_mcp_server.settings import rule_of
from ibkr_mcp_server.simulator.server import DEFAULT_ACCOUNTS, serve_until_stopped


def register(app: typer.Typer) -> None:
    app.command("simulate")(simulate)


def simulate(
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 4002,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same prices.")] = 1,
    accounts: Annotated[str, typer.Option(metavar="A,B", help="Accounts to serve.")] = ",".join(DEFAULT_ACCOUNTS),
    market_always_open: Annotated[
        bool,
        typer.Option("--market-always-open", help="The market never closes; without it the exchange's hours hold."),
    ] = False,
    speed: Annotated[float, typer.Option(help="Simulated seconds for each real one.")] = 1.0,
) -> None:
    """Run the paper gateway alone until it is interrupted; its world ends with it."""
    if not is_loopback(host):
        raise Refused(
            "HOST_NOT_LOOPBACK",
            f"The paper gateway asks nobody for a password, so it does not listen on {host}.",
            next_step="Use --host 127.0.0.1; to reach it from another machine, forward the port through ssh.",
        )
    names, pace = _value("simulator_accounts", "--accounts", accounts), _value("simulator_speed", "--speed", speed)
    assert isinstance(names, tuple)
    assert isinstance(pace, float)
    try:
        asyncio.run(_serve(host, port, seed, names, market_always_open, pace))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise Unavailable(
            "ADDRESS_NOT_FREE",
            f"The paper gateway cannot listen on {host}:{port}: {error.strerror}.",
            next_step="Name another port with --port, or end the program that has this one; 0 takes a free port.",
        ) from error


async def _serve(
    host: str, port: int, seed: int, accounts: Sequence[str], market_always_open: bool, speed: float
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))  # unlike the loop's, on Windows too
    await serve_until_stopped(
        clock=SystemClock(),
        stopped=stopped,
        ready=lambda address: typer.echo(f"Paper gateway ready at {address} (accounts {', '.join(accounts)})"),
        host=host,
        port=port,
        seed=seed,
        accounts=accounts,
        market_always_open=market_always_open,
        speed=speed,
    )


def _value(name: str, option: str, given: object) -> object:
    """What the rule of the setting makes of an option's value."""
    rule = rule_of(name)
    try:
        return rule.value_of(given)
    except ValueError:
        raise typer.BadParameter(f"{rule.quoted(given)}; it must be {rule.allowed}.", param_hint=option) from None
