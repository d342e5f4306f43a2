"""What people read names only what is there: files, settings, commands and links of the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from ibkr_mcp_server.cli.main import commands
from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.model import setting_names

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN_AS_ADOPTED = sorted((ROOT / "docs" / "decisions").glob("*.md"))
"""Decisions tell what was so when they were made; of them only the links must hold."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_a_page_names_only_files_settings_and_commands_that_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [name for name in re.findall(r"`([\w/]+\.py)`", text) if not _is_there(name)] == []
    known = {variable_of(name) for name in setting_names()}
    assert set(re.findall(r"\bIBKR_[A-Z_]+[A-Z]\b(?!_)", text)) - known == set()
    there = dict(_command_paths())
    asked = re.findall(r"\bibkr-mcp-server ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?", text)
    assert [pair for pair in asked if not _is_command(pair, there)] == []


def test_every_link_between_the_pages_leads_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in (*PAGES, *WRITTEN_AS_ADOPTED)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert dead == []


def _is_there(name: str) -> bool:
    """A file is named from the root, from the package, or by its last name alone."""
    if (ROOT / name).is_file() or (ROOT / "ibkr_mcp_server" / name).is_file():
        return True
    return "/" not in name and any(True for room in ("ibkr_mcp_server", "scripts") for _ in (ROOT / room).rglob(name))


def _is_command(pair: tuple[str, str], there: dict[str, set[str]]) -> bool:
    """What follows a command that is no group is an argument."""
    name, inner = pair
    return name in there and (not there[name] or not inner or inner in there[name])


def _command_paths() -> Iterator[tuple[str, set[str]]]:
    """Each command, and those within it."""
    for name, command in getattr(get_command(commands()), "commands").items():  # noqa: B009 - a group of Typer's click
        yield name, set(getattr(command, "commands", ()))
