"""`config`: which settings apply, where each came from, and what they leave closed."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from ibkr_mcp_server.cli.output import console, print_json
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, existing_state, settings_of
from ibkr_mcp_server.safety.policy import closed_live_locks
from ibkr_mcp_server.settings.model import Settings


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Show or check the settings.", no_args_is_help=True)
    group.command("show")(show)
    group.command("check")(check)
    app.add_typer(group, name="config")


def show(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """Print every setting: name, value with secrets hidden, and where the value came from."""
    settings = settings_of(env_file)
    effective = settings.effective
    if as_json:
        print_json({"config_hash": settings.fingerprint, "settings": effective})
        return
    from rich.table import Table

    table = Table("Setting", "Value", "Origin", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for setting in effective:
        style = "" if setting.origin == "built-in" else "bold"
        table.add_row(setting.variable, setting.value or "–", setting.origin, style=style)
    console().print(table)


def check(env_file: EnvFile = None) -> None:
    """Say all that is wrong with the settings at once, or that they are right and what they keep closed."""
    settings = settings_of(env_file)
    existing_state(settings)
    typer.echo(f"The settings are right (broker mode {settings.broker_mode}, state in {settings.state_directory}).")
    for sentence in closed_gates(settings):
        typer.echo(f"  {sentence}")


def closed_gates(settings: Settings) -> Iterator[str]:
    """What these settings alone refuse, whatever the kill switch says."""
    if not settings.enable_trading:
        yield "No order is placed: IBKR_ENABLE_TRADING is false."
    if settings.safe_mode:
        yield "No order is placed: IBKR_SAFE_MODE is true."
    if settings.dry_run:
        yield "Orders are checked and recorded, and none is sent: IBKR_DRY_RUN is true."
    for variable in closed_live_locks(settings):
        yield f"No order is placed in live mode: {variable} is not set as it must be."
    if not settings.enable_forex_trading:
        yield "Currency orders are refused: IBKR_ENABLE_FOREX_TRADING is false."
    if not settings.enable_international_trading:
        yield "Orders outside the US are refused: IBKR_ENABLE_INTERNATIONAL_TRADING is false."
    if not settings.enable_stop_loss_orders:
        yield "New stop-loss orders are refused: IBKR_ENABLE_STOP_LOSS_ORDERS is false."
    if not settings.safety_mode:
        yield "Limits only warn: IBKR_SAFETY_MODE is false."
    if not settings.require_paper_account_verification:
        yield "Accounts are not verified: IBKR_REQUIRE_PAPER_ACCOUNT_VERIFICATION is false."
