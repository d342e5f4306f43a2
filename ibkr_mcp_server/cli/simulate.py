"""`simulate`: the paper gateway alone, for any TWS API client."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from filelock import FileLock, Timeout

from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.settings.model import rule_of
from ibkr_mcp_server.settings.rules import is_loopback
from ibkr_mcp_server.simulator.faults import FaultNotUnderstood
from ibkr_mcp_server.simulator.history import shipped_history
from ibkr_mcp_server.simulator.replay_file import ReplayFileUnusable, read_replay
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
    replay: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="CSV file of real days to replay: date,symbol,open,high,low,close,volume."
        ),
    ] = None,
    replay_from: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="The first day to replay, of the file or the shipped days.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:ARGS]", help="Switch on a fault from the start; repeatable. docs/paper-gateway.md"),
    ] = None,
    control_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Loopback port on which the running gateway takes faults; 0 a free one."),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Keep the world here, so that it outlives this process; without, it ends."),
    ] = None,
) -> None:
    """Run the paper gateway alone until it is interrupted."""
    if not is_loopback(host):
        raise Refused(
            "HOST_NOT_LOOPBACK",
            f"The paper gateway asks nobody for a password, so it does not listen on {host}.",
            next_step="Use --host 127.0.0.1; to reach it from another machine, forward the port through ssh.",
        )
    names, pace = _value("simulator_accounts", "--accounts", accounts), _value("simulator_speed", "--speed", speed)
    assert isinstance(names, tuple)
    assert isinstance(pace, float)
    replayed = _replayed(replay, replay_from)
    try:
        with _alone_in(state_dir):
            asyncio.run(
                _serve(
                    host=host,
                    port=port,
                    seed=seed,
                    accounts=names,
                    market_always_open=market_always_open,
                    speed=pace,
                    **replayed,
                    faults=fault or (),
                    control_port=control_port,
                    state_dir=state_dir,
                )
            )
    except FaultNotUnderstood as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from None
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise Unavailable(
            "ADDRESS_NOT_FREE",
            f"The paper gateway cannot listen on {host}:{port}: {error.strerror}.",
            next_step="Name another port with --port, or end the program that has this one; 0 takes a free port.",
        ) from error


@contextmanager
def _alone_in(directory: Path | None) -> Iterator[None]:
    """Two gateways would overwrite each other's world."""
    if directory is None:
        yield
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            "STATE_DIR_UNUSABLE",
            f"The paper gateway cannot keep its world in {directory}: {error.strerror}.",
            next_step="Name a directory that you may write to with --state-dir.",
        ) from error
    try:
        with FileLock(str(directory / "gateway.lock"), timeout=0):
            yield
    except Timeout as error:
        raise Unavailable(
            "STATE_DIR_IN_USE",
            f"Another paper gateway plays the world in {directory}.",
            next_step="End it, or name another directory with --state-dir.",
        ) from error


async def _serve(*, accounts: Sequence[str], **options: Any) -> None:
    """`options` are those of `serve_until_stopped`."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))  # unlike the loop's, on Windows too
    await serve_until_stopped(
        clock=SystemClock(),
        stopped=stopped,
        ready=lambda address: typer.echo(f"Paper gateway ready at {address} (accounts {', '.join(accounts)})"),
        controlled=lambda taken: typer.echo(f"Faults are taken at 127.0.0.1:{taken}, one a line"),
        accounts=accounts,
        **options,
    )


def _replayed(file: Path | None, first_day: str | None) -> dict[str, Any]:
    """What `PaperGateway` needs to know of a replay."""
    try:
        history = read_replay(file) if file is not None else shipped_history()
    except (ReplayFileUnusable, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--replay") from None
    try:
        day = date.fromisoformat(first_day) if first_day else history.starts
        history.index_of(day)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--replay-from") from None
    if file is not None:
        symbols = ", ".join(history.symbols)
        typer.echo(f"Replaying {symbols} from {day} on; {file.name} ends on {history.day(-1)}", err=True)
    return {"history": history, "replay_from": day}


def _value(name: str, option: str, given: object) -> object:
    """What the rule of the setting makes of an option's value."""
    rule = rule_of(name)
    try:
        return rule.value_of(given)
    except ValueError:
        raise typer.BadParameter(f"{rule.quoted(given)}; it must be {rule.allowed}.", param_hint=option) from None
