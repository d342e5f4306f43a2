"""How commands print: tables for people, JSON for programs; both on stdout."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from datetime import datetime

import typer
from rich.console import Console
from rich.table import Table

WIDTH_OF_PIPES = 120


def console() -> Console:
    """Prints on stdout; colours only at a terminal, and a width that does not depend on who reads a pipe."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=WIDTH_OF_PIPES)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Decimals and times as text, enums as their values."""
    typer.echo(json.dumps(value, indent=indent, default=_plain, ensure_ascii=False))


def facts(title: str) -> Table:
    """A table of names and values."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def utc(moment: datetime | None) -> str:
    """A time for people, to the second."""
    return "unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
