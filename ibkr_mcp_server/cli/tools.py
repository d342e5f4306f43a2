"""`tools`: which tools the server shows under these settings, and how large the list of them is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ibkr_mcp_server.cli.output import console, print_json
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, settings_of
from ibkr_mcp_server.tools.server import listing
from ibkr_mcp_server.tools.sizes import MOST_READ, MOST_SENT, profiles, shown, size_of


def register(app: typer.Typer) -> None:
    app.command("tools")(tools)


def tools(
    sizes: Annotated[bool, typer.Option("--sizes", help="Print how large the list is, for each profile.")] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Print the tools that the server shows under these settings, or what each profile of them costs to read."""
    settings = settings_of(env_file)
    if sizes:
        _print_sizes(as_json)
        return
    entries = shown(listing(), settings.tool_choice)
    if as_json:
        print_json(entries)
        return
    from rich.table import Table

    table = Table("Tool", "Toolset", "Class", "Title", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for entry in entries:
        meta = entry["_meta"]
        table.add_row(entry["name"], meta["ibkr/toolset"], meta["ibkr/class"], entry["title"])
    console().print(table)


def _print_sizes(as_json: bool) -> None:
    found = [size_of(profile, shown(listing(), choice)) for profile, choice in profiles()]
    if as_json:
        print_json([asdict(size) for size in found])
        return
    from rich.table import Table

    table = Table("Profile", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("Tools", "Characters a model reads", "With output schemas"):
        table.add_column(head, justify="right")
    for size in found:
        table.add_row(size.profile, str(size.tools), f"{size.read:,}", f"{size.sent:,}")
    console().print(table)
    console().print(f"Held below {MOST_READ:,} and {MOST_SENT:,} characters by a test; about four make a token.")
