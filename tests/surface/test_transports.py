"""What both transports refuse, and how they end. Every tool over each of them is in `test_every_tool.py`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from ibkr_mcp_server.agents import TokenHolders, token_hash
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.tools.http import LARGEST_BODY, http_app, kept_token
from ibkr_mcp_server.tools.pipes import LONGEST_LINE
from ibkr_mcp_server.tools.server import TradingServer
from tests.surface.shell import Shell

TOKEN = "a-token-for-tests-only-of-32-characters"
HOST = "127.0.0.1:8765"
PATIENCE_SECONDS = 60


# ---- stdio


def test_a_line_without_end_is_dropped_and_a_client_that_hangs_up_ends_the_server_in_order(shell: Shell) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ibkr_mcp_server", "serve"],
        env=shell.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(INITIALIZE + b"[" * (LONGEST_LINE + 1) + b"\n" + STATUS)
        process.stdin.flush()
        assert b'"id":1' in process.stdout.readline()
        assert b"kill_switch_active" in process.stdout.readline()
        process.stdout.close()
        process.stdin.write(STATUS)
        process.stdin.flush()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert b"Traceback" not in process.stderr.read()
    assert "SERVER_STOP" in shell.call("audit", "tail", "--json").stdout


def test_a_file_of_requests_is_answered_too(shell: Shell, tmp_path: Path) -> None:
    """What the event loop cannot wait for, the SDK reads by its own means."""
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    requests.write_bytes(INITIALIZE + b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}\n')
    with requests.open("rb") as stdin, answers.open("wb") as stdout:
        command = [sys.executable, "-m", "ibkr_mcp_server", "serve"]
        subprocess.run(command, env=shell.environment, stdin=stdin, stdout=stdout, timeout=PATIENCE_SECONDS, check=True)
    assert b'"id":1' in answers.read_bytes()


INITIALIZE = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"test","version":"1"}}}\n'
)
STATUS = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get_safety_status","arguments":{}}}\n'


# ---- HTTP


@asynccontextmanager
async def _http(headers: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    """The ASGI application without a socket; nothing opens behind it, because no call gets that far."""

    def nothing() -> object:
        raise AssertionError("nothing may be opened")

    server = TradingServer(nothing, venue="paper", clock=ManualClock(), auth="bearer")  # type: ignore[arg-type]  # never called
    app = http_app(server, host="127.0.0.1", port=8765, holders=TokenHolders([("default", token_hash(TOKEN))]))
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=headers) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
    ],
)
@pytest.mark.parametrize("path", ["/mcp", "/", "/healthz"])
async def test_nothing_is_answered_without_the_token(headers: dict[str, str], path: str) -> None:
    """FD-53."""
    async with _http(headers) as client:
        answer = await client.post(path, json={})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": HOST, "Origin": "http://evil.example"}, 403),
        ({"Host": HOST, "Origin": "null"}, 403),
    ],
)
async def test_pages_of_other_hosts_are_refused_even_with_the_token(headers: dict[str, str], status: int) -> None:
    async with _http({"Authorization": f"Bearer {TOKEN}"} | headers) as client:
        assert (await client.post("/mcp", json={})).status_code == status


async def test_huge_body_is_refused() -> None:
    async with _http({"Authorization": f"Bearer {TOKEN}", "Accept": "application/json, text/event-stream"}) as client:
        answer = await client.post(
            "/mcp", content=b"x" * (LARGEST_BODY + 1), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413


def test_token_is_made_once_and_private(tmp_path: Path) -> None:
    token = kept_token(tmp_path / "http.token")
    assert len(token) >= 32
    assert kept_token(tmp_path / "http.token") == token
    assert (tmp_path / "http.token").stat().st_mode & 0o777 == 0o600


def test_empty_or_short_token_protects_nothing_and_is_not_accepted() -> None:
    for token in ("", "x" * 31):
        with pytest.raises(ValueError, match="32 characters"):
            token_hash(token)
