"""Every setting does something, and those of the process log do what they say."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from re import match
from signal import SIGINT, SIGTERM, Signals
from typing import Any

import pytest
import structlog

import ibkr_mcp_server
from ibkr_mcp_server import log
from ibkr_mcp_server.settings.model import Settings
from tests.surface.shell import REPOSITORY, Shell

PACKAGE = Path(ibkr_mcp_server.__file__).parent
OF_THE_SETTINGS = PACKAGE / "settings"
"""Its files name settings in order to check or to show them, which is no effect."""
SECRET = "canary-4711-canary-4711-canary-4711"


of_the_source = pytest.mark.xdist_group("source")
"""All that a worker reads of the source it has parsed once."""


@cache
def _parsed(file: Path) -> list[ast.AST]:
    """The nodes of a file of ours."""
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def _attributes(nodes: Iterable[ast.AST], of: set[str]) -> set[str]:
    """Names that are read from something that is called one of `of`."""
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and getattr(node.value, "attr", getattr(node.value, "id", "")).lstrip("_") in of
    }


@of_the_source
def test_every_setting_is_read_by_the_code_that_it_governs() -> None:
    """FD-34: a setting that does nothing is worse than none."""
    own = [node for file in OF_THE_SETTINGS.glob("*.py") for node in _parsed(file)]
    groups = [node for node in own if isinstance(node, ast.ClassDef) if "Settings" in node.name]
    parts = [part for group in groups for part in group.body if isinstance(part, ast.FunctionDef)]
    behind = {part.name: _attributes(ast.walk(part), {"self"}) for part in parts}
    read: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        if OF_THE_SETTINGS not in file.parents:
            read |= _attributes(_parsed(file), {"settings"})
    for name in list(read):
        read |= behind.get(name, set())  # store_location is read where the database URL has its effect
    read.add("disabled_controls_ack")  # tests/flow/test_disabled_controls.py: a rule between settings reads it
    read.add("config_file")  # tests/unit/test_thresholds_file.py: it is read where the others are made
    assert sorted(set(Settings.model_fields) - read) == []


@of_the_source
def test_every_dependency_is_imported_and_everything_imported_is_a_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    stated, optional = (
        {found[0].lower().replace("_", "-") for line in lines if (found := match(r"[\w-]+", line))}
        for lines in (project["dependencies"], extras)
    )
    nodes = [node for file in PACKAGE.rglob("*.py") for node in _parsed(file)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    homes = packages_distributions()
    used = {home.lower().replace("_", "-") for name in modules for home in homes.get(name.partition(".")[0], [])}
    assert used - stated - optional - {"ibkr-mcp-server"} == {"pydantic-core"}  # pydantic pins it
    assert stated - used == {"tzdata"}  # zoneinfo reads it where the system has no time zones


# ---- the process log


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Puts the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    structlog.configure(**configured)


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize(("level", "events"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("CRITICAL", 0)])
def test_only_what_the_level_admits_is_logged(tmp_path: Path, level: str, events: int) -> None:
    log.configure(level, tmp_path / "server.log")
    logger = log.get_logger("ours")
    logger.debug("a detail")
    logger.info("a fact")
    logging.getLogger("theirs").warning("a warning of %s", "a library")
    assert len(_lines(tmp_path / "server.log")) == events
    assert (tmp_path / "server.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("_own_logging")
def test_the_process_log_hides_secrets_and_account_numbers_wherever_they_stand(tmp_path: Path) -> None:
    """SEC-05, SEC-06, TW-15: by name, by look and by value, in our lines, in libraries' lines and in tracebacks."""
    log.configure("DEBUG", tmp_path / "server.log", hide=[SECRET, ""])
    ours, theirs = log.get_logger("ours"), logging.getLogger("a.library")
    ours.info("a line", passphrase="canary-1111", nested=[{"api_key": "canary-1111"}], account="DU9000001")
    ours.info("sent to DU9000001", url="postgresql://trader:canary-1111@db/x", header="Authorization: Bearer canary-11")
    theirs.warning("refused %s for account U1234567", SECRET)
    try:
        raise RuntimeError(f"no good: {SECRET} for DU9000002, password=canary-1111")
    except RuntimeError:
        theirs.exception("it failed with token: canary-1111")
        ours.exception("so did we")

    text = (tmp_path / "server.log").read_text(encoding="utf-8")
    assert len(_lines(tmp_path / "server.log")) == 5
    for secret in ("canary", "DU900000", "U1234567"):
        assert secret not in text, secret
    assert text.count("RuntimeError") >= 2, "the traceback itself is kept"
    assert "******001" in text


STATUS = '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get_safety_status","arguments":{}}}\n'
"""What no limit refuses."""


HELLO = (
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    '"clientInfo":{"name":"test","version":"1"}}}\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
)


def _is_up(answer: str) -> bool:
    """Whether a safety status, or whatever else was answered, says that the link to the broker is up."""
    status = json.loads(answer)["result"].get("structuredContent", {})
    return (status.get("link") or {}).get("state") == "up"


async def _served(shell: Shell, ends_by: Signals, **settings: str) -> tuple[list[str], str]:
    """What `serve` writes on stdout, line by line, and on stderr, until its link is up and it is told to end.

    The signal closes the app before the process ends of it.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ibkr_mcp_server", "serve"),
        env=shell.environment | settings,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            process.stdin.write(HELLO.encode())
            told = [(await process.stdout.readline()).decode()]
            while not _is_up(told[-1]):
                await asyncio.sleep(0.1)
                process.stdin.write(STATUS.encode())
                told.append((await process.stdout.readline()).decode())
            process.send_signal(ends_by)
            rest, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == -ends_by
    assert "SERVER_STOP" in shell.call("audit", "tail", "-n", "1", "--json").stdout
    return told + rest.decode().splitlines(), errors.decode()


async def test_the_log_goes_to_the_named_file_and_stdout_carries_the_protocol_alone(shell: Shell) -> None:
    """FD-54: at the most talkative level, with a file and without, to the end that either signal makes."""
    file = shell.state / "server.log"
    logged = {"IBKR_LOG_LEVEL": "DEBUG", "IBKR_LOG_FILE": str(file), "IBKR_HTTP_TOKEN": SECRET}
    lines, errors = await _served(shell, SIGTERM, **logged)
    assert {json.loads(line)["jsonrpc"] for line in lines if line} == {"2.0"}
    assert errors == ""
    assert {"open", "link up"} <= {line["event"] for line in _lines(file)}
    assert SECRET not in file.read_text(encoding="utf-8")

    lines, errors = await _served(shell, SIGINT, IBKR_LOG_LEVEL="INFO")
    assert {json.loads(line)["jsonrpc"] for line in lines if line} == {"2.0"}
    told = [json.loads(line) for line in errors.splitlines()]
    assert "open" in {line["event"] for line in told}
    assert "debug" not in {line["level"] for line in told}
