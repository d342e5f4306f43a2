"""The program as a user's shell runs it: a real process, its own state directory, nothing of the caller's settings."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import httpx2
import structlog
from anyio.abc import Process
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from ibkr_mcp_server.__main__ import run
from ibkr_mcp_server.cli.terminal import Session, at_terminal
from tests.private_state import private_state

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "ibkr_mcp_server")
LONGEST_SECONDS = 60.0

Done = subprocess.CompletedProcess[str]


class Shell:
    """A shell of the service user; `state` outlives each command, as it does in life."""

    def __init__(self, state: Path) -> None:
        self.state = state
        settings = {"IBKR_STATE_DIR": str(state)}
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith("IBKR_")} | settings

    def run(self, *arguments: str, stdin: str | None = None, **settings: str) -> Done:
        """Run one command without a terminal, not even an inherited one."""
        return subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environment | settings,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            start_new_session=True,
            check=False,
        )

    def call(self, *arguments: str, **settings: str) -> Done:
        """The same without a process of its own, which takes most of a second; not for commands that ask a person."""
        outside, out, err = dict(os.environ), StringIO(), StringIO()
        os.environ.clear()
        os.environ.update(self.environment | settings)
        try:
            with redirect_stdout(out), redirect_stderr(err), log_as_before():
                code = run(list(arguments))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        finally:
            os.environ.clear()
            os.environ.update(outside)
        return Done(arguments, code, out.getvalue(), err.getvalue())

    def json(self, *arguments: str, **settings: str) -> Any:  # Any: JSON
        return json.loads(self.call(*arguments, "--json", **settings).stdout)

    def type_at_terminal(self, *arguments: str, typed: list[tuple[str, str]]) -> Session:
        return at_terminal(arguments, typed, environment=self.environment)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on beside the test; killed at the end if it has not ended by itself."""
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@contextmanager
def log_as_before() -> Iterator[None]:
    """What a command makes of the process log ends with it, as it would with a process of its own."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**configured)


@contextmanager
def new_shell() -> Iterator[Shell]:
    """A shell with an empty state directory."""
    with private_state() as state:
        yield Shell(state)


@asynccontextmanager
async def serving_http(shell: Shell, token: str, **settings: str) -> AsyncIterator[str]:
    """The address of `serve --http` as a process; the server is told to end when the body is through, and does."""
    environment = shell.environment | settings | {"IBKR_HTTP_TOKEN": token, "IBKR_HTTP_PORT": "0"}
    process = await anyio.open_process(
        [*PROGRAM, "serve", "--http"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield await _told_url(process, secret=token)
        process.terminate()
        with anyio.fail_after(LONGEST_SECONDS):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()  # whatever went wrong, it is told at once and nothing goes on
        with anyio.CancelScope(shield=True):
            await process.aclose()


@asynccontextmanager
async def client_over_http(url: str, token: str, *, mode: str) -> AsyncIterator[Client]:
    """A client that shows that token; `mode` is its era ("auto" or "legacy")."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=LONGEST_SECONDS) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def _told_url(process: Process, *, secret: str) -> str:
    """Where a server says that it serves HTTP; it must not say its `secret` beside it."""
    assert process.stderr is not None
    told = ""
    async for part in process.stderr:
        told += part.decode()
        if found := re.search(r"http://127\.0\.0\.1:\d+/mcp", told):
            assert secret not in told
            return found[0]
    raise AssertionError(f"no address was told: {told}")
